"""A run that ends, or whose disk is full, at any one of its calls to the system goes on.

The run is one in small: what it measures is written in parts, each with its checkpoint,
and joined at the end. It is cut off at each call in turn and run again.
"""

import errno
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from datasets import assert_same_series

from jaxdiff.io import digest
from jaxdiff.io.series import SERIES, SeriesWriter, joined_parts
from jaxdiff.runs import checkpoint
from jaxdiff.runs.checkpoint import Checkpoint

N_PARTS = 3
THERMO = (
    "temperature_kelvin",
    "potential_energy_ev",
    "conserved_energy_ev",
    "pressure_gpa",
)
CALLS = {os: ("fsync",), Path: ("write_bytes", "replace", "unlink")}


def run(folder):
    """From where it was left to the end."""
    state = {"step": jnp.asarray(0)}
    found = checkpoint.load(folder, state)
    done = 0 if found is None else int(found.state["step"])
    given = (0, ()) if found is None else (found.n_parts, found.part_sha256)
    writer = SeriesWriter(
        folder,
        temperature=np.array([500.0]),
        seed_index=np.array([0]),
        lattice_constant=np.array([4.0]),
        cell=12 * np.eye(3)[None],
        is_mobile=np.array([True]),
        attributes={"timestep_fs": 2.0},
        provenance={"seed": 1},
        n_parts=given[0],
        digests=given[1],
    )
    if joined_parts(folder) == done == N_PARTS:
        return
    for step in range(done, N_PARTS):
        columns = {name: np.full((2, 1), step + 0.5) for name in THERMO}
        time = np.arange(2.0) + step
        writer.append("thermo", time, volume_angstrom3=np.ones((2, 1)), **columns)
        new = {"step": jnp.asarray(step + 1)}
        n_parts = writer.flush()
        kept = Checkpoint("production", new, {}, n_parts, 1.0, "ab", writer.digests)
        checkpoint.save(folder, kept)
    writer.finish("complete")


class Killed(BaseException):
    """As if the process had ended here."""


class Interruption:
    """Every call to the system is counted; at one of them something happens."""

    def __init__(self, patch, at, kind):
        self.left, self.kind, self.dead = at, kind, False
        for owner, names in CALLS.items():
            for name in names:
                patch.setattr(owner, name, self.around(getattr(owner, name), name))

    def around(self, real, name):
        def call(*arguments, **options):
            if self.dead:  # a process that has ended does nothing more
                return None
            self.left -= 1
            if self.left == 0:
                self.dead = self.kind == "killed"
                if name == "write_bytes":  # half of it had been written
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise Killed if self.dead else OSError(errno.ENOSPC, "No space left")
            return real(*arguments, **options)

        return call


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder / SERIES


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["killed", "disk full"])
def test_at_each_call(whole, tmp_path, monkeypatch, kind, stride):
    for at in range(1, 1000, stride):
        folder = tmp_path / str(at)
        folder.mkdir()
        with monkeypatch.context() as patch:
            interruption = Interruption(patch, at, kind)
            try:
                run(folder)
            except (Killed, OSError):
                pass
            else:
                break
        assert interruption.left <= 0
        run(folder)
        assert digest.verify(folder / SERIES)
        assert_same_series(whole, folder / SERIES)
        assert list((folder / "parts").glob("*.h5")) == []
    assert at > 30  # there were so many calls
