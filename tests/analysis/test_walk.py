import numpy as np
import pytest
from kinetic_walk import HAVEN_RATIO, MECHANISMS, simulate

SQUARED_JUMP = np.array([12, 8, 4, 4])  # 3a²/4, a²/2, a²/4, a²/4
SQUARED_STEPS = np.array([6, 6, 6, 4])


def only(name):
    return tuple(float(name == m) for m in MECHANISMS)


def mixed(seed=0, n_replicas=50):
    return simulate(
        np.linspace(0, 2, n_replicas),
        np.full(n_replicas, 20.0),
        probability=(0.4, 0.3, 0.2, 0.1),
        cells=2,
        seed=seed,
    )


def test_jumps_and_steps_have_the_lengths_of_their_mechanism():
    walk = mixed()
    np.testing.assert_array_equal(walk.step.sum(axis=1), walk.jump)
    square = (walk.jump**2).sum(axis=1)
    np.testing.assert_array_equal(square, SQUARED_JUMP[walk.mechanism])
    steps = (walk.step**2).sum(axis=(1, 2))
    np.testing.assert_array_equal(steps, SQUARED_STEPS[walk.mechanism])
    direct = walk.mechanism == MECHANISMS.index("direct")
    np.testing.assert_array_equal(walk.cation[:, 1] < 0, direct)


def test_replay_from_the_record_is_a_walk_on_the_lattice():
    """Each cation is on 4a or 8c, one on 8c, no two on a site: after every hop."""
    walk, cells = mixed(n_replicas=6), 2
    point = np.argwhere(np.ones((8, 8, 8)))
    site = point[np.all(point % 2 == 0, axis=1) & (point.sum(axis=1) // 2 % 2 == 0)]
    for replica in range(walk.n_replicas):
        position = np.concatenate([site, [[1, 1, 1]]])
        for event in np.nonzero(walk.replica == replica)[0]:
            for cation, step in zip(walk.cation[event], walk.step[event], strict=True):
                if cation >= 0:
                    position[cation] += step
            odd = np.all(position % 2 == 1, axis=1)
            assert odd.sum() == 1
            on_4a = position[~odd]
            assert np.all(on_4a % 2 == 0)
            assert np.all(on_4a.sum(axis=1) // 2 % 2 == 0)
            assert len(np.unique(position % (4 * cells), axis=0)) == walk.n_cations


def test_events_are_sorted_and_their_number_is_poisson():
    rate, n = 3.0, 4000
    walk = simulate(
        np.full(n, rate), np.full(n, 4.0), probability=only("direct"), cells=2, seed=1
    )
    assert np.all(np.diff(walk.replica) >= 0)
    assert np.all(np.diff(walk.time)[np.diff(walk.replica) == 0] >= 0)
    count = np.bincount(walk.replica, minlength=n)
    # s.d. of the mean √(12/4000) = 0.055; of the variance 12·√(2/4000) = 0.27
    assert count.mean() == pytest.approx(12, abs=4 * 0.055)
    assert count.var() == pytest.approx(12, abs=4 * 0.27)
    # evenly spread over the time: s.d. 4/√12/√48000 = 0.0053
    assert walk.time.mean() == pytest.approx(2.0, abs=4 * 0.0053)


@pytest.mark.parametrize("name", MECHANISMS)
def test_displacements_have_the_known_haven_ratio(name):
    """End-to-end displacements of 3000 walks of 60 hops: no estimator in between."""
    n = 3000
    walk = simulate(np.ones(n), np.full(n, 60.0), probability=only(name), cells=3, seed=2)
    defect = np.zeros((n, 3))
    np.add.at(defect, walk.replica, walk.jump)
    square = SQUARED_JUMP[MECHANISMS.index(name)] * len(walk.time) / n
    # mean square of 3000 Gaussian vectors: 1.5 %
    assert (defect**2).sum(axis=1).mean() == pytest.approx(square, rel=0.06)
    cation = np.zeros((n, walk.n_cations + 1, 3))
    np.add.at(cation, (walk.replica[:, None], walk.cation), walk.step)
    tracer = (cation**2).sum(axis=(1, 2)).mean()
    # early hops are not undone yet, up to 2 %, and the cell is small, 1 to 2 %; those of
    # direct hops are one walker's, 1.5 %
    assert tracer / square == pytest.approx(
        HAVEN_RATIO[MECHANISMS.index(name)], rel=0.06 if name == "direct" else 0.045
    )


def test_same_seed_same_walk_and_selection_renumbers():
    walk, again = mixed(), mixed()
    np.testing.assert_array_equal(walk.step, again.step)
    assert not np.array_equal(walk.time, mixed(seed=1).time)
    part = walk.select(10, 20)
    assert part.n_replicas == 10
    inside = (walk.replica >= 10) & (walk.replica < 20)
    np.testing.assert_array_equal(part.replica, walk.replica[inside] - 10)
    np.testing.assert_array_equal(part.time, walk.time[inside])


def test_replicas_without_hops_are_kept():
    walk = simulate(
        np.zeros(3), np.full(3, 5.0), probability=only("direct"), cells=2, seed=0
    )
    assert walk.n_replicas == 3
    assert walk.jump.shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rate": np.array([-1.0])}, "must not be negative"),
        ({"probability": (0.5, 0.2, 0.2, 0.2)}, "sum 1"),
        ({"cells": 1}, "at least 2"),
    ],
)
def test_impossible_walks_are_refused(changes, match):
    given = {
        "rate": np.ones(1),
        "duration": np.ones(1),
        "probability": (1.0, 0.0, 0.0, 0.0),
        "cells": 2,
        "seed": 0,
    } | changes
    with pytest.raises(ValueError, match=match):
        simulate(**given)
