import numpy as np
import pytest
from scipy import stats

from jaxdiff import units
from jaxdiff.analysis.arrhenius import NotIdentifiableError
from jaxdiff.analysis.curvature import fit_curvature

TEMPERATURE = np.array([400.0, 475.0, 550.0, 625.0, 700.0])
X = 1 / (units.KB * TEMPERATURE)


def rate(x, curvature=0.0):
    z = x - 20.0
    return np.exp(-1 - 0.22 * z + curvature * z**2 / 2)


def test_exact_counts_give_the_exact_curvature():
    exposure = np.full(5, 1e4)
    bent = fit_curvature(TEMPERATURE, rate(X, 0.004) * exposure, exposure)
    assert bent.coefficient.value == pytest.approx(0.004, rel=1e-8)
    assert bent.coefficient.unit == "eV^2"
    change = bent.activation_energy_change
    # d ln k / dx = -Ea(x): Ea falls by 0.004 per unit of x, and x falls towards hot
    assert change.value == pytest.approx(0.004 * (X[0] - X[-1]), rel=1e-8)
    error = bent.coefficient.standard_error
    # ten thousand hops: r* is Wald's z to a percent
    expected = 2 * stats.norm.sf(0.004 / error)
    assert bent.p_value == pytest.approx(expected, rel=0.1)
    straight = fit_curvature(TEMPERATURE, rate(X) * exposure, exposure)
    assert straight.coefficient.value == pytest.approx(0, abs=1e-10)
    assert straight.p_value == pytest.approx(1, abs=1e-5)


def test_curvature_is_that_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    temperature, exposure = np.repeat(TEMPERATURE, 4), rng.uniform(50, 150, 20)
    x = np.repeat(X, 4)
    n = rng.poisson(rate(x) * exposure)
    design = np.stack([np.ones(20), -(x - x.mean()), (x - x.mean()) ** 2 / 2], axis=1)
    glm = sm.GLM(n, design, family=sm.families.Poisson(), exposure=exposure).fit()
    mine = fit_curvature(temperature, n, exposure, dispersion=1.0)
    assert mine.coefficient.value == pytest.approx(glm.params[2], rel=1e-6)
    assert mine.coefficient.standard_error == pytest.approx(glm.bse[2], rel=1e-6)
    # r* less Wald's z is of order hops^-1/2, here below 0.1, and the density below 0.4
    assert mine.p_value == pytest.approx(glm.pvalues[2], abs=2 * 0.4 * 0.1)


@pytest.mark.long
@pytest.mark.statistics
def test_size_of_the_test_is_5_percent_with_and_without_overdispersion():
    """6 replicas of 5 temperatures, some 200 hops, alone or in pairs."""
    rng = np.random.default_rng(1)
    temperature, exposure = np.repeat(TEMPERATURE, 6), np.full(30, 10.0)
    mean = rate(np.repeat(X, 6)) * exposure
    mean = mean * 200 / mean.sum()
    exposure = exposure * 200 / (rate(np.repeat(X, 6)) * exposure).sum()
    poisson, paired = [], []
    for _ in range(600):
        n = rng.poisson(mean)
        poisson.append(fit_curvature(temperature, n, exposure, dispersion=1.0).p_value)
        n = 2 * rng.poisson(mean / 2)
        paired.append(fit_curvature(temperature, n, exposure).p_value)
    # binomial s.d. 0.009; the estimated dispersion has 25 degrees of freedom
    assert np.mean(np.array(poisson) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(paired) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_two_temperatures_with_hops_have_no_curvature():
    n = np.array([0, 5, 9])
    with pytest.raises(NotIdentifiableError, match="hops at three temperatures"):
        fit_curvature(TEMPERATURE[:3], n, np.full(3, 10.0))


def test_few_wild_counts_have_ordered_intervals():
    """2 to 20 hops in rows of widely different exposure, some dispersions from one row."""
    rng = np.random.default_rng(4)
    fitted = 0
    for _ in range(60):
        exposure = np.exp(rng.normal(3, 1, 6))
        n = rng.poisson(np.exp(rng.normal(0, 1.5, 6)))
        temperature = np.repeat(TEMPERATURE[:3], 2)
        if np.count_nonzero(n.reshape(3, 2).sum(1)) < 3:
            continue
        fit = fit_curvature(temperature, n, exposure)
        low, high = fit.coefficient.interval
        assert low < fit.coefficient.value < high
        assert 0 <= fit.p_value <= 1
        # the two agree but for the tolerance of the ends
        if abs(fit.p_value - 0.05) > 1e-3:
            assert (fit.p_value < 0.05) == (not low < 0 < high)
        fitted += 1
    assert fitted > 30
