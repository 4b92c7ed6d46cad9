"""Errors of a model on labelled frames, in the units that users read."""

import collections
import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from jaxdiff.finetune.data import Bucket, Frame, batches, make_buckets
from jaxdiff.finetune.loss import batch_errors
from jaxdiff.models.architecture import Mace
from jaxdiff.potential import model_dtype

_ALL = slice(None)


@dataclasses.dataclass(frozen=True)
class ErrorRow:
    """Root mean square errors of one set: meV/atom, meV/Å, meV/Å^3."""

    name: str
    frames: int
    energy_rmse: float
    energy_mae: float
    forces_rmse: float
    forces_mae: float
    stress_rmse: float


@functools.cache
def compiled_errors():
    """`batch_errors`, compiled once per shape."""
    return jax.jit(batch_errors)


def frame_errors(
    model: Mace, buckets: Sequence[Bucket], n_frames: int, batch_size: int
) -> dict[str, np.ndarray]:
    """`batch_errors` of every frame, in the order of the data set."""
    errors: dict[str, np.ndarray] = {}
    for bucket in buckets:
        done = 0
        for batch in batches([bucket], batch_size):
            result = jax.device_get(compiled_errors()(model, batch))
            count = min(batch_size, len(bucket.index) - done)
            chosen = bucket.index[done : done + count]
            for key, value in result.items():
                errors.setdefault(key, np.full(n_frames, np.nan))[chosen] = value[:count]
            done += count
    return errors


def error_row(
    name: str, errors: dict[str, np.ndarray], chosen: slice | np.ndarray = _ALL
) -> ErrorRow:
    """Root mean squares over the chosen frames."""
    energy = 1e3 * errors["energy"][chosen]
    return ErrorRow(
        name=name,
        frames=len(energy),
        energy_rmse=float(np.sqrt(np.mean(energy**2))),
        energy_mae=float(np.mean(np.abs(energy))),
        forces_rmse=float(1e3 * np.sqrt(np.mean(errors["forces_square"][chosen]))),
        forces_mae=float(1e3 * np.mean(errors["forces_absolute"][chosen])),
        stress_rmse=float(1e3 * np.sqrt(np.mean(errors["stress_square"][chosen]))),
    )


def error_table(
    model: Mace, sets: dict[str, Sequence[Frame]], batch_size: int = 4
) -> list[ErrorRow]:
    """A row per set and one per config_type within it."""
    energies = np.asarray(model.constants["atomic_energies"])[0]
    rows = []
    for name, frames in sets.items():
        arch = model.architecture
        buckets = make_buckets(
            frames, arch.atomic_numbers, energies, arch.cutoff, model_dtype(model).type
        )
        errors = frame_errors(model, buckets, len(frames), batch_size)
        rows.append(error_row(name, errors))
        kinds = collections.Counter(frame.config_type for frame in frames)
        if len(kinds) > 1:
            kind_of = np.array([frame.config_type for frame in frames])
            rows += [
                error_row(f"{name}/{kind}", errors, np.flatnonzero(kind_of == kind))
                for kind in sorted(kinds)
            ]
    return rows
