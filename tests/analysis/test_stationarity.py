import numpy as np
import pytest
from scipy import stats

from jaxdiff.analysis.stationarity import stationarity


def hops(rng, n_replicas, duration, rate=1.0, power=1.0):
    """Poisson in number; spread evenly over time for power 1, late for less."""
    count = rng.poisson(rate * duration, n_replicas)
    time = duration * rng.random(count.sum()) ** power
    return time, np.repeat(np.arange(n_replicas), count)


def test_counts_and_expectations_by_hand():
    """Block edges 0, 5, 10; replica 1 is followed from 5 on: 5 ps to 15 ps... 1 : 2."""
    result = stationarity(
        np.array([1.0, 7.0, 8.0]),
        np.array([0, 0, 1]),
        np.array([0.0, 5.0]),
        np.array([10.0, 10.0]),
        seed=0,
        n_blocks=2,
    )
    np.testing.assert_allclose(result.edge, [0, 5, 10])
    np.testing.assert_array_equal(result.count, [1, 2])
    np.testing.assert_allclose(result.expected, [1, 2])
    assert result.p_value == 1


def test_groups_have_rates_of_their_own():
    """A hot replica that stops early is no drift of the rate."""
    rng = np.random.default_rng(0)
    hot, _ = hops(rng, 1, 50.0, rate=4.0)
    cold, _ = hops(rng, 1, 100.0, rate=0.5)
    time = np.concatenate([hot, cold])
    replica = np.repeat([0, 1], [len(hot), len(cold)])
    given = (time, replica, np.zeros(2), np.array([50.0, 100.0]))
    assert stationarity(*given, seed=0).p_value < 0.01
    assert stationarity(*given, seed=0, group=np.array([500.0, 400.0])).p_value > 0.01


def test_many_hops_give_the_chi_square_probability():
    rng = np.random.default_rng(1)
    time, replica = hops(rng, 16, 50.0)
    result = stationarity(time, replica, np.zeros(16), np.full(16, 50.0), seed=0)
    square = ((result.count - result.expected) ** 2 / result.expected).sum()
    # Monte Carlo: √(p(1-p)/4999) < 0.0071
    assert result.p_value == pytest.approx(stats.chi2.sf(square, 3), abs=0.03)


def test_p_values_are_uniform_with_6_hops_in_all():
    rng = np.random.default_rng(2)
    p = []
    for seed in range(600):
        time, replica = hops(rng, 3, 2.0)
        p.append(
            stationarity(
                time, replica, np.zeros(3), np.full(3, 2.0), seed=seed, n_simulations=199
            ).p_value
        )
    p = np.array(p)
    p = p[np.isfinite(p)]
    # never too small (binomial s.d. 0.009 to 0.019), and discrete: may be too large
    for level in (0.05, 0.1, 0.3):
        assert np.mean(p <= level) < level + 4 * (level / len(p)) ** 0.5


def test_a_rate_that_rises_is_seen():
    rng = np.random.default_rng(3)
    time, replica = hops(rng, 16, 10.0, power=0.5)
    result = stationarity(time, replica, np.zeros(16), np.full(16, 10.0), seed=0)
    assert result.p_value < 0.001


def test_no_hops_no_answer_and_bad_input_is_refused():
    none = (np.zeros(0), np.zeros(0, int), np.zeros(2), np.ones(2))
    assert np.isnan(stationarity(*none, seed=0).p_value)
    with pytest.raises(ValueError, match="must be at least 2"):
        stationarity(*none, seed=0, n_blocks=1)
    with pytest.raises(ValueError, match="outside of the observation"):
        stationarity(np.array([3.0]), np.array([0]), np.zeros(1), np.ones(1), seed=0)
