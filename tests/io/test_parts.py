"""A part that is missing, swapped or foreign stops a run before anything is joined."""

import shutil

import h5py
import numpy as np
import pytest
from test_series_writer import fill, open_writer

from jaxdiff.analysis import load_series
from jaxdiff.io import digest
from jaxdiff.io.series import PartError, join_unfinished, part_file


def written(folder, seed=0):
    """A run of four parts that has not finished, and their digests."""
    series = open_writer(folder)
    series.start_sites(np.ones((2, 2, 4), int))
    for k in range(4):
        fill(series, seed + k, seed + k + 1)
        series.flush()
    return series.digests


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run", written(tmp_path / "run")


def names(folder):
    return sorted(p.name for p in folder.rglob("*"))


def refused(folder, digests, match):
    before = names(folder)
    with pytest.raises(PartError, match=match) as caught:
        open_writer(folder, n_parts=4, digests=digests)
    assert "nothing removed: put the file back" in str(caught.value)
    assert names(folder) == before


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("known", [True, False])
def test_missing(run, number, known):
    folder, digests = run
    part_file(folder, number).unlink()
    refused(folder, digests if known else (), f"00000{number}.h5 of this run is missing")
    if number < 3:  # a report of what there is needs a series without a hole
        with pytest.raises(PartError, match="is missing"):
            join_unfinished(folder, folder / "joined.h5")


def test_swapped(run):
    folder, digests = run
    one, other = part_file(folder, 1), part_file(folder, 2)
    one.rename(folder / "aside")
    other.rename(one)
    (folder / "aside").rename(other)
    refused(folder, digests, "000001.h5 is not what this run wrote")
    with pytest.raises(PartError, match="000001.h5 is part 2, not 1"):
        join_unfinished(folder, folder / "joined.h5")


def test_of_another_run(run, tmp_path):
    folder, digests = run
    written(tmp_path / "other", seed=5)
    shutil.copy(part_file(tmp_path / "other", 2), part_file(folder, 2))
    refused(folder, digests, "000002.h5 is not what this run wrote")


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_one_bit(run, place):
    folder, digests = run
    content = bytearray(part_file(folder, 3).read_bytes())
    content[int(place * len(content))] ^= 1
    part_file(folder, 3).write_bytes(content)
    refused(folder, digests, "000003.h5 is not what this run wrote")
    with pytest.raises(PartError, match="000003.h5 is damaged"):
        join_unfinished(folder, folder / "joined.h5")


def test_one_that_vanishes_before_the_end(run):
    folder, digests = run
    series = open_writer(folder, n_parts=4, digests=digests)
    part_file(folder, 0).unlink()
    with pytest.raises(PartError, match="000000.h5 of this run is missing"):
        series.finish("complete")
    assert not (folder / "series.h5").exists()
    assert len(names(folder / "parts")) == 3


def test_whole_ones_are_joined_and_the_series_is_sealed(run):
    folder, digests = run
    open_writer(folder, n_parts=4, digests=digests).finish("complete")
    assert digest.verify(folder / "series.h5")
    content = bytearray((folder / "series.h5").read_bytes())
    content[len(content) // 3] ^= 4
    (folder / "series.h5").write_bytes(content)
    with pytest.raises(ValueError, match="series.h5 is not what was written"):
        load_series(folder / "series.h5")
    with pytest.raises(ValueError, match="series.h5 is not what was written"):
        open_writer(folder, n_parts=4, digests=digests)


def test_the_series_of_another_run_is_not_gone_on_from(run):
    folder, digests = run
    open_writer(folder, n_parts=4, digests=digests).finish("complete")
    with h5py.File(folder / "series.h5", "r+") as file:
        file["temperature_kelvin"][0] = 900.0
    refused(folder, digests, "series.h5 is of another run")


def test_parts_that_are_joined_already_go(run):
    """A process that ended between joining and removing leaves them."""
    folder, digests = run
    kept = part_file(folder, 1).read_bytes()
    open_writer(folder, n_parts=4, digests=digests).finish("complete")
    part_file(folder, 1).write_bytes(kept)
    open_writer(folder, n_parts=4, digests=digests)
    assert names(folder / "parts") == []
