"""Checkpoints: the whole state of a run in one file, with the one before it kept.

Nothing in them is executed: HDF5 arrays, each with a checksum, in the order of the state's
own tree. The random numbers need no state, they follow from seed, replica and step.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.io import atomic

FORMAT, FORMAT_VERSION = "jaxdiff-checkpoint", 1
LATEST, PREVIOUS = "checkpoint.h5", "checkpoint.previous.h5"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is.

    - `phase`: equilibration or production. `state`: a tree of arrays (what the phase
      advances). `counters`: what the host keeps beside it, by name.
    - `n_parts`: parts of the series that belong to it. `wall_s`: time used so far.
    - `model_sha256`: of the force field's file.
    """

    phase: str
    state: Any
    counters: dict[str, np.ndarray]
    n_parts: int
    wall_s: float
    model_sha256: str


class CheckpointError(ValueError):
    """Checkpoints that are there but cannot be used."""


def save(directory: Path, checkpoint: Checkpoint) -> None:
    """Write it; until it is safe on the disk, the one before stays the latest."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = FORMAT, FORMAT_VERSION
        for name in ("phase", "n_parts", "wall_s", "model_sha256"):
            file.attrs[name] = getattr(checkpoint, name)
        leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(checkpoint.state))
        for path, leaf in leaves:
            _write(file, f"state{_name(path)}", np.asarray(leaf))
        for name, value in checkpoint.counters.items():
            _write(file, f"counters/{name}", np.asarray(value))
    latest = directory / LATEST
    fresh = directory / f"{LATEST}.new"
    atomic.write_bytes(fresh, memory.getbuffer())
    if latest.exists():
        latest.replace(directory / PREVIOUS)
    fresh.replace(latest)


def load(directory: Path, template: Any) -> Checkpoint | None:
    """The latest sound checkpoint, or None where there is none.

    - `template`: a state of the same run, of which tree and dtypes are taken; arrays of
      neighbour lists may have another capacity.

    Raises `CheckpointError` where there are checkpoints, but none that fits.
    """
    faults = []
    for name in (LATEST, PREVIOUS):
        path = directory / name
        if not path.exists():
            continue
        try:
            return _load(path, template)
        except (OSError, KeyError, ValueError) as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise CheckpointError(
            f"{directory} has checkpoints, but none can be used ({'; '.join(faults)}). "
            "Give another output.directory to start again; what was written stays."
        )
    return None


def exists(directory: Path) -> bool:
    """Whether a run has left a checkpoint here."""
    return any((directory / name).exists() for name in (LATEST, PREVIOUS))


def _load(path: Path, template: Any) -> Checkpoint:
    with h5py.File(path) as file:
        attributes: dict[str, Any] = dict(file.attrs)
        found = attributes.get("format"), attributes.get("format_version")
        if found != (FORMAT, FORMAT_VERSION):
            raise ValueError(
                f"format {found[0]!r} {found[1]}, expected {FORMAT!r} {FORMAT_VERSION}"
            )
        leaves, tree = jax.tree_util.tree_flatten_with_path(template)
        state = tree.unflatten(
            [_read(file, f"state{_name(p)}", leaf) for p, leaf in leaves]
        )
        group: Any = file.get("counters", {})
        counters = {name: np.asarray(value) for name, value in group.items()}
        return Checkpoint(
            phase=str(attributes["phase"]),
            state=state,
            counters=counters,
            n_parts=int(attributes["n_parts"]),
            wall_s=float(attributes["wall_s"]),
            model_sha256=str(attributes["model_sha256"]),
        )


def _name(path: Sequence[Any]) -> str:
    return "".join(f"/{getattr(key, 'name', getattr(key, 'key', key))}" for key in path)


def _write(file: h5py.File, name: str, value: np.ndarray) -> None:
    checked = value.ndim > 0 and value.size > 0  # HDF5 has no checksum for scalars
    file.create_dataset(name, data=value, fletcher32=checked, chunks=checked or None)


def _read(file: h5py.File, name: str, like: Any) -> jax.Array:
    value = np.asarray(file[name])
    expected = np.shape(like)
    if value.dtype != like.dtype or value.shape[:1] != expected[:1]:
        raise ValueError(
            f"{name} is {value.dtype}{list(value.shape)}, expected "
            f"{like.dtype}{list(expected)}"
        )
    return jnp.asarray(value)
