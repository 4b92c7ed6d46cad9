"""A model from random weights, with the scale and shift of the data."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.checkpoints import families
from jaxdiff.io.config import RunFileError, checked
from jaxdiff.io.frame import Frame
from jaxdiff.io.trainfile import TrainFile
from jaxdiff.models.contract import Model

HEAD = "default"
"""Name of its only head."""


def scratch_model(
    run: TrainFile, frames: Sequence[Frame], numbers: Sequence[int], energies: np.ndarray
) -> Model:
    """Random weights; scale and shift from the data, as upstream's "rms_forces_scaling".

    The scale is the root mean square of the forces, the shift the mean interaction energy
    per atom; without forces the scale is that energy's standard deviation, and without
    energies the shift is 0. `energies` [species] are those of the isolated atoms, eV.
    """
    section = with_family(run).scratch
    assert section is not None
    forces = [f.forces.ravel() for f in frames if f.forces is not None]
    isolated = dict(zip(numbers, energies, strict=True))
    bound = [
        (f.energy - sum(isolated[int(z)] for z in f.atomic_number)) / f.n_atoms
        for f in frames
        if f.energy is not None
    ]
    scale = np.sqrt(np.mean(np.concatenate(forces) ** 2)) if forces else np.std(bound)
    return families.scratch(section.family).make(
        section,
        jax.random.key(run.seed),
        frames,
        atomic_numbers=tuple(numbers),
        head=HEAD,
        atomic_energies=np.asarray(energies)[None],
        scale=float(scale) or 1.0,
        shift=float(np.mean(bound)) if bound else 0.0,
        dtype=jnp.dtype(run.precision),
    )


def with_family(run: TrainFile) -> TrainFile:
    """The run with [scratch] as its family has it: its keys checked, with their defaults.

    Raises ValueError for keys that the family does not have.
    """
    if run.scratch is None:
        return run
    section = families.scratch(run.scratch.family).section
    if isinstance(run.scratch, section):
        return run
    try:
        found = checked(section, run.scratch.model_dump())
    except RunFileError as error:
        raise RunFileError(f"scratch.{str(error).splitlines()[0]}") from None
    return run.model_copy(update={"scratch": found})
