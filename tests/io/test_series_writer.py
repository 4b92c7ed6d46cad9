import errno
import itertools
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from datasets import assert_same_series

from jaxdiff.analysis import load_series
from jaxdiff.io.series import SeriesWriter, join_unfinished, joined_parts


def open_writer(folder, n_parts=0, digests=()):
    return SeriesWriter(
        folder,
        temperature=np.array([500.0, 600.0]),
        seed_index=np.array([0, 0]),
        lattice_constant=np.array([4.0, 4.1]),
        cell=np.stack([12 * np.eye(3), 12.3 * np.eye(3)]),
        is_mobile=np.array([True, True, False]),
        attributes={"timestep_fs": 2.0, "supercell": [3, 3, 3]},
        provenance={"seed": 1},
        n_parts=n_parts,
        digests=digests,
    )


@pytest.fixture
def writer(tmp_path):
    return open_writer(tmp_path)


def frames(n, start):
    return np.arange(start, start + 2 * n, dtype=float).reshape(n, 2)


def changes(*per_replica):
    """So many changes of site of each replica."""
    n = sum(per_replica)
    return {
        "replica": np.repeat(np.arange(len(per_replica)), per_replica),
        "frame": np.arange(n),
        "cation": np.zeros(n, int),
        "site": np.arange(1, n + 1)[:, None] * np.ones(4, int),
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
        pressure_gpa=frames(n, start) / 3,
        volume_angstrom3=frames(n, start) * 2,
    )


@pytest.mark.parametrize("flush", [False, True])
def test_chunks_join_to_series(writer, tmp_path, flush):
    append(writer, 3, 0)
    append(writer, 0, 6)
    writer.start_sites(np.ones((2, 2, 4), int))
    writer.append_sites(changes(1, 1), counts(3))
    if flush:
        assert writer.flush() == 1
    append(writer, 2, 6)
    writer.append_sites(changes(2, 0), counts(5))
    writer.finish("complete", wall_s=1.5)
    assert not list((tmp_path / "parts").iterdir())
    with h5py.File(tmp_path / "series.h5") as file:
        assert file.attrs["format"] == "jaxdiff-series"
        assert file.attrs["format_version"] == 3
        assert file.attrs["status"] == "complete"
        assert file.attrs["n_parts"] == 1 + flush
        assert json.loads(file.attrs["provenance"]) == {"seed": 1, "wall_s": 1.5}
        np.testing.assert_array_equal(file["thermo/time_ps"], np.arange(5))
        np.testing.assert_array_equal(file["thermo/temperature_kelvin"], frames(5, 0).T)
        np.testing.assert_array_equal(file["thermo/potential_energy_ev"], -frames(5, 0).T)
        np.testing.assert_array_equal(file["sites/frames"], [5, 5])
        np.testing.assert_array_equal(file["sites/lost_frame"], [-1, -1])
        # replica after replica, each in order of time
        np.testing.assert_array_equal(file["sites/change_replica"], [0, 0, 0, 1])
        np.testing.assert_array_equal(
            file["sites/change_site"], np.array([1, 1, 2, 2])[:, None] * np.ones(4)
        )
        np.testing.assert_array_equal(file["sites/change_frame"], [0, 0, 1, 1])
        np.testing.assert_array_equal(file["temperature_kelvin"], [500, 600])
        np.testing.assert_array_equal(file["lattice_constant_angstrom"], [4.0, 4.1])
        assert np.isnan(file["diverged_ps"]).all()
        assert file["equilibration/time_ps"].shape == (0,)
        units = {
            name: file[name].attrs["unit"]
            for name in ("thermo/time_ps", "thermo/pressure_gpa", "sites/frames")
        }
        assert units == {
            "thermo/time_ps": "ps",
            "thermo/pressure_gpa": "GPa",
            "sites/frames": "frame",
        }


