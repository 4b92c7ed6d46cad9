import numpy as np
import pytest

from jaxdiff import units
from jaxdiff.analysis.arrhenius import NotIdentifiableError, fit_arrhenius

TEMPERATURE = np.array([300.0, 350.0, 400.0, 450.0, 500.0])
EA, LOG_A = 0.22, np.log(40.0)


def rate(temperature):
    return np.exp(LOG_A - EA / (units.KB * temperature))


def test_exact_counts_give_the_exact_parameters():
    exposure = np.array([900.0, 300.0, 200.0, 150.0, 100.0])
    fit = fit_arrhenius(TEMPERATURE, rate(TEMPERATURE) * exposure, exposure)
    assert fit.activation_energy.value == pytest.approx(EA, rel=1e-8)
    assert fit.log_prefactor.value == pytest.approx(LOG_A, rel=1e-8)
    value, low, high = fit.predict(TEMPERATURE)
    np.testing.assert_allclose(value, rate(TEMPERATURE), rtol=1e-7)
    assert np.all((low < value) & (value < high))
    assert fit.dispersion == 1
    assert fit.linearity_p_value == pytest.approx(1, abs=1e-6)


def test_standard_error_is_the_fisher_information():
    exposure = np.full(5, 500.0)
    n = rate(TEMPERATURE) * exposure
    fit = fit_arrhenius(TEMPERATURE, n, exposure)
    x = 1 / (units.KB * TEMPERATURE)
    spread = (n * (x - (n * x).sum() / n.sum()) ** 2).sum()
    assert fit.activation_energy.standard_error == pytest.approx(spread**-0.5, rel=1e-9)
    covariance = np.array(fit.covariance)
    assert covariance[0, 0] ** 0.5 == pytest.approx(fit.log_prefactor.standard_error)
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) > 0.9


def test_interval_covers_the_truth_in_95_percent_of_1000_runs():
    """8 replicas per temperature, 2 to 80 hops expected at each; and ln k at 425 K."""
    rng = np.random.default_rng(0)
    temperature = np.repeat(TEMPERATURE, 8)
    exposure = np.full(40, 40.0)
    inside, middle, values = [], [], []
    for _ in range(1000):
        fit = fit_arrhenius(
            temperature, rng.poisson(rate(temperature) * exposure), exposure
        )
        low, high = fit.activation_energy.interval
        inside.append(low < EA < high)
        _, low, high = fit.predict(np.array([425.0]))
        middle.append(low[0] < rate(425.0) < high[0])
        values.append(fit.activation_energy.value)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
    assert np.mean(middle) == pytest.approx(0.95, abs=0.025)
    assert np.mean(values) == pytest.approx(EA, abs=4 * np.std(values) / 1000**0.5)


def test_overdispersed_counts_are_covered_too():
    """Hops in pairs: the variance is doubled, and so it is found to be."""
    rng = np.random.default_rng(1)
    temperature, exposure = np.repeat(TEMPERATURE, 12), np.full(60, 80.0)
    inside, scale = [], []
    for _ in range(400):
        n = 2 * rng.poisson(rate(temperature) * exposure / 2)
        fit = fit_arrhenius(temperature, n, exposure)
        low, high = fit.activation_energy.interval
        inside.append(low < EA < high)
        scale.append(fit.dispersion)
    assert np.mean(scale) == pytest.approx(2, abs=0.1)
    # binomial s.d. 0.011, and the scale is itself estimated
    assert np.mean(inside) == pytest.approx(0.95, abs=0.035)


def test_a_temperature_without_hops_counts():
    temperature = np.array([250.0, 350.0, 450.0])
    n = np.array([0.0, 9.0, 60.0])
    with_zero = fit_arrhenius(temperature, n, np.full(3, 300.0))
    without = fit_arrhenius(temperature[1:], n[1:], np.full(2, 300.0))
    assert with_zero.activation_energy.value > without.activation_energy.value
    assert with_zero.n_temperatures == 3
    assert np.isnan(without.linearity_p_value)


def test_rows_may_be_replicas_or_sums():
    rng = np.random.default_rng(2)
    temperature, exposure = np.repeat(TEMPERATURE, 6), rng.uniform(50, 150, 30)
    n = rng.poisson(rate(temperature) * exposure)
    fine = fit_arrhenius(temperature, n, exposure)
    coarse = fit_arrhenius(
        TEMPERATURE, n.reshape(5, 6).sum(1), exposure.reshape(5, 6).sum(1)
    )
    assert fine.activation_energy.value == pytest.approx(coarse.activation_energy.value)


def test_a_scale_turns_rates_into_diffusivities():
    exposure, jump = np.full(5, 500.0), 3e-4
    n = rate(TEMPERATURE) * exposure
    k = fit_arrhenius(TEMPERATURE, n, exposure)
    d = fit_arrhenius(TEMPERATURE, n, exposure, scale=jump, prefactor_unit="cm^2/s")
    assert d.activation_energy.value == pytest.approx(k.activation_energy.value)
    assert d.log_prefactor.value == pytest.approx(k.log_prefactor.value + np.log(jump))
    assert d.log_prefactor.unit == "ln(cm^2/s)"


def test_curvature_is_seen():
    exposure = np.full(5, 2e4)
    bent = rate(TEMPERATURE) * np.array([1.8, 1.0, 0.8, 1.0, 1.8])
    assert fit_arrhenius(TEMPERATURE, bent * exposure, exposure).dispersion > 10
    twice = np.repeat(TEMPERATURE, 40)
    n = np.random.default_rng(3).poisson(np.repeat(bent, 40) * 500.0)
    assert fit_arrhenius(twice, n, np.full(200, 500.0)).linearity_p_value < 1e-3


@pytest.mark.parametrize(
    ("temperature", "count", "match"),
    [
        ([400.0, 400.0], [3, 5], "at least two temperatures"),
        ([300.0, 400.0], [0, 0], "No hop at any of 2 temperatures"),
        ([300.0, 400.0, 500.0], [0, 0, 7], "All 7 hops are at 500 K"),
    ],
)
def test_what_cannot_be_known_is_refused(temperature, count, match):
    with pytest.raises(NotIdentifiableError, match=match):
        fit_arrhenius(np.array(temperature), np.array(count), np.full(len(count), 10.0))


def test_replicas_without_exposure_do_not_count():
    with pytest.raises(NotIdentifiableError, match="at least two temperatures"):
        fit_arrhenius(np.array([300.0, 400.0]), np.array([0, 9]), np.array([0.0, 10.0]))


def test_hops_in_the_middle_only_are_enough():
    """Zeros on both sides bound the slope from both sides."""
    temperature = np.array([300.0, 400.0, 500.0])
    fit = fit_arrhenius(temperature, np.array([0, 5, 0]), np.full(3, 10.0))
    assert np.isfinite(fit.activation_energy.value)
    assert fit.activation_energy.standard_error > 0.01
