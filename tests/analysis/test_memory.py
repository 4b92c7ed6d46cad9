"""Jumps that remember one another: the factor, D and their intervals, on walks known."""

import numpy as np
import pytest
from kinetic_walk import simulate
from memory_walk import SQUARED_JUMP, factor, remember

from jaxdiff.analysis.memory import between_walkers, defect_memory, long_run, no_memory
from jaxdiff.analysis.regression import known_noise
from jaxdiff.analysis.residence import residences


def memory(walk):
    start = np.zeros(walk.n_replicas)
    data = residences(walk.time, walk.replica, start, walk.duration)
    return defect_memory(walk.jump.astype(float), data)


def runs(repetitions, replicas, duration, *, kind="vacancy", back=0.0, rate=1.0, seed=0):
    """Runs of a rate of 1/ps."""
    n = repetitions * replicas
    rate = np.broadcast_to(rate, n)
    walk = remember(rate, np.full(n, float(duration)), kind=kind, back=back, seed=seed)
    return [walk.select(k * replicas, (k + 1) * replicas) for k in range(repetitions)]


def inside(estimate, truth):
    return estimate.interval[0] < truth < estimate.interval[1]


def test_one_hop_of_memory_is_a_geometric_series():
    """1 + 2 Σ c^k = (1 + c)/(1 - c)."""
    for c in (-0.6, -0.1, 0.0, 0.3):
        assert long_run(np.array([2.0, 2 * c])) == pytest.approx(2 * (1 + c) / (1 - c))


def test_two_hops_of_memory_are_the_sum_over_all_lags():
    """γ_k = 0.2 γ_(k-1) - 0.5 γ_(k-2), summed to where it has died out."""
    gamma = [1.0, 0.2 / 1.5]
    for _ in range(100):
        gamma.append(0.2 * gamma[-1] - 0.5 * gamma[-2])
    expected = gamma[0] + 2 * sum(gamma[1:])
    assert long_run(np.array(gamma[:3])) == pytest.approx(expected, rel=1e-12)
    assert long_run(np.array(gamma[:6])) == pytest.approx(expected, rel=1e-12)


def test_the_growth_by_hand():
    """12 jumps along a line, one walker, 24 ps: products of neighbours -4 or 4."""
    sign = np.array([1, -1, 1, 1, -1, 1, -1, -1, 1, -1, 1, 1])
    jump = np.zeros((12, 3))
    jump[:, 0] = 2 * sign
    time = np.arange(1.0, 13.0)
    data = residences(time, np.zeros(12, int), np.zeros(1), np.full(1, 24.0))
    found = defect_memory(jump, data)
    c = np.sum(sign[1:] * sign[:-1]) / 12  # of 11 pairs, and one without correlation
    assert found.order == 1
    assert found.n_pairs == 11
    assert np.exp(found.log_factor) == pytest.approx((1 + c) / (1 - c))
    assert found.growth == pytest.approx(4 * 12 / 24 / 6 * (1 + c) / (1 - c))
    # d ln f/dc = 2/(1 - c²) on the mean of 11 cosines and of a zero
    scatter = np.sqrt(((sign[1:] * sign[:-1] - c) ** 2).sum() + c**2) / 11
    assert found.factor_error == pytest.approx(2 / (1 - c**2) * scatter, rel=1e-6)


@pytest.mark.parametrize("kind", ["vacancy", "interstitial"])
@pytest.mark.parametrize("back", [0.0, 0.15, 0.4])
def test_intervals_hold_the_truth_with_and_without_memory(kind, back):
    """600 runs of 4 x 60 hops: binomial s.d. 0.9 %."""
    truth = SQUARED_JUMP[kind] / 6 * factor(back) * 1e-4
    found = [memory(w) for w in runs(600, 4, 60, kind=kind, back=back)]
    of_d = [inside(m.diffusivity(between_walkers([m])), truth) for m in found]
    of_f = [inside(m.factor, factor(back)) for m in found]
    assert 0.92 < np.mean(of_d) < 0.985
    assert 0.92 < np.mean(of_f) < 0.985
    value = np.array([m.growth for m in found]) * 1e-4 / truth
    error = np.array([m.growth_error for m in found])
    assert np.log(value).mean() == pytest.approx(0, abs=4 * value.std() / 600**0.5)
    assert error.mean() == pytest.approx(np.log(value).std(), rel=0.2)  # 4 s.d.
    assert np.mean([m.order > 1 for m in found]) < 0.08


