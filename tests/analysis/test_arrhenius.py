import math

import numpy as np
import pytest
from scipy import optimize, stats

from jaxdiff import units
from jaxdiff.analysis.arrhenius import (
    NotIdentifiableError,
    fit_arrhenius,
)
from jaxdiff.analysis.profile import signed_root
from jaxdiff.analysis.regression import LogLinear, Noise, known_noise, solve

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


@pytest.mark.long
@pytest.mark.statistics
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


@pytest.mark.statistics
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


def deviance(n, exposure, log_prefactor, energy):
    """-2 ln of the Poisson likelihood, by scipy."""
    mean = exposure * np.exp(log_prefactor - energy / (units.KB * TEMPERATURE))
    return -2 * stats.poisson.logpmf(n, mean).sum()


@pytest.mark.statistics
@pytest.mark.parametrize("hops", [5, 20, 100])
def test_energy_interval_covers_95_percent_with_few_hops(hops):
    """Equal hops expected at 5 temperatures; the truth is inside iff |r*| < 1.96 there."""
    rng = np.random.default_rng(hops)
    x = 1 / (units.KB * TEMPERATURE)
    exposure = hops / 5 / rate(TEMPERATURE)
    roots = []
    for _ in range(2000):
        n = rng.poisson(hops / 5, 5).astype(float)
        if n[:-1].sum() == 0 or n[1:].sum() == 0:
            continue  # refused by fit_arrhenius
        design = np.stack([np.ones(5), -(x - x.mean())], axis=1)
        model = LogLinear(design, n, np.log(exposure), np.ones(5))
        roots.append(signed_root(model, solve(model), 1, EA, 1.0))
    roots = np.array(roots)
    # binomial s.d. of 2000: 0.005 both, 0.0035 each tail
    assert np.mean(np.abs(roots) < 1.96) == pytest.approx(0.95, abs=0.02)
    assert np.mean(roots > 1.96) == pytest.approx(0.025, abs=0.014)
    assert np.mean(roots < -1.96) == pytest.approx(0.025, abs=0.014)


@pytest.mark.parametrize(("cold", "hot", "close"), [(3, 9, 0.07), (12, 36, 0.015)])
def test_energy_interval_of_two_temperatures_is_the_binomial_one(cold, hot, close):
    """Given all hops the colder has a binomial share, whose r* has a closed form."""
    temperature, exposure = np.array([350.0, 450.0]), np.array([40.0, 25.0])
    x = 1 / (units.KB * temperature)
    fit = fit_arrhenius(temperature, np.array([cold, hot]), exposure)
    energy, total, seen = fit.activation_energy, cold + hot, cold / (cold + hot)
    half = 1.959964 * energy.standard_error

    def logit(at):
        return np.log(exposure[0] / exposure[1]) - at * (x[0] - x[1])

    def root(at):
        p, distance = 1 / (1 + np.exp(-logit(at))), logit(energy.value) - logit(at)
        square = 2 * (cold * np.log(seen / p) + hot * np.log((1 - seen) / (1 - p)))
        r = np.sign(distance) * square**0.5
        return r + np.log(distance * (total * seen * (1 - seen)) ** 0.5 / r) / r

    def middle_p(at):
        p = stats.binom(total, 1 / (1 + np.exp(-logit(at))))
        return p.sf(cold) + p.pmf(cold) / 2

    for end, tail in ((0, 0.975), (1, 0.025)):
        # ends are found to 1e-4 half-widths, a unit of r* is half a half-width
        assert abs(root(energy.interval[end])) == pytest.approx(1.959964, abs=3e-4)
        # the exact mid-p interval, in steps of one hop: 6 % and 1.2 % of a half-width
        exact = optimize.brentq(lambda at, tail=tail: middle_p(at) - tail, -1, 2)
        assert energy.interval[end] == pytest.approx(exact, abs=close * half)
    # the exact upper end of the last turn; that of 1.96 standard errors is far below
    assert exact - (energy.value + half) > 2 * close * half


def test_interval_with_many_hops_is_that_of_the_standard_error():
    exposure = np.full(5, 1e6)
    fit = fit_arrhenius(TEMPERATURE, rate(TEMPERATURE) * exposure, exposure)
    for estimate in (fit.activation_energy, fit.log_prefactor, fit.middle):
        half = (estimate.interval[1] - estimate.interval[0]) / 2
        # relative corrections are of order 1/hops, 1e-5; ends are found to 1e-4
        assert half == pytest.approx(1.959964 * estimate.standard_error, rel=3e-4)


@pytest.mark.statistics
def test_few_overdispersed_rows_are_covered_by_the_t_distribution():
    """3 replicas at each of 5 temperatures, hops in pairs; a normal quantile gives 91 %."""
    rng = np.random.default_rng(5)
    temperature, exposure = np.repeat(TEMPERATURE, 3), np.full(15, 90.0)
    inside, normal = [], []
    for _ in range(300):
        n = 2 * rng.poisson(rate(temperature) * exposure / 2)
        fit = fit_arrhenius(temperature, n, exposure)
        low, high = fit.activation_energy.interval
        inside.append(low < EA < high)
        error = abs(fit.activation_energy.value - EA)
        normal.append(error < 1.96 * fit.activation_energy.standard_error)
    assert np.mean(inside) >= np.mean(normal)
    # binomial s.d. 0.0126
    assert np.mean(inside) == pytest.approx(0.95, abs=0.035)


