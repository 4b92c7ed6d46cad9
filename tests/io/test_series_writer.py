import json

import h5py
import numpy as np
import pytest

from jaxdiff.io.series import SeriesWriter


@pytest.fixture
def writer(tmp_path):
    with SeriesWriter(
        tmp_path / "series.h5",
        temperature=np.array([500.0, 600.0]),
        seed_index=np.array([0, 0]),
        is_mobile=np.array([True, True, False]),
        attributes={"timestep_fs": 2.0, "supercell": [3, 3, 3]},
        provenance={"seed": 1},
    ) as writer:
        yield writer


def frames(n, start):
    return np.arange(start, start + 2 * n, dtype=float).reshape(n, 2)


def changes(*per_replica):
    """So many changes of site of each replica."""
    n = sum(per_replica)
    return {
        "replica": np.repeat(np.arange(len(per_replica)), per_replica),
        "frame": np.arange(n),
        "cation": np.zeros(n, int),
        "site": np.arange(1, n + 1)[:, None] * np.ones(3, int),
    }


def counts(frames):
    return {
        "frames": np.full(2, frames),
        "anion_displaced_frames": np.zeros(2, int),
        "lost_frame": np.full(2, -1),
    }


def append(writer, n, start):
    writer.append(
        "thermo",
        np.arange(n) + start / 2,
        temperature_kelvin=frames(n, start),
        potential_energy_ev=-frames(n, start),
        conserved_energy_ev=frames(n, start) / 7,
    )


def test_chunks_join_to_series(writer, tmp_path):
    append(writer, 3, 0)
    append(writer, 0, 6)
    append(writer, 2, 6)
    writer.start_sites(np.ones((2, 2, 3), int))
    writer.append_sites(changes(1, 1), counts(3))
    writer.append_sites(changes(2, 0), counts(5))
    writer.finish("complete", wall_s=1.5)
    writer.close()
    with h5py.File(tmp_path / "series.h5") as file:
        assert file.attrs["format"] == "jaxdiff-series"
        assert file.attrs["format_version"] == 2
        assert file.attrs["status"] == "complete"
        assert json.loads(file.attrs["provenance"]) == {"seed": 1, "wall_s": 1.5}
        np.testing.assert_array_equal(file["thermo/time_ps"], np.arange(5))
        np.testing.assert_array_equal(file["thermo/temperature_kelvin"], frames(5, 0).T)
        np.testing.assert_array_equal(file["thermo/potential_energy_ev"], -frames(5, 0).T)
        np.testing.assert_array_equal(file["sites/frames"], [5, 5])
        np.testing.assert_array_equal(file["sites/lost_frame"], [-1, -1])
        np.testing.assert_array_equal(file["sites/change_replica"], [0, 1, 0, 0])
        np.testing.assert_array_equal(file["sites/change_site"][1:3], [[2] * 3, [1] * 3])
        np.testing.assert_array_equal(file["temperature_kelvin"], [500, 600])
        assert file["equilibration/time_ps"].shape == (0,)
        units = {
            name: file[name].attrs["unit"]
            for name in ("thermo/time_ps", "thermo/temperature_kelvin", "sites/frames")
        }
        assert units == {
            "thermo/time_ps": "ps",
            "thermo/temperature_kelvin": "K",
            "sites/frames": "frame",
        }


def test_what_was_appended_survives_without_closing(writer, tmp_path):
    """As after a kill: the bytes on disk, read while the writer is still open."""
    append(writer, 4, 0)
    copy = tmp_path / "copy.h5"
    copy.write_bytes((tmp_path / "series.h5").read_bytes())
    with h5py.File(copy) as file:
        assert file.attrs["status"] == "running"
        assert file["thermo/temperature_kelvin"].shape == (2, 4)


def test_nothing_is_overwritten(writer, tmp_path):
    with pytest.raises(ValueError, match="exists already"):
        SeriesWriter(
            tmp_path / "series.h5",
            temperature=np.ones(1),
            seed_index=np.zeros(1),
            is_mobile=np.ones(1, bool),
            attributes={},
            provenance={},
        )


def test_whole_frames_are_kept_apart_from_the_series(writer, tmp_path):
    position = np.arange(2 * 2 * 3 * 3.0).reshape(2, 2, 3, 3)
    writer.append_positions(np.array([1.0, 2.0]), position)
    writer.append_positions(np.array([3.0]), position[:, :1])
    crossing = changes(1, 1) | {"position": position[0]}
    writer.append_crossings(crossing)
    writer.close()
    with h5py.File(tmp_path / "series.h5") as file:
        np.testing.assert_array_equal(file["positions/time_ps"], [1, 2, 3])
        np.testing.assert_array_equal(file["positions/position"][:, 2], position[:, 0])
        np.testing.assert_array_equal(file["positions/is_mobile"], [True, True, False])
        np.testing.assert_array_equal(file["crossings/position"], position[0])
        np.testing.assert_array_equal(file["crossings/replica"], [0, 1])
