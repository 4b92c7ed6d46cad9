import math

import numpy as np
import pytest
from scipy import stats

from jaxdiff import units
from jaxdiff.analysis.arrhenius import NotIdentifiableError, fit_arrhenius
from jaxdiff.analysis.comparison import compare_arrhenius, detection_power, holm

TEMPERATURE = np.array([300.0, 350.0, 400.0, 450.0, 500.0])


def rate(temperature, energy, log_prefactor=3.7):
    return np.exp(log_prefactor - energy / (units.KB * temperature))


def rows(replicas, models=2):
    """Model and temperature of each row."""
    temperature = np.tile(np.repeat(TEMPERATURE, replicas), models)
    model = np.repeat(np.arange(models), replicas * len(TEMPERATURE))
    return model, temperature


def test_exact_counts_give_the_differences_of_the_separate_fits():
    model, temperature = rows(1)
    exposure = np.where(model == 0, 300.0, 500.0)
    energy = np.array([0.22, 0.25])[model]
    n = rate(temperature, energy, np.array([3.5, 4.5])[model]) * exposure
    result = compare_arrhenius(model, temperature, n, exposure, dispersion=1.0)
    (pair,) = result.pairs
    assert pair.activation_energy.value == pytest.approx(0.03, rel=1e-7)
    assert pair.log_prefactor.value == pytest.approx(1.0, rel=1e-7)
    x = 1 / (units.KB * pair.middle_temperature_kelvin)
    assert x == pytest.approx((n / (units.KB * temperature)).sum() / n.sum())
    assert pair.rate_ratio.value == pytest.approx(math.exp(1 - 0.03 * x), rel=1e-6)
    low, high = pair.rate_ratio.interval
    assert low < pair.rate_ratio.value < high
    fits = [
        fit_arrhenius(TEMPERATURE, n[model == m], exposure[model == m], dispersion=1.0)
        for m in (0, 1)
    ]
    errors = [fit.activation_energy.standard_error for fit in fits]
    assert pair.activation_energy.standard_error == pytest.approx(math.hypot(*errors))
    errors = [fit.log_prefactor.standard_error for fit in fits]
    assert pair.log_prefactor.standard_error == pytest.approx(math.hypot(*errors))
    errors = [fit.at(pair.middle_temperature_kelvin).estimate for fit in fits]
    errors = [e.standard_error / e.value for e in errors]
    relative = pair.rate_ratio.standard_error / pair.rate_ratio.value
    assert relative == pytest.approx(math.hypot(*errors))


def test_joint_regression_is_that_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    model, temperature = rows(6)
    exposure = rng.uniform(100, 300, len(model))
    n = 2 * rng.poisson(rate(temperature, 0.22 + 0.02 * model) * exposure / 2)
    x = 1 / (units.KB * temperature)
    design = np.stack([np.ones_like(x), -x, model, -x * model], axis=1)
    known = sm.GLM(n, design, family=sm.families.Poisson(), exposure=exposure).fit()
    (pair,) = compare_arrhenius(model, temperature, n, exposure, dispersion=1.0).pairs
    for mine, column in ((pair.log_prefactor, 2), (pair.activation_energy, 3)):
        assert mine.value == pytest.approx(known.params[column], rel=1e-5)
        assert mine.standard_error == pytest.approx(known.bse[column], rel=1e-5)
    equal = sm.GLM(n, design[:, :3], family=sm.families.Poisson(), exposure=exposure)
    deviance = equal.fit().deviance - known.deviance
    result = compare_arrhenius(model, temperature, n, exposure, dispersion=1.0)
    assert result.equal_energy_p_value == pytest.approx(
        stats.chi2.sf(deviance, 1), rel=1e-5
    )
    # Pearson's dispersion, with the correction for small counts
    correction = 1 + ((n - known.mu) / known.mu).mean()
    quasi = compare_arrhenius(model, temperature, n, exposure)
    expected = known.pearson_chi2 / (len(n) - 4) / correction
    assert quasi.noise.estimate == pytest.approx(expected, rel=1e-6)
    f = deviance / quasi.noise.estimate
    expected = stats.f.sf(f, 1, len(n) - 4)
    assert quasi.equal_energy_p_value == pytest.approx(expected, rel=1e-5)


@pytest.mark.long
@pytest.mark.statistics
def test_size_is_5_percent_for_overdispersed_counts():
    """Hops in pairs, 4 replicas, 20 to 30 hops per temperature, equal energies."""
    rng = np.random.default_rng(1)
    model, temperature = rows(4)
    exposure = np.array([6.0, 7.0])[model] / rate(temperature, 0.22)
    p_values, joint = [], []
    for _ in range(400):
        n = 2 * rng.poisson(np.array([6.0, 7.0])[model] / 2)
        result = compare_arrhenius(model, temperature, n, exposure)
        p_values.append(result.pairs[0].p_value)
        joint.append(result.equal_energy_p_value)
    # binomial s.d. 0.011
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(joint) < 0.05) == pytest.approx(0.05, abs=0.03)


