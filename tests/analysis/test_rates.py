import numpy as np
import pytest
from scipy import stats

from jaxdiff.analysis.rates import compound_poisson, dispersion_index, garwood, hop_rate


@pytest.mark.parametrize("count", [0, 1, 3, 17, 400])
def test_garwood_bounds_have_tail_probability_alpha_over_2(count):
    low, high = (float(b) for b in garwood(count))
    assert stats.poisson.cdf(count, high) == pytest.approx(0.025, rel=1e-9)
    if count:
        assert stats.poisson.sf(count - 1, low) == pytest.approx(0.025, rel=1e-9)
    else:
        assert low == 0
        assert high == pytest.approx(-np.log(0.025))


def test_garwood_covers_at_least_95_percent():
    mean = 4.2
    low, high = garwood(np.arange(60))
    inside = (low <= mean) & (mean <= high)
    assert 0.95 <= stats.poisson.pmf(np.arange(60), mean)[inside].sum() <= 0.99


@pytest.mark.statistics
def test_rate_of_censored_replicas_is_unbiased():
    """Exposure of all replicas, hops or not; the mean of 4000 runs within 4 s.e."""
    rng = np.random.default_rng(0)
    rate, time, replicas = 0.02, 30.0, 16
    counts = rng.poisson(rate * time, (4000, replicas)).sum(1)
    values = [hop_rate(int(n), replicas * time).value for n in counts]
    assert np.mean(values) == pytest.approx(rate, abs=4 * np.std(values) / 4000**0.5)


def test_dispersion_widens_the_interval():
    plain, wide = hop_rate(40, 100.0), hop_rate(40, 100.0, dispersion=4.0)
    assert wide.value == plain.value
    assert wide.standard_error == pytest.approx(2 * plain.standard_error)
    assert wide.n_effective == pytest.approx(10)
    assert wide.interval[0] < plain.interval[0] < plain.interval[1] < wide.interval[1]
    assert hop_rate(40, 100.0, dispersion=0.3) == plain


def test_compound_poisson_variance_against_simulation():
    rng = np.random.default_rng(1)
    n = rng.poisson(30, 20000), rng.poisson(5, 20000)
    total = 1.0 * n[0] + 4.0 * n[1]
    estimate = compound_poisson(50.0, 30 + 16 * 5.0, 1.0, "1")
    assert estimate.standard_error == pytest.approx(total.std(), rel=0.02)
    low, high = estimate.interval
    assert np.mean((total > low) & (total < high)) == pytest.approx(0.95, abs=0.02)


def test_no_exposure_and_negative_counts_are_refused():
    with pytest.raises(ValueError, match="exposure=0.0 must be positive"):
        hop_rate(0, 0.0)
    with pytest.raises(ValueError, match="must not be negative"):
        garwood(-1)


def test_dispersion_index_of_poisson_counts_and_of_clumped_ones():
    rng = np.random.default_rng(2)
    exposure = np.repeat([50.0, 100.0], 200)
    group = np.repeat([300.0, 400.0], 200)
    rate = np.where(group == 300, 0.05, 0.2)
    poisson = dispersion_index(rng.poisson(rate * exposure), exposure, group)
    assert poisson.degrees_of_freedom == 398
    # s.d. of χ²/dof is √(2/398) = 0.07
    assert poisson.index == pytest.approx(1, abs=4 * 0.07)
    assert poisson.p_value > 1e-4
    pairs = dispersion_index(2 * rng.poisson(rate * exposure / 2), exposure, group)
    assert pairs.index == pytest.approx(2, abs=8 * 0.07)
    assert pairs.p_value < 1e-6


def test_dispersion_p_value_is_not_too_small_for_few_hops():
    """Half a hop per replica: at most 5 % of Poisson runs fall below 5 %."""
    rng = np.random.default_rng(3)
    exposure = np.full(16, 10.0)
    p = [dispersion_index(rng.poisson(0.5, 16), exposure).p_value for _ in range(2000)]
    assert np.mean(np.array(p) < 0.05) < 0.05 + 4 * (0.05 * 0.95 / 2000) ** 0.5


def test_dispersion_without_hops_is_undefined():
    nothing = dispersion_index(np.zeros(5), np.full(5, 3.0))
    assert nothing.degrees_of_freedom == 0
    assert np.isnan(nothing.index)


@pytest.mark.statistics
def test_intervals_hold_the_rate_where_replicas_differ():
    """Rates that vary by 60 %: 92 % with the dispersion taken as known; 8 replicas."""
    rng = np.random.default_rng(4)
    inside = []
    for _ in range(1500):
        count = rng.poisson(30 * rng.gamma(1 / 0.36, 0.36, 8))
        noise = dispersion_index(count, np.full(8, 30.0)).noise
        low, high = hop_rate(int(count.sum()), 240.0, dispersion=noise).interval
        inside.append(low < 1 < high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)  # binomial s.d. 0.6 %


def test_poisson_replicas_widen_nothing_more_often_than_not():
    rng = np.random.default_rng(5)
    noise = [dispersion_index(rng.poisson(9, 8), np.ones(8)).noise for _ in range(300)]
    assert np.mean([n.scale > 1 for n in noise]) == pytest.approx(0.3, abs=0.1)
