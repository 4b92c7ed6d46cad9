"""A training state that is damaged is not gone on from: the one before it is."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdiff.finetune import optimizer
from jaxdiff.finetune.files import RunFiles


def state(updates):
    weights = {"a": jnp.arange(50.0) + updates}
    start = optimizer.initial_state(weights, optax.identity(), 0.1)
    return start.replace(updates=jnp.asarray(updates))


@pytest.fixture
def folder(tmp_path):
    files = RunFiles(tmp_path)
    for updates in (1, 2, 3):
        files.save(state(updates), best=updates == 2)
    files.close()
    return tmp_path


def largest(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def found(folder):
    files = RunFiles(folder)
    try:
        return int(files.latest(state(0)).updates), files.note
    finally:
        files.close()


def test_whole_ones_come_back(folder):
    assert found(folder) == (3, "")


def test_one_bit_and_the_one_before_is_used(folder):
    damage(largest(folder / "checkpoints" / "7"))
    updates, note = found(folder)
    assert updates == 2
    assert "checkpoints/7 is damaged (its SHA-256 is not that of what was written)" in note
    assert found(folder) == (2, "")  # the damaged one is gone, and is made again
    files = RunFiles(folder)
    files.save(state(3))
    files.close()
    assert found(folder) == (3, "")


def test_a_file_less_and_the_one_before_is_used(folder):
    largest(folder / "checkpoints" / "7").unlink()
    assert found(folder)[0] == 2


def test_none_left_is_a_sentence(folder):
    for number in ("5", "7"):
        damage(largest(folder / "checkpoints" / number))
    files = RunFiles(folder)
    with pytest.raises(ValueError, match="no state of this training can be gone on from"):
        files.latest(state(0))
    files.close()


def test_damaged_best_weights_are_a_sentence(folder):
    files, like = RunFiles(folder), {"a": jnp.zeros(50)}
    np.testing.assert_array_equal(files.best(like)["a"], jnp.arange(50.0) + 2)
    damage(largest(folder / "best"))
    with pytest.raises(ValueError, match="best/5, the best weights, is damaged"):
        files.best(like)
    files.close()


def test_a_folder_from_before_there_were_digests(folder):
    (folder / "digests.json").unlink()
    assert found(folder) == (3, "")


def test_records_that_a_crash_has_damaged_are_dropped(folder):
    (folder / "metrics.jsonl").write_bytes(
        b'{"epoch": 1}\n' + bytes(30) + b"\n[1]\n" + b'{"epoch": 2}\n{"epo'
    )
    files = RunFiles(folder)
    files.truncate_metrics(1)
    files.close()
    assert (folder / "metrics.jsonl").read_text() == '{"epoch": 1}\n'
