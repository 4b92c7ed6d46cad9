"""Frames at crossings and others of a run, by temperature."""

import h5py
import numpy as np
import pytest

from jaxdiff.analysis.crossings import load_ensembles


@pytest.fixture
def folder(write_series):
    """Two temperatures, two replicas each; a crossing of replicas 0, 1, 1 and 3."""
    folder = write_series(
        temperatures=(400.0, 500.0),
        replicas=2,
        duration_ps=10.0,
        positions=4,
        with_thermo=False,
        diverged={1: 6.0},
        run_file="seed = 1\n",
    )
    with h5py.File(folder / "series.h5", "r+") as file:
        n_atoms = len(file["positions/is_mobile"])
        new = {
            "replica": np.array([0, 1, 1, 3]),
            "position": np.arange(4.0)[:, None, None] * np.ones((n_atoms, 3)),
        }
        for name, value in new.items():
            del file[f"crossings/{name}"]
            file[f"crossings/{name}"] = value
    return folder


def test_each_temperature_has_its_own_frames(folder):
    cold, hot = load_ensembles(folder)
    assert (cold.temperature, hot.temperature) == (400.0, 500.0)
    assert cold.transition[:, 0, 0].tolist() == [0.0, 1.0, 2.0]
    assert hot.transition[:, 0, 0].tolist() == [3.0]
    # replica 1 stopped after its second frame, and the last is repeated from there on
    assert len(cold.reactant) == 4 + 2
    assert len(hot.reactant) == 4 + 4
    assert len(np.unique(cold.reactant[:, 0, 0])) == len(cold.reactant)


def test_a_run_without_crossings_says_which_keys(write_series):
    folder = write_series(temperatures=(400.0,), replicas=1, duration_ps=5.0)
    with pytest.raises(ValueError, match=r"0 frames at crossings .*crossings_per_chunk"):
        load_ensembles(folder)
