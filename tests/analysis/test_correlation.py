import itertools

import numpy as np
import pytest
from kinetic_walk import HAVEN_RATIO, MECHANISMS, simulate

from jaxdiff.analysis.correlation import (
    defect_correlation,
    haven_ratio,
    measured_tracer_diffusivity,
    tracer_correlation,
)
from jaxdiff.lattice.rock_salt import ROCK_SALT


def walks(name, n_replicas, hops, seed, cells=4):
    return simulate(
        np.ones(n_replicas),
        np.full(n_replicas, float(hops)),
        probability=tuple(float(name == m) for m in MECHANISMS),
        cells=cells,
        seed=seed,
    )


def tracers(walk, **changes):
    given = {"n_replicas": walk.n_replicas, "seed": 0} | changes
    return tracer_correlation(walk.replica, walk.cation, walk.step, **given)


def haven(walk, **changes):
    given = {"n_replicas": walk.n_replicas, "seed": 0} | changes
    return haven_ratio(walk.replica, walk.jump, walk.cation, walk.step, **given)


@pytest.mark.parametrize("name", ["collinear", "noncollinear_1", "noncollinear_2"])
def test_factors_and_haven_ratios_are_the_known_ones(name):
    """Error about 0.003; cut-off and small cell add 0.010 to 0.014 to the collinear one."""
    walk = walks(name, 400, 200, seed=0)
    kind = MECHANISMS.index(name)
    bias = 0.02 if name == "collinear" else 0.004
    factor = tracers(walk)
    assert factor.standard_error < 0.006
    slack = bias + 4 * factor.standard_error
    assert factor.value == pytest.approx(ROCK_SALT.tracer_correlation[kind], abs=slack)
    ratio = haven(walk)
    assert ratio.value / HAVEN_RATIO[kind] == pytest.approx(
        1, abs=slack / ROCK_SALT.tracer_correlation[kind]
    )


def test_first_term_of_the_collinear_series_is_minus_one_quarter():
    """Of the two that moved, one is pushed back with probability 1/4: 1 - 2/4·1/2."""
    factor = tracers(walks("collinear", 400, 200, seed=1), memory=1)
    assert factor.value == pytest.approx(0.75, abs=4 * factor.standard_error)


@pytest.mark.statistics
def test_longer_memory_in_a_large_cell_leads_to_two_thirds():
    factor = tracers(walks("collinear", 800, 200, seed=2, cells=6), memory=25)
    # the cell adds 0.002
    assert factor.value == pytest.approx(2 / 3, abs=4 * factor.standard_error + 0.002)


def test_sums_against_loops_over_pairs_of_hops():
    walk = walks("noncollinear_2", 3, 12, seed=3, cells=2)
    memory, product, pairs = 4, np.zeros(5), np.zeros(5)
    for m, n in itertools.combinations(range(len(walk.time)), 2):
        if walk.replica[m] == walk.replica[n] and n - m <= memory:
            pairs[n - m] += 1
            for a, b in itertools.product(range(2), repeat=2):
                if walk.cation[m, a] == walk.cation[n, b]:
                    product[n - m] += walk.step[m, a] @ walk.step[n, b]
    expected = 1 + 2 * (product[1:] / pairs[1:]).sum() / 6
    assert tracers(walk, memory=memory).value == pytest.approx(expected, rel=1e-12)


def test_direct_hops_have_no_correlation_and_haven_ratio_one():
    walk = walks("direct", 100, 60, seed=4)
    ratio = haven(walk, memory=3)
    assert ratio.value == pytest.approx(1, abs=4 * ratio.standard_error)
    # exact where both are measured: the cation is the defect
    same = haven(walk, memory=3, defect_memory=3)
    assert same.value == pytest.approx(1, rel=1e-12) or np.isnan(same.value)


def test_a_defect_with_memory():
    """On a line, forward with p = 0.4: <cos> = -0.2 after one hop, 0.04 after two."""
    rng = np.random.default_rng(5)
    sign = np.where(rng.random((200, 100)) < 0.4, 1, -1).cumprod(axis=1)
    jump = np.zeros((20000, 3), int)
    jump[:, 0] = 2 * sign.ravel()
    replica = np.repeat(np.arange(200), 100)
    one = defect_correlation(replica, jump, n_replicas=200, seed=0)
    two = defect_correlation(replica, jump, n_replicas=200, seed=0, memory=2)
    # 2√(0.96/19800)
    assert one.standard_error == pytest.approx(0.0139, rel=0.25)
    assert one.value == pytest.approx(0.6, abs=4 * one.standard_error)
    assert two.value == pytest.approx(0.68, abs=4 * two.standard_error)


def test_haven_ratio_with_the_memory_of_the_defect():
    walk = walks("noncollinear_1", 100, 60, seed=6)
    factor = defect_correlation(walk.replica, walk.jump, n_replicas=100, seed=0)
    plain, corrected = haven(walk), haven(walk, defect_memory=1)
    assert corrected.value == pytest.approx(plain.value / factor.value, rel=1e-12)


def test_measured_tracer_diffusivity_is_rate_times_factor():
    walk = walks("collinear", 16, 40, seed=7)
    estimate = measured_tracer_diffusivity(
        walk.replica,
        walk.cation,
        1.5 * walk.step,
        walk.duration,
        n_cations=walk.n_cations,
        seed=0,
    )
    rate = len(walk.time) / walk.duration.sum()
    expected = rate * 6 * 1.5**2 * tracers(walk).value / (6 * walk.n_cations) * 1e-4
    assert estimate.value == pytest.approx(expected, rel=1e-12)
    assert estimate.unit == "cm^2/s"


def coverage(repetitions, seed):
    walk = walks("noncollinear_1", 16 * repetitions, 10, seed=seed)
    inside = 0
    for k in range(repetitions):
        low, high = haven(walk.select(16 * k, 16 * (k + 1)), seed=k).interval
        inside += low < HAVEN_RATIO[1] < high
    return inside / repetitions


def test_coverage():
    # binomial s.d. of 200: 0.0154
    assert coverage(200, seed=8) == pytest.approx(0.95, abs=0.047)


@pytest.mark.long
def test_coverage_in_1000_runs():
    # to what the truncated memory and few returns allow
    assert coverage(1000, seed=9) == pytest.approx(0.95, abs=0.025)


def test_too_little_is_unknown_and_disorder_is_refused():
    none = walks("direct", 3, 0, seed=0)
    assert np.isnan(haven(none).value)
    assert np.isnan(tracers(none).value)
    walk = walks("direct", 3, 5, seed=0)
    with pytest.raises(ValueError, match="sorted by replica"):
        tracer_correlation(walk.replica[::-1], walk.cation, walk.step, n_replicas=3, seed=0)
    with pytest.raises(ValueError, match="memory=0 hops must be at least 1"):
        tracers(walk, memory=0)
