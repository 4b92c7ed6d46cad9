"""A damaged checkpoint is never gone on from: the one before it is, and that is said."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.runs import checkpoint
from jaxdiff.runs.checkpoint import LATEST, PREVIOUS, Checkpoint

STATE = {"position": jnp.arange(12.0).reshape(2, 2, 3), "step": jnp.asarray(7)}


def save(folder, step):
    state = STATE | {"step": jnp.asarray(step)}
    parts = tuple(f"{n:064x}" for n in range(step))
    checkpoint.save(folder, Checkpoint("production", state, {}, step, 1.5, "ab", parts))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    save(folder, 1)
    save(folder, 2)
    return folder


def with_latest(two, folder, content):
    folder.mkdir(exist_ok=True)
    (folder / PREVIOUS).write_bytes((two / PREVIOUS).read_bytes())
    (folder / LATEST).write_bytes(content)
    return checkpoint.load(folder, STATE)


def test_a_whole_one_comes_back(two):
    found = checkpoint.load(two, STATE)
    assert (int(found.state["step"]), found.n_parts, found.note) == (2, 2, "")
    assert found.part_sha256 == ("0" * 64, "0" * 63 + "1")


def test_one_bit_and_the_one_before_is_used(two, tmp_path):
    whole, rng = (two / LATEST).read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        found = with_latest(two, tmp_path, content)
        assert (int(found.state["step"]), found.n_parts) == (1, 1)
        assert "checkpoint.h5 is not what was written" in found.note


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"\x89HDF\r\n\x1a\n", bytes(5000)],
    ids=lambda content: str(len(content)),
)
def test_something_else_and_the_one_before_is_used(two, tmp_path, content):
    assert int(with_latest(two, tmp_path, content).state["step"]) == 1


def change(path, edit):
    """Through HDF5, which takes the digest away: as a file from before there were any."""
    with h5py.File(path, "r+") as file:
        edit(file)


@pytest.mark.parametrize(
    "edit",
    [
        lambda file: file.attrs.__delitem__("phase"),
        lambda file: file.attrs.__setitem__("n_parts", "many"),
        lambda file: file.attrs.__setitem__("n_parts", np.arange(3)),
        lambda file: file.attrs.__setitem__("n_parts", -1),
        lambda file: file.attrs.__setitem__("wall_s", np.nan),
        lambda file: file.attrs.__setitem__("phase", "breakfast"),
        lambda file: file.attrs.__setitem__("part_sha256", 3),
        lambda file: file.__delitem__("state"),
        lambda file: (file.__delitem__("state"), file.__setitem__("state", 3)),
        lambda file: (file.__delitem__("state/step"), file.create_group("state/step")),
        lambda file: (file.__delitem__("state/step"), file.__setitem__("state/step", "x")),
    ],
)
def test_nonsense_of_an_earlier_version_and_the_one_before_is_used(two, tmp_path, edit):
    path = tmp_path / "changed.h5"
    path.write_bytes((two / LATEST).read_bytes())
    change(path, edit)
    found = with_latest(two, tmp_path / "run", path.read_bytes())
    assert int(found.state["step"]) == 1


def test_one_without_a_digest_is_read_and_said(two, tmp_path):
    path = tmp_path / "old.h5"
    path.write_bytes((two / LATEST).read_bytes())
    change(path, lambda file: file.attrs.__delitem__("part_sha256"))
    found = with_latest(two, tmp_path / "run", path.read_bytes())
    assert (int(found.state["step"]), found.part_sha256) == (2, ())
    assert "from before files had digests" in found.note
    jax.tree.map(np.testing.assert_array_equal, found.state["position"], STATE["position"])


def test_none_left_is_a_sentence(two, tmp_path):
    (tmp_path / PREVIOUS).write_bytes(b"nonsense")
    (tmp_path / LATEST).write_bytes((two / LATEST).read_bytes()[:-1])
    with pytest.raises(ValueError, match="none can be used .checkpoint"):
        checkpoint.load(tmp_path, STATE)
