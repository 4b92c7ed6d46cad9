"""A file's own digest: every bit of it counts, whatever the format around it."""

import gzip
import io
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxdiff import checkpoints
from jaxdiff.analysis.traces import open_series
from jaxdiff.io import digest

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def sealed_hdf5():
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["x"] = np.arange(3)
    return digest.sealed(memory.getvalue())


def test_every_single_bit_is_found(sealed_hdf5):
    assert digest.verify_bytes(sealed_hdf5, "it")
    for place in range(len(sealed_hdf5)):
        for bit in range(8) if place % 7 == 0 or place > len(sealed_hdf5) - 120 else (3,):
            content = bytearray(sealed_hdf5)
            content[place] ^= 1 << bit
            with pytest.raises(digest.DigestError, match="it is not what was written"):
                digest.verify_bytes(content, "it")


def test_hdf5_does_not_see_the_seal(sealed_hdf5, tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(sealed_hdf5)
    assert digest.verify(path)
    with h5py.File(path) as file:
        assert file["x"][...].tolist() == [0, 1, 2]
    with h5py.File(path, "r+") as file:  # changed on purpose: it has a seal no more
        file["x"][0] = 5
    assert not digest.verify(path)


def test_on_the_disk_as_in_memory(tmp_path):
    content = bytes(range(256)) * 40
    (tmp_path / "a").write_bytes(content)
    digest.seal(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == digest.sealed(content)
    assert digest.of_file(tmp_path / "a") == digest.of_bytes(digest.sealed(content))


def test_a_place_in_the_header_is_taken():
    content = digest.sealed(b"head " + digest.OPEN.encode() + b" body")
    assert content.startswith(b"head jaxdiff-seal-sha256:")
    assert content.endswith(b" body")
    assert digest.verify_bytes(content, "it")
    with pytest.raises(ValueError, match="two open seals"):
        digest.sealed(2 * digest.OPEN.encode())


@pytest.mark.parametrize("length", [1, 30, 90])
def test_a_seal_that_is_cut_off_is_found(length):
    content = digest.sealed(b"body")
    with pytest.raises(digest.DigestError):
        digest.verify_bytes(content[:-length], "it")


def test_files_from_before_have_none(tmp_path):
    (tmp_path / "old").write_bytes(b"body")
    (tmp_path / "empty").write_bytes(b"")
    assert not digest.verify(tmp_path / "old")
    assert not digest.verify(tmp_path / "empty")


def old_series(folder):
    path = folder / "series.h5"
    path.write_bytes(gzip.decompress((DATA / "series-v2.h5.gz").read_bytes()))
    with open_series(path) as file:
        assert file.attrs["format_version"] == 2
    return path


def old_model(folder):
    path = folder / "model.safetensors"
    shutil.copy(DATA / "native-v1.safetensors", path)
    assert checkpoints.count_parameters(checkpoints.load(path)) > 0
    return path


@pytest.mark.parametrize("opened", [old_series, old_model])
def test_of_files_from_before_it_is_said_that_they_have_none(tmp_path, caplog, opened):
    path = opened(tmp_path)
    opened(tmp_path)  # again: it has been said
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{path} carries no digest, as files of earlier versions")


def test_of_files_that_have_one_and_of_the_packages_own_nothing_is_said(
    tmp_path, sealed_hdf5, caplog
):
    (tmp_path / "x.h5").write_bytes(sealed_hdf5)
    assert digest.verify_or_tell(tmp_path / "x.h5")
    checkpoints.load_default()
    assert not caplog.records


def test_a_terminal_shows_it(tmp_path):
    """Without any set-up of logging."""
    (tmp_path / "x").write_text("old")
    code = "import sys; from jaxdiff.io import digest; digest.verify_or_tell(sys.argv[1])"
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True
    )
    assert found.stderr.startswith(f"{tmp_path / 'x'} carries no digest")
