import numpy as np
import pytest
from scipy import stats

from jaxdiff import units
from jaxdiff.analysis.arrhenius import fit_arrhenius, fit_arrhenius_values

TEMPERATURE = np.array([300.0, 350.0, 400.0, 450.0, 500.0])
EA, LOG_A = 0.22, np.log(40.0)


def rate(temperature):
    return np.exp(LOG_A - EA / (units.KB * temperature))


def test_values_with_counting_errors_give_the_fit_of_the_counts():
    exposure, jump = np.array([900.0, 300.0, 200.0, 150.0, 100.0]), 3e-4
    n = np.array([5, 9, 17, 24, 21])
    counts = fit_arrhenius(
        TEMPERATURE, n, exposure, scale=jump, prefactor_unit="cm^2/s", dispersion=1.0
    )
    values = fit_arrhenius_values(
        TEMPERATURE, jump * n / exposure, jump * np.sqrt(n) / exposure
    )
    for name in ("activation_energy", "log_prefactor", "middle"):
        mine, reference = getattr(values, name), getattr(counts, name)
        assert mine.value == pytest.approx(reference.value)
        assert mine.standard_error == pytest.approx(reference.standard_error)
        assert mine.interval == pytest.approx(reference.interval, rel=1e-3)
    mean = exposure * counts.predict(TEMPERATURE)[0] / jump
    pearson = ((n - mean) ** 2 / mean).sum()
    assert values.linearity_p_value == pytest.approx(stats.chi2.sf(pearson, 3), rel=1e-6)


def test_values_of_small_errors_give_the_weighted_straight_line():
    rng = np.random.default_rng(7)
    relative = np.array([3e-4, 1e-4, 2e-4, 1e-4, 1e-4])
    d = rate(TEMPERATURE) * np.exp(relative * rng.standard_normal(5))
    x = 1 / (units.KB * TEMPERATURE)
    line, covariance = np.polyfit(x, np.log(d), 1, w=1 / relative, cov="unscaled")
    for variance in ("events", "relative"):
        fit = fit_arrhenius_values(TEMPERATURE, d, relative * d, variance=variance)
        energy = fit.activation_energy
        # the two weights differ by the residuals, relative 1e-4 to 3e-4
        assert energy.value == pytest.approx(-line[0], abs=1e-2 * energy.standard_error)
        assert energy.standard_error == pytest.approx(covariance[0, 0] ** 0.5, rel=1e-3)


@pytest.mark.statistics
def test_values_of_known_relative_error_are_unbiased_and_covered():
    """Gamma values of 30 % error, three times more at the coldest, cold last."""
    rng = np.random.default_rng(8)
    relative = np.array([0.6, 0.2, 0.2, 0.2, 0.2])
    energies, inside, p_values = [], [], []
    for _ in range(400):
        d = rate(TEMPERATURE) * rng.gamma(relative**-2, relative**2)
        fit = fit_arrhenius_values(TEMPERATURE, d, relative * d, variance="relative")
        energies.append(fit.activation_energy.value)
        low, high = fit.activation_energy.interval
        inside.append(low < EA < high)
        p_values.append(fit.linearity_p_value)
    assert np.mean(energies) == pytest.approx(EA, abs=4 * np.std(energies) / 20)
    # binomial s.d. 0.011 each
    assert np.mean(inside) == pytest.approx(0.95, abs=0.035)
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.04)


def test_bent_values_fail_the_test_of_linearity():
    d = rate(TEMPERATURE) * np.array([1.4, 1.0, 0.8, 1.0, 1.4])
    fit = fit_arrhenius_values(TEMPERATURE, d, 0.05 * d)
    assert fit.linearity_p_value < 1e-6


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("temperature", "value", "error", "variance", "match"),
    [
        ([300.0, 400.0], [0.0, 1.0], [0.1, 0.1], "events", "a value of zero has no"),
        ([300.0, 400.0], [1.0, 2.0], [0.1, 0.0], "events", "standard errors must be"),
        ([400.0, 400.0], [1.0, 2.0], [0.1, 0.1], "events", "two temperatures at least"),
        ([300.0, 400.0], [1.0, 2.0], [0.1, 0.1], "none", "variance='none' is not known"),
        ([-3.0, 400.0], [1.0, 2.0], [0.1, 0.1], "events", "must be positive kelvins"),
    ],
)
def test_values_that_cannot_be_fitted_are_refused(
    temperature, value, error, variance, match
):
    with pytest.raises(ValueError, match=match):
        fit_arrhenius_values(
            np.array(temperature), np.array(value), np.array(error), variance=variance
        )