def fill(writer, first, last):
    """What a run measures in chunks `first` to `last`."""
    position = np.arange(2 * 3 * 3.0).reshape(2, 1, 3, 3)
    for k in range(first, last):
        append(writer, 2, 4 * k)
        writer.append_sites(changes(k % 3, 1), counts(2 * k + 2))
        writer.append_positions(np.array([k]), position + k)
        writer.append_crossings(changes(1, k % 2) | {"position": position[: 1 + k % 2, 0]})


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 5], range(1, 8)])
def test_where_it_is_cut_into_parts_leaves_no_trace(tmp_path, cuts):
    whole = open_writer(tmp_path / "whole")
    whole.start_sites(np.ones((2, 2, 4), int))
    fill(whole, 0, 8)
    whole.finish("complete")
    parts = open_writer(tmp_path / "parts")
    parts.start_sites(np.ones((2, 2, 4), int))
    for first, last in itertools.pairwise([0, *cuts, 8]):
        fill(parts, first, last)
        parts.flush()
    parts.finish("complete")
    assert_same_series(tmp_path / "whole/series.h5", tmp_path / "parts/series.h5")


def test_what_comes_after_the_checkpoint_is_discarded(tmp_path):
    """And a run goes on after its series was complete."""
    whole = open_writer(tmp_path / "whole")
    whole.start_sites(np.ones((2, 2, 4), int))
    fill(whole, 0, 8)
    whole.finish("complete")
    cut = open_writer(tmp_path / "cut")
    cut.start_sites(np.ones((2, 2, 4), int))
    fill(cut, 0, 2)
    assert cut.flush() == 1
    fill(cut, 2, 5)
    cut.flush()  # the checkpoint that counts this part was never written
    again = open_writer(tmp_path / "cut", n_parts=1)
    assert joined_parts(tmp_path / "cut") == 0
    fill(again, 2, 5)
    again.finish("complete")
    assert joined_parts(tmp_path / "cut") == 2
    more = open_writer(tmp_path / "cut", n_parts=2)
    fill(more, 5, 8)
    more.flush()
    with pytest.raises(ValueError, match="status='running'"):
        load_series(unfinished(tmp_path / "cut"))
    more.finish("complete")
    assert_same_series(tmp_path / "whole/series.h5", tmp_path / "cut/series.h5")


def unfinished(folder):
    """The joined file of a run that is going on, elsewhere."""
    assert join_unfinished(folder, folder.parent / "so_far.h5")
    return folder.parent / "so_far.h5"


def test_a_full_disk_loses_nothing_and_says_so(writer, tmp_path, monkeypatch):
    append(writer, 4, 0)
    writer.flush()

    def full(self, *arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    append(writer, 4, 8)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match=r"000001.h5 cannot be written \(No space left"):
            writer.flush()
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["000000.h5"]
    writer.flush()  # what had gathered is still there
    writer.finish("complete")
    with h5py.File(tmp_path / "series.h5") as file:
        assert file["thermo/time_ps"].shape == (8,)


def test_whole_frames_are_kept_apart_from_the_series(writer, tmp_path):
    position = np.arange(2 * 2 * 3 * 3.0).reshape(2, 2, 3, 3)
    writer.append_positions(np.array([1.0, 2.0]), position)
    writer.append_positions(np.array([3.0]), position[:, :1])
    crossing = changes(1, 1) | {"position": position[0]}
    writer.append_crossings(crossing)
    writer.finish("complete")
    with h5py.File(tmp_path / "series.h5") as file:
        np.testing.assert_array_equal(file["positions/time_ps"], [1, 2, 3])
        np.testing.assert_array_equal(file["positions/position"][:, 2], position[:, 0])
        np.testing.assert_array_equal(file["positions/is_mobile"], [True, True, False])
        np.testing.assert_array_equal(file["crossings/position"], position[0])
        np.testing.assert_array_equal(file["crossings/replica"], [0, 1])