def test_noise_limits_are_the_wider_of_poisson_and_estimated():
    t, f = stats.t.isf(0.025, 10), stats.f.isf(0.05, 2, 10)
    wide, narrow = Noise(3.0, 10), Noise(0.2, 10)
    assert wide.quantile() * wide.scale**0.5 == pytest.approx(t * 3**0.5)
    assert narrow.quantile() == pytest.approx(1.959964, rel=1e-6)
    assert wide.limit(0.95, 2) == pytest.approx(3 * 2 * f)
    assert narrow.limit(0.95, 2) == pytest.approx(5.991465, rel=1e-6)
    assert known_noise(3).limit(0.95, 2) == pytest.approx(3 * 5.991465, rel=1e-6)
    for noise in (wide, narrow, known_noise(3), Noise(1.0, 0)):
        assert 2 * noise.tail(noise.quantile()) == pytest.approx(0.05)
        for terms in (1, 2, 4):
            edge = noise.limit(0.95, terms)
            assert noise.p_value(edge, terms) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="dispersion=0.5 must be at least 1"):
        known_noise(0.5)


def test_a_known_dispersion_scales_the_errors():
    exposure = np.full(5, 400.0)
    n = np.random.default_rng(6).poisson(rate(TEMPERATURE) * exposure)
    one = fit_arrhenius(TEMPERATURE, n, exposure, dispersion=1.0)
    four = fit_arrhenius(TEMPERATURE, n, exposure, dispersion=4.0)
    assert four.activation_energy.standard_error == pytest.approx(
        2 * one.activation_energy.standard_error
    )
    assert four.dispersion == 4
    assert one.linearity_p_value < four.linearity_p_value


def test_middle_is_known_best_and_independent_of_the_energy():
    exposure = np.full(5, 500.0)
    n = np.round(rate(TEMPERATURE) * exposure)
    fit = fit_arrhenius(TEMPERATURE, n, exposure, dispersion=1.0)
    x = 1 / (units.KB * TEMPERATURE)
    kelvin = fit.middle_temperature_kelvin
    center = 1 / (units.KB * kelvin)
    assert center == pytest.approx((n * x).sum() / n.sum())
    # Fisher information of the intercept is the number of hops
    assert fit.middle.standard_error == pytest.approx(n.sum() ** -0.5, rel=1e-9)
    line = fit.log_prefactor.value - fit.activation_energy.value * center
    assert fit.middle.value == pytest.approx(line, abs=1e-9)
    covariance = np.array(fit.covariance)
    assert covariance[0, 1] - center * covariance[1, 1] == pytest.approx(0, abs=1e-9)
    error = fit.activation_energy.standard_error / fit.log_prefactor.standard_error
    assert fit.correlation == pytest.approx(center * error)


def test_contour_is_where_the_likelihood_ratio_is_chi_squared():
    exposure = np.full(5, 60.0)
    n = np.array([0, 2, 4, 9, 14])
    fit = fit_arrhenius(TEMPERATURE, n, exposure, dispersion=1.0)
    contour = fit.contour(level=0.9, points=41)
    best = deviance(n, exposure, fit.log_prefactor.value, fit.activation_energy.value)
    edge = [
        deviance(n, exposure, a, e)
        for a, e in zip(contour.log_prefactor, contour.activation_energy, strict=True)
    ]
    # the 90 % quantile of chi^2 with 2 degrees of freedom is -2 ln 0.1
    np.testing.assert_allclose(np.array(edge) - best, -2 * math.log(0.1), rtol=1e-6)
    assert contour.activation_energy[0] == pytest.approx(contour.activation_energy[-1])
    tilt = np.corrcoef(contour.activation_energy, contour.log_prefactor)[0, 1]
    assert tilt > 0.95


def test_contour_of_many_hops_is_an_ellipse():
    exposure = np.full(5, 1e6)
    fit = fit_arrhenius(TEMPERATURE, rate(TEMPERATURE) * exposure, exposure, dispersion=1.0)
    half = np.ptp(fit.contour(points=721).activation_energy) / 2
    # skewness of relative order hops^-1/2, 1e-3, cancels in the width
    expected = math.sqrt(5.991465) * fit.activation_energy.standard_error
    assert half == pytest.approx(expected, rel=1e-3)


def test_extrapolation_is_flagged_and_has_the_error_of_the_line():
    exposure = np.full(5, 1e5)
    fit = fit_arrhenius(TEMPERATURE, rate(TEMPERATURE) * exposure, exposure)
    x = 1 / (units.KB * TEMPERATURE)
    n = rate(TEMPERATURE) * exposure
    center = (n * x).sum() / n.sum()
    for kelvin, outside in ((250.0, True), (300.0, False), (420.0, False), (600.0, True)):
        point = fit.at(kelvin)
        assert point.extrapolated is outside
        assert point.estimate.value == pytest.approx(rate(kelvin), rel=1e-6)
        distance = 1 / (units.KB * kelvin) - center
        relative = math.sqrt(1 / n.sum() + distance**2 / (n * (x - center) ** 2).sum())
        error = point.estimate.standard_error / point.estimate.value
        assert error == pytest.approx(relative, rel=1e-6)
        low, high = point.estimate.interval
        # skewness shifts both ends but not their distance, to 1/hops
        assert math.log(high / low) / 2 == pytest.approx(1.959964 * relative, rel=1e-3)
    assert fit.temperature_range_kelvin == pytest.approx((300, 500))
    middle = fit.at(fit.middle_temperature_kelvin).estimate
    assert middle.value == pytest.approx(math.exp(fit.middle.value))
    assert np.log(middle.interval) == pytest.approx(fit.middle.interval, abs=1e-6)
