"""The same run in other packages; skipped where they are not installed."""

import dataclasses

import numpy as np
import pytest
from quarters import sites

from jaxdiff.analysis.exports import site_path, to_kinisi, to_mdanalysis, to_pandas
from jaxdiff.analysis.history import Changes, read_history
from jaxdiff.analysis.series import Series
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell

LATTICE, FRAME_PS, N_FRAMES = 4.0, 0.02, 9
SUPERCELL, CLASSES = Supercell.of(ROCK_SALT, 2), ROCK_SALT.classes


@pytest.fixture
def series():
    """Two replicas of a 2x2x2 cell; in the first the interstitial hops along x, then y."""
    grid = np.stack(np.meshgrid(*[np.arange(0, 8, 2)] * 3, indexing="ij"), -1).reshape(
        -1, 3
    )
    cations = np.concatenate([grid[grid.sum(1) % 4 == 0], [[1, 1, 1]]])
    changes = Changes(
        replica=np.array([0, 0]),
        frame=np.array([2, 5]),
        cation=np.array([32, 32]),
        site=sites([[3, 1, 1], [3, 3, 1]]),
    )
    n_frames = np.array([N_FRAMES, N_FRAMES])
    events, defects, frames = read_history(
        SUPERCELL, sites([cations] * 2), changes, n_frames
    )
    rng = np.random.default_rng(0)
    return Series(
        temperature=np.array([500.0, 600.0]),
        frame_ps=FRAME_PS,
        lattice_constant=np.full(2, LATTICE),
        cell=np.tile(2 * LATTICE * np.eye(3), (2, 1, 1)),
        supercell=SUPERCELL,
        n_mobile=33,
        n_anion=32,
        dwell_frames=1,
        core_radius=0.77,
        events=events,
        defects=defects,
        frames=frames,
        lost_frame=np.array([-1, -1]),
        diverged_ps=np.full(2, np.nan),
        time_ps=np.zeros(0),
        kinetic_temperature=np.zeros((2, 0)),
        potential_energy=np.zeros((2, 0)),
        conserved_energy=np.zeros((2, 0)),
        position_time_ps=np.arange(4) * 0.1,
        position=rng.normal(size=(2, 4, 65, 3)),
        is_mobile=np.arange(65) < 33,
        run_file="",
        provenance="{}",
        status="complete",
    )


def test_data_frames_have_a_row_for_each_event_and_replica(series):
    pytest.importorskip("pandas")
    replicas, events = to_pandas(series)
    assert replicas["hops"].tolist() == [2, 0]
    np.testing.assert_allclose(replicas["exposure_ps"], N_FRAMES * FRAME_PS)
    assert events["event"].tolist() == [CLASSES[3]] * 2
    np.testing.assert_allclose(events["time_ps"], [0.06, 0.12])
    step = events["to_x_angstrom"] - events["from_x_angstrom"]
    np.testing.assert_allclose(step, [LATTICE / 2, 0], atol=1e-12)


def test_the_site_path_steps_when_a_hop_settles(series):
    path = site_path(series, 0)
    assert path.shape == (N_FRAMES, 33, 3)
    expected = np.zeros((N_FRAMES, 3))
    expected[2:, 0] = expected[5:, 1] = LATTICE / 2
    np.testing.assert_allclose(path[:, 32], expected, atol=1e-12)
    assert not path[:, :32].any()
    assert not site_path(series, 1).any()


def test_a_universe_holds_the_frames_kept(series):
    pytest.importorskip("MDAnalysis")
    universe = to_mdanalysis(series, 1)
    assert len(universe.trajectory) == 4
    assert universe.trajectory.dt == pytest.approx(0.1)
    assert len(universe.select_atoms("name M")) == 33
    np.testing.assert_allclose(universe.dimensions, [8, 8, 8, 90, 90, 90], rtol=1e-6)
    frames = np.array([universe.atoms.positions.copy() for _ in universe.trajectory])
    np.testing.assert_allclose(frames, series.position[1], rtol=1e-6)
    empty = dataclasses.replace(
        series, position=series.position[:, :0], position_time_ps=np.zeros(0)
    )
    with pytest.raises(ValueError, match="a shorter output.positions_every_ps"):
        to_mdanalysis(empty, 0)
    with pytest.raises(ValueError, match="has 2, numbered from 0"):
        to_mdanalysis(series, 2)


def test_kinisi_sees_the_displacements_of_the_sites(series):
    pytest.importorskip("kinisi")
    parser = to_kinisi(series, 0)
    # [steps of time, cations, 3] from the first frame on
    seen = parser.displacements.values
    np.testing.assert_allclose(seen, site_path(series, 0)[1:], atol=1e-9)


def test_a_universe_ends_where_the_replica_stopped(series):
    """Frames at 0, 0.1, 0.2 and 0.3 ps: the first two are before 0.2 ps."""
    pytest.importorskip("MDAnalysis")
    stopped = dataclasses.replace(series, diverged_ps=np.array([np.nan, 0.2]))
    np.testing.assert_array_equal(stopped.n_kept, [4, 2])
    assert len(to_mdanalysis(stopped, 0).trajectory) == 4
    assert len(to_mdanalysis(stopped, 1).trajectory) == 2