def test_without_memory_of_the_jumps_by_count_is_right():
    """What the factor mends: at 40 % D of the count is 2.3 times too large."""
    walk = runs(1, 40, 100, back=0.4)[0]
    count = len(walk.time) * SQUARED_JUMP["vacancy"] / 6 / 4000
    assert count == pytest.approx(SQUARED_JUMP["vacancy"] / 6, rel=0.07)
    assert memory(walk).growth == pytest.approx(count * factor(0.4), rel=0.1)


def test_a_jump_that_reverses_the_one_before_the_last():
    """Two chains in turn, each of one hop of memory: order 2, the same factor."""
    one, two = (runs(1, 20, 100, back=0.4, seed=s)[0] for s in (1, 2))
    n = min(len(one.time), len(two.time))
    jump = np.empty((2 * n, 3))
    jump[::2], jump[1::2] = one.jump[:n], two.jump[:n]
    time = np.cumsum(np.random.default_rng(0).exponential(1.0, 2 * n))
    data = residences(time, np.zeros(2 * n, int), np.zeros(1), time[-1:])
    found = defect_memory(jump, data)
    assert found.order == 2
    assert inside(found.factor, factor(0.4))


def test_mechanisms_that_mix_have_no_memory():
    walk = simulate(
        np.ones(20), np.full(20, 50.0), probability=(0.4, 0.2, 0.2, 0.2), cells=2, seed=3
    )
    found = memory(walk)
    square = (walk.jump**2).sum(axis=1)
    assert inside(found.factor, 1.0)
    assert found.growth == pytest.approx(
        np.exp(found.log_factor) * square.sum() / 6 / 1000, rel=1e-9
    )


def test_replicas_of_different_rates_scatter_more_and_are_seen_to():
    """Rates that vary by 60 % from replica to replica: 150 runs of 12 x 60 hops."""
    rng = np.random.default_rng(4)
    rate = rng.gamma(1 / 0.36, 0.36, 150 * 12)
    truth = SQUARED_JUMP["vacancy"] / 6 * 1e-4
    found = [memory(w) for w in runs(150, 12, 60, rate=rate)]
    plain = [inside(m.diffusivity(known_noise(1)), truth) for m in found]
    wide = [inside(m.diffusivity(between_walkers([m])), truth) for m in found]
    assert np.mean(plain) < 0.7
    assert np.mean(wide) == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize(("back", "low", "high"), [(0.0, 0.0, 0.035), (0.15, 0.75, 1.0)])
def test_a_memory_is_seen_and_none_is_not(back, low, high):
    """Three temperatures of 150 hops; binomial s.d. at 1 %: 0.6 %."""
    walks = runs(3 * 300, 3, 50, back=back, seed=5)
    p = [no_memory([memory(w) for w in walks[k : k + 3]]) for k in range(0, 900, 3)]
    assert low <= np.mean(np.array(p) < 0.01) <= high


def test_too_few_hops_say_nothing():
    assert memory(runs(1, 8, 1, seed=6)[0]) is None
    assert np.isnan(no_memory([]))


def test_jumps_that_are_all_undone_lead_nearly_nowhere():
    """31 of 31: with 97.5 % fewer than 3.7 are not, f < 3.7/(2 · 31 - 3.7) = 0.06."""
    jump = np.outer((-1) ** np.arange(32), [2.0, 0, 0])
    time = np.arange(1.0, 33.0)
    data = residences(time, np.zeros(32, int), np.zeros(1), np.full(1, 40.0))
    found = defect_memory(jump, data).factor
    assert found.value < 0.06
    assert 0.06 < found.interval[1] < 0.5  # wider, as the order is not known either


@pytest.mark.long
@pytest.mark.parametrize(("replicas", "duration"), [(16, 10), (4, 250), (8, 5)])
@pytest.mark.parametrize("kind", ["vacancy", "interstitial"])
@pytest.mark.parametrize("back", [0.0, 0.1, 0.2, 0.3, 0.4])
def test_coverage_of_diffusivities_in_1000_runs(replicas, duration, kind, back):
    """Noise of 15, 3 and 7 degrees of freedom; binomial s.d. 0.7 %."""
    truth = SQUARED_JUMP[kind] / 6 * factor(back) * 1e-4
    found = [memory(w) for w in runs(1000, replicas, duration, kind=kind, back=back)]
    covered = [inside(m.diffusivity(between_walkers([m])), truth) for m in found if m]
    assert np.mean(covered) == pytest.approx(0.955, abs=0.025)
