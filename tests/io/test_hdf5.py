"""HDF5 files that would keep the library busy for ever are refused before it sees them."""

import struct

import h5py
import numpy as np
import pytest

from jaxdiff.io import hdf5


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3)
        file["x"].attrs["unit"] = "Angstrom"  # a text of any length: in a heap
    return tmp_path / "a.h5"


def test_a_sound_file_is_opened(path):
    with hdf5.opened(path) as file:
        assert file["x"].attrs["unit"] == "Angstrom"


@pytest.mark.parametrize(
    ("offset", "entry"),
    [
        (16, struct.pack("<HHIQ", 0, 0, 0, 0)),  # free space that is never passed
        (16, struct.pack("<HHIQ", 1, 0, 0, 2**63)),
        (8, struct.pack("<Q", 2**62)),
    ],
)
def test_a_heap_without_end_is_refused(path, offset, entry):
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL") + offset
    content[start : start + len(entry)] = entry
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its texts are damaged"), hdf5.opened(path):
        pass


def test_data_that_are_not_there_take_no_memory(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", (2**40,), "f4", chunks=True)
    with (
        hdf5.opened(tmp_path / "b.h5") as file,
        pytest.raises(ValueError, match="says that it holds 4.4e.12 bytes of numbers"),
    ):
        hdf5.require_modest(file)
