"""Frames that a run kept, with where they come from."""

import ase
import ase.io
import h5py
import numpy as np
import pytest

from jaxdiff.io import runfile
from jaxdiff.runs import loop_sample
from jaxdiff.runs.loop_sample import read_kept

CELL = 4.0 * np.eye(3)


@pytest.fixture
def folder(tmp_path):
    """A series of two replicas, three times; the second stopped before the third."""
    rng = np.random.default_rng(0)
    position = rng.normal(size=(2, 3, 2, 3)).astype("f4")
    crossing = rng.normal(size=(3, 2, 3)).astype("f4")
    with h5py.File(tmp_path / "series.h5", "w") as file:
        file.attrs.update({"format": "jaxdiff-series", "format_version": 3})
        file.attrs["status"] = "diverged"
        file["temperature_kelvin"] = [500.0, 900.0]
        file["cell_angstrom"] = [CELL, 1.1 * CELL]
        file["diverged_ps"] = [np.nan, 0.25]
        file["positions/time_ps"] = [0.1, 0.2, 0.3]
        file["positions/position"] = position
        file["crossings/replica"] = [0, 0, 1]
        file["crossings/position"] = crossing
    final = ase.Atoms("LiF", np.zeros((2, 3)) + [[0], [1]], cell=CELL, pbc=True)
    ase.io.write(tmp_path / "final.extxyz", [final, final])
    return tmp_path, position, crossing


def test_frames_know_where_they_come_from(folder):
    path, position, crossing = folder
    frames = read_kept(path, "hot")
    assert [atoms.info["sample_source"] for atoms in frames] == [
        "500 K, replica 0, 0.1 ps",
        "500 K, replica 0, 0.2 ps",
        "500 K, replica 0, 0.3 ps",
        "500 K, replica 0, at a crossing",
        "500 K, replica 0, at a crossing",
        "900 K, replica 1, 0.1 ps",
        "900 K, replica 1, 0.2 ps",
        "900 K, replica 1, at a crossing",
    ]
    expected = [*position[0], *crossing[:2], *position[1, :2], crossing[2]]
    for atoms, where in zip(frames, expected, strict=True):
        np.testing.assert_allclose(atoms.positions, where)
        assert atoms.get_chemical_formula() == "FLi"
        assert atoms.info["config_type"] == "hot"
        assert all(atoms.pbc)
    np.testing.assert_allclose(frames[0].cell.array, CELL)
    np.testing.assert_allclose(frames[-1].cell.array, 1.1 * CELL)


def test_a_run_that_kept_nothing(folder, monkeypatch):
    path, *_ = folder
    with h5py.File(path / "series.h5", "a") as file:
        file["diverged_ps"][:] = 0.05
        del file["crossings"]
    monkeypatch.setattr(loop_sample, "simulate", lambda *_: ("it was too hot",))
    table = {
        "model": {"name_or_path": "lif-compact"},
        "system": {"supercell": 2, "lattice_constant_angstrom": 4.0},
        "ensemble": {
            "temperatures_kelvin": [500],
            "replicas_per_temperature": 1,
            "timestep_fs": 1,
            "seed": 1,
        },
        "equilibration": {"duration_ps": 0.1},
        "production": {"duration_ps": 0.1},
        "output": {"directory": str(path)},
    }
    with pytest.raises(ValueError, match=r"no position was kept in .* \(it was too hot\)"):
        loop_sample.sample(runfile.parse(table), "hot", lambda *_: None, print)
