"""Checkpoints: the whole state of a run in one file, with the one before it kept.

Nothing in them is executed: HDF5 arrays, each with a checksum, in the order of the state's
own tree. The random numbers need no state, they follow from seed, replica and step.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.io import digest, durable, hdf5

FORMAT, FORMAT_VERSION = "jaxdiff-checkpoint", 2
PHASES = ("equilibration", "production")
LATEST, PREVIOUS = "checkpoint.h5", "checkpoint.previous.h5"
_UNREADABLE = (OSError, LookupError, RuntimeError, TypeError, ValueError)
"""What HDF5 and we raise for a file that is damaged; the one before it may be whole."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is.

    - `phase`: equilibration or production. `state`: a tree of arrays (what the phase
      advances). `counters`: what the host keeps beside it, by name.
    - `n_parts`: parts of the series that belong to it. `wall_s`: time used so far.
    - `model_sha256`: of the force field's file. `part_sha256`: of each part.
    - `note`: what to tell of how it was found.
    """

    phase: str
    state: Any
    counters: dict[str, np.ndarray]
    n_parts: int
    wall_s: float
    model_sha256: str
    part_sha256: tuple[str, ...] = ()
    note: str = ""


def save(directory: Path, checkpoint: Checkpoint) -> None:
    """Write it; until it is safe on the disk, the one before stays the latest."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = FORMAT, FORMAT_VERSION
        for name in ("phase", "n_parts", "wall_s", "model_sha256"):
            file.attrs[name] = getattr(checkpoint, name)
        file.attrs["part_sha256"] = list(checkpoint.part_sha256)
        leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(checkpoint.state))
        for path, leaf in leaves:
            _write(file, f"state{_name(path)}", np.asarray(leaf))
        for name, value in checkpoint.counters.items():
            _write(file, f"counters/{name}", np.asarray(value))
    latest = directory / LATEST
    fresh = directory / f"{LATEST}.new"
    durable.write_bytes(fresh, digest.sealed(memory.getvalue()))
    if latest.exists():
        durable.rename(latest, directory / PREVIOUS)
    durable.rename(fresh, latest)


def load(directory: Path, template: Any) -> Checkpoint | None:
    """The latest sound checkpoint, or None where there is none.

    - `template`: a state of the same run, of which tree and dtypes are taken; arrays of
      neighbour lists may have another capacity.

    Raises ValueError where there are checkpoints, but none that fits.
    """
    faults = []
    for name in (LATEST, PREVIOUS):
        path = directory / name
        if not path.exists():
            continue
        try:
            found = _load(path, template)
        except _UNREADABLE as error:
            faults.append(f"{name}: {error}")
            continue
        return replace(found, note="".join([*(f"{f}. " for f in faults), found.note]))
    if faults:
        raise ValueError(
            f"{directory} has checkpoints, but none can be used ({'; '.join(faults)}). "
            "Give another output.directory to start again; what was written stays."
        )
    return None


def exists(directory: Path) -> bool:
    """Whether a run has left a checkpoint here."""
    return any((directory / name).exists() for name in (LATEST, PREVIOUS))


def _load(path: Path, template: Any) -> Checkpoint:
    whole = digest.verify(path)
    if not whole:
        hdf5.require_heaps(path)
    with h5py.File(path) as file:
        attributes: dict[str, Any] = dict(file.attrs)
        form, version = attributes.get("format"), attributes.get("format_version")
        if form != FORMAT or version not in (1, FORMAT_VERSION):
            raise ValueError(
                f"format {form!r} {version}, expected {FORMAT!r} 1 to {FORMAT_VERSION}"
            )
        within = _name_in_version_1 if version == 1 else _name
        leaves, tree = jax.tree_util.tree_flatten_with_path(template)
        state = tree.unflatten(
            [_read(file, f"state{within(p)}", leaf) for p, leaf in leaves]
        )
        group: Any = file.get("counters", {})
        counters = {name: np.asarray(value) for name, value in group.items()}
        phase, n_parts = str(attributes["phase"]), int(attributes["n_parts"])
        wall_s = float(attributes["wall_s"])
        if phase not in PHASES or n_parts < 0 or not 0 <= wall_s < math.inf:
            raise ValueError(f"{n_parts} parts and {wall_s} s of {phase[:20]!r}")
        return Checkpoint(
            phase=phase,
            state=state,
            counters=counters,
            n_parts=n_parts,
            wall_s=wall_s,
            model_sha256=str(attributes["model_sha256"]),
            part_sha256=tuple(map(str, attributes.get("part_sha256", ()))),
            note="" if whole else f"{path.name} is from before files had digests. ",
        )


def _name(path: Sequence[Any]) -> str:
    return "".join(f"/{getattr(key, 'name', getattr(key, 'key', key))}" for key in path)


def _name_in_version_1(path: Sequence[Any]) -> str:
    """One chain and one heat for all integrators, beside positions; no `info`."""
    name = re.sub("^/integrators/[^/]+/", "/motion/", _name(path))
    return name.removeprefix("/info")


def _write(file: h5py.File, name: str, value: np.ndarray) -> None:
    checked = value.ndim > 0 and value.size > 0  # HDF5 has no checksum for scalars
    file.create_dataset(name, data=value, fletcher32=checked, chunks=checked or None)


def _read(file: h5py.File, name: str, like: Any) -> jax.Array:
    value = np.asarray(file[name])
    expected = np.shape(like)
    same = value.ndim == len(expected) and value.shape[:1] == expected[:1]
    if value.dtype != like.dtype or not same:
        raise ValueError(
            f"{name} is {value.dtype}{list(value.shape)}, expected "
            f"{like.dtype}{list(expected)}"
        )
    return jnp.asarray(value)