@pytest.mark.statistics
def test_power_equivalence_error_and_coverage_at_a_difference_of_the_margin():
    """True difference 0.02 eV = margin = detectable, s.e. 0.0075 eV; 400 Poisson runs."""
    rng = np.random.default_rng(2)
    model, temperature = rows(1)
    energy = 0.22 + 0.02 * model
    # s.e. of one model 0.0816 / sqrt(hops)
    hops = 2 * (0.0816 / 0.0075) ** 2
    exposure = hops / rate(temperature, energy)
    pairs = [
        compare_arrhenius(
            model, temperature, rng.poisson(hops, 10), exposure, dispersion=1.0
        ).pairs[0]
        for _ in range(400)
    ]
    found = np.mean([pair.p_value < 0.05 for pair in pairs])
    expected = stats.norm.sf(1.96 - 0.02 / 0.0075)
    # binomial s.d. 0.022
    assert found == pytest.approx(expected, abs=0.06)
    assert pairs[0].power == pytest.approx(expected, abs=0.03)
    inside = [
        p.activation_energy.interval[0] < 0.02 < p.activation_energy.interval[1]
        for p in pairs
    ]
    # binomial s.d. 0.011 of both; two one-sided tests err in at most 5 %, here at one side
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)
    wrong = np.mean([pair.equivalence_p_value < 0.05 for pair in pairs])
    assert wrong == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize(
    ("difference", "hops", "verdict"),
    [
        (0.0, 5000.0, "equivalent within margin"),
        (0.008, 5000.0, "equivalent within margin"),  # and different from 0
        (0.04, 500.0, "different"),
        (0.0, 50.0, "undecided"),
        (0.02, 50.0, "undecided"),
        (-0.04, 500.0, "different"),
    ],
)
def test_verdicts_of_exact_counts(difference, hops, verdict):
    model, temperature = rows(1)
    exposure = hops / rate(temperature, 0.22 + difference * model)
    counts = np.full(10, hops)
    (pair,) = compare_arrhenius(model, temperature, counts, exposure, dispersion=1.0).pairs
    assert pair.activation_energy.value == pytest.approx(difference, abs=1e-8)
    assert pair.verdict == verdict
    # many hops: Wald's z of both tests, s.e. 0.0816 sqrt(2 / hops), r* within some percent
    error = 0.0816 * (2 / hops) ** 0.5
    wald = 2 * stats.norm.sf(abs(difference) / error)
    assert pair.p_value == pytest.approx(wald, rel=0.2, abs=1e-9)
    wald = stats.norm.sf((0.02 - abs(difference)) / error)
    assert pair.equivalence_p_value == pytest.approx(wald, rel=0.2, abs=1e-9)


def test_three_models_have_three_pairs_with_adjusted_p_values():
    rng = np.random.default_rng(3)
    model, temperature = rows(4, models=3)
    name = np.array(["small", "large", "foundation"])[model]
    energy = np.array([0.22, 0.22, 0.28])[model]
    exposure = 40.0 / rate(temperature, energy)
    n = rng.poisson(40.0, len(model))
    result = compare_arrhenius(name, temperature, n, exposure, dispersion=1.0)
    assert result.models == ("small", "large", "foundation")
    names = [(pair.first, pair.second) for pair in result.pairs]
    expected = [("small", "large"), ("small", "foundation"), ("large", "foundation")]
    assert names == expected
    assert [p.verdict for p in result.pairs[1:]] == ["different", "different"]
    assert result.equal_energy_p_value < 1e-6
    two = model < 2
    (alone,) = compare_arrhenius(
        name[two], temperature[two], n[two], exposure[two], dispersion=1.0
    ).pairs
    # the largest of three keeps its value, those of equivalence are multiplied
    assert result.pairs[0].p_value == pytest.approx(alone.p_value)
    expected = min(3 * alone.equivalence_p_value, 1)
    assert result.pairs[0].equivalence_p_value == pytest.approx(expected)
    assert result.pairs[0].activation_energy == alone.activation_energy


def test_a_scale_makes_prefactors_and_ratios_of_diffusivities():
    model, temperature = rows(1)
    exposure = 100.0 / rate(temperature, 0.22)
    n, scale = np.full(10, 100.0), np.where(model == 0, 1e-4, 3e-4)
    (pair,) = compare_arrhenius(model, temperature, n, exposure, scale=scale).pairs
    assert pair.rate_ratio.value == pytest.approx(3)
    assert pair.log_prefactor.value == pytest.approx(math.log(3), abs=1e-6)
    assert pair.activation_energy.value == pytest.approx(0, abs=1e-8)


def test_holm_on_a_worked_example():
    """0.01 · 4, 0.013 · 3, not less than the one before, 0.03 · 2, 0.04 · 1 likewise."""
    adjusted = holm(np.array([0.04, 0.01, 0.03, 0.013]))
    np.testing.assert_allclose(adjusted, [0.06, 0.04, 0.06, 0.04])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]


def test_power_without_a_difference_is_the_size():
    assert detection_power(0.01, 0.0) == pytest.approx(0.05)
    # (1.96 + 0.8416) standard errors give 80 %
    assert detection_power(0.02 / 2.801585, 0.02) == pytest.approx(0.8, abs=1e-4)


def test_what_cannot_be_compared_is_refused():
    model, temperature = rows(1)
    n, exposure = np.full(10, 9), np.full(10, 50.0)
    with pytest.raises(ValueError, match="two models at least, got"):
        compare_arrhenius(np.zeros(10), temperature, n, exposure)
    with pytest.raises(ValueError, match="margin=-1 must be positive"):
        compare_arrhenius(model, temperature, n, exposure, margin=-1)
    with pytest.raises(NotIdentifiableError, match="Model 1: No hop at any of 5"):
        compare_arrhenius(model, temperature, n * (model == 0), exposure)
