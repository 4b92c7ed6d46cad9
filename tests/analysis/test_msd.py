import numpy as np
import pytest
from kinetic_walk import simulate

from jaxdiff.analysis import msd as module
from jaxdiff.analysis.msd import (
    at_lags,
    cation_walkers,
    collective,
    local_exponent,
    mean_squared_displacement,
    site_paths,
    tracer,
)


def random_walk(n_frames=61, n_walkers=5, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(n_frames, n_walkers, 3)), axis=0)


def double_loop(position):
    n_frames = len(position)
    result = np.zeros(position.shape[:2])
    for lag in range(1, n_frames):
        for start in range(n_frames - lag):
            step = position[start + lag] - position[start]
            result[lag] += (step**2).sum(axis=1) / (n_frames - lag)
    return result


@pytest.mark.parametrize("n_frames", [2, 3, 61, 64])
def test_transform_is_the_double_loop(n_frames):
    position = random_walk(n_frames)
    expected = double_loop(position)
    np.testing.assert_allclose(
        mean_squared_displacement(position), expected, rtol=1e-10, atol=1e-10
    )
    lag = np.arange(1, n_frames)
    np.testing.assert_allclose(at_lags(position, lag), expected[1:], rtol=1e-12)


def test_far_from_the_origin_nothing_is_lost():
    """Squares of 1e5 Å are 1e10, and 1e-16 of that is 1e-6; the mean is taken off first."""
    position = random_walk()
    far = mean_squared_displacement(position + 1e5)
    np.testing.assert_allclose(far, mean_squared_displacement(position), atol=1e-8)


def test_batches_do_not_matter(monkeypatch):
    position = random_walk()
    whole = mean_squared_displacement(position)
    monkeypatch.setattr(module, "_BATCH_BYTES", 1)
    np.testing.assert_allclose(mean_squared_displacement(position), whole, rtol=1e-13)


def test_tracer_counts_cations_at_rest():
    position = random_walk()
    rest = np.ones((61, 15, 3))
    expected = double_loop(position).sum(axis=1) / 20
    both = np.concatenate([rest, position], axis=1)
    np.testing.assert_allclose(tracer(both), expected, atol=1e-10)
    np.testing.assert_allclose(tracer(position, n_cations=20), expected, atol=1e-10)
    np.testing.assert_array_equal(tracer(rest), np.zeros(61))


def test_collective_is_the_displacement_of_the_sum():
    position = random_walk()
    expected = double_loop(position.sum(axis=1, keepdims=True))[:, 0]
    np.testing.assert_allclose(collective(position), expected, atol=1e-9)


def test_straight_motion_is_ballistic_and_a_cage_is_not():
    time = np.linspace(0, 1, 50)
    velocity = np.array([1.0, -2.0, 0.5])
    position = (time[:, None] * velocity)[:, None]
    squared = mean_squared_displacement(position)[:, 0]
    np.testing.assert_allclose(squared, 5.25 * time**2, atol=1e-12)
    alpha = local_exponent(time, squared)
    assert np.isnan(alpha[0])
    np.testing.assert_allclose(alpha[1:], 2, atol=1e-6)
    np.testing.assert_allclose(local_exponent(time[1:], np.full(49, 3.0)), 0, atol=1e-12)
    assert np.isnan(local_exponent(time, np.zeros(50))).all()


def test_paths_jump_at_the_first_frame_not_before_the_event():
    path = site_paths(
        np.array([0.25, 1.0, 1.01, 9.0]),
        np.array([1, 0, 0, 0]),
        np.array([[1, 0, 0], [0, 2, 0], [0, 0, 3], [7, 7, 7]]),
        n_walkers=2,
        n_frames=5,
        frame_ps=0.5,
    )
    np.testing.assert_array_equal(path[:, 1, 0], [0, 1, 1, 1, 1])
    np.testing.assert_array_equal(path[:, 0, 1], [0, 0, 2, 2, 2])
    np.testing.assert_array_equal(path[:, 0, 2], [0, 0, 0, 3, 3])
    assert path.max() == 3  # what is after the last frame is left out


def test_cations_of_different_replicas_are_different_walkers():
    number, owner = cation_walkers(
        np.array([0, 0, 1]), np.array([[4, 2], [2, -1], [2, 3]]), 10
    )
    np.testing.assert_array_equal(number, [[1, 0], [0, -1], [2, 3]])
    np.testing.assert_array_equal(owner, [0, 0, 1, 1])


def test_collective_path_of_the_cations_is_the_path_of_the_defect():
    walk = simulate(
        np.ones(1), np.full(1, 40.0), probability=(0.4, 0.3, 0.3, 0.0), cells=2, seed=3
    )
    grid = {"n_frames": 200, "frame_ps": 0.2}
    number, owner = cation_walkers(walk.replica, walk.cation, walk.n_cations)
    cations = site_paths(
        np.repeat(walk.time, 2),
        number.ravel(),
        walk.step.reshape(-1, 3),
        n_walkers=len(owner),
        **grid,
    )
    defect = site_paths(walk.time, walk.replica, walk.jump, n_walkers=1, **grid)
    np.testing.assert_allclose(
        collective(cations), mean_squared_displacement(defect)[:, 0], atol=1e-9
    )


def test_agrees_with_tidynamics():
    tidynamics = pytest.importorskip("tidynamics")
    position = random_walk(500, 3)
    ours = mean_squared_displacement(position)
    for walker in range(3):
        theirs = tidynamics.msd(position[:, walker])
        np.testing.assert_allclose(ours[1:, walker], theirs[1:], rtol=1e-6)


def test_agrees_with_mdanalysis():
    mda = pytest.importorskip("MDAnalysis")
    from MDAnalysis.analysis.msd import EinsteinMSD

    position = random_walk(200, 4).astype(np.float32)  # what it stores
    universe = mda.Universe.empty(4, trajectory=True)
    universe.load_new(position, order="fac")
    theirs = EinsteinMSD(universe, select="all", msd_type="xyz", fft=False).run()
    ours = mean_squared_displacement(position)
    np.testing.assert_allclose(
        ours[1:].mean(axis=1), theirs.results.timeseries[1:], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: mean_squared_displacement(np.zeros((1, 2, 3))), "at least 2 frames"),
        (lambda: at_lags(np.zeros((5, 1, 3)), np.array([0, 2])), "at least 1 and below"),
        (lambda: at_lags(np.zeros((5, 1, 3)), np.array([5])), "at least 1 and below"),
        (lambda: tracer(np.zeros((5, 4, 3)), n_cations=3), "less than the 4 cations"),
    ],
)
def test_what_makes_no_sense_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
