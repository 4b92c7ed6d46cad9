"""The table of families: which kind of model a file holds, by what the file is."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdiff.checkpoints.deepmd import from_dp, to_dp
from jaxdiff.checkpoints.deepmd import native as deepmd_native
from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.mace import from_torch, native, to_torch
from jaxdiff.checkpoints.mace.gated import from_torch as gated_from_torch
from jaxdiff.checkpoints.mace.gated import native as gated_native
from jaxdiff.checkpoints.mace.gated import to_torch as gated_to_torch
from jaxdiff.io.shown import shown
from jaxdiff.io.trainfile import ScratchSection
from jaxdiff.models.contract import Model
from jaxdiff.models.deepmd import DeepPot
from jaxdiff.models.deepmd import initial as deepmd_initial
from jaxdiff.models.mace import Mace, initial
from jaxdiff.models.mace.gated import GatedMace

Arrays = Mapping[str, np.ndarray]
"""By dotted names."""


class Foreign(NamedTuple):
    """Files of another program: whether a file is one of them, and the model in it."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path], Model]


class Scratch(NamedTuple):
    """Models of random weights: of which `family` in a run file's [scratch].

    - `section`: the keys of [scratch].
    - `make`: (section, key, frames, atomic_numbers=, head=, atomic_energies=, scale=,
      shift=, dtype=) -> model; energies of isolated atoms [heads, species], root mean
      square of the forces, eV/Å, and mean interaction energy per atom, eV, of the frames.
    """

    family: str
    section: type[ScratchSection]
    make: Callable[..., Model]


@dataclasses.dataclass(frozen=True)
class Family:
    """How files hold the models of one kind.

    - `format`: in the metadata of its native files.
    - `describe`: from a model to the arrays and the JSON-able fields of a native file.
    - `architecture`: from those fields to what is not arrays; raises KeyError, TypeError
      or ValueError where they are damaged.
    - `assemble`: (arrays, architecture, file) -> model.
    - `foreign`: the files of other programs that it reads.
    - `export`: writes a file of the program that the family comes from, and says in which
      precision; raises `CheckpointError` where that program has no such model.
    - `scratch`: its models of random weights, which training may start from.
    """

    format: str
    model: type[Model]
    describe: Callable[[Any], tuple[Arrays, dict[str, Any]]]
    architecture: Callable[[dict[str, Any]], Any]
    assemble: Callable[[Arrays, Any, str], Model]
    foreign: tuple[Foreign, ...] = ()
    export: Callable[[Path, Any], str] | None = None
    scratch: Scratch | None = None


FAMILIES = (
    Family(
        format="jaxdiff-mace",
        model=Mace,
        describe=native.FORM.describe,
        architecture=native.FORM.architecture,
        assemble=native.FORM.assemble,
        foreign=(Foreign(from_torch.is_torch, from_torch.load_mace_torch),),
        export=to_torch.save_mace_torch,
        scratch=Scratch("mace", initial.Scratch, initial.from_scratch),
    ),
    Family(
        format="jaxdiff-mace-gated",
        model=GatedMace,
        describe=gated_native.FORM.describe,
        architecture=gated_native.FORM.architecture,
        assemble=gated_native.FORM.assemble,
        foreign=(Foreign(gated_from_torch.recognises, gated_from_torch.load_gated),),
        export=gated_to_torch.save_gated,
    ),
    Family(
        format="jaxdiff-deepmd",
        model=DeepPot,
        describe=deepmd_native.describe,
        architecture=deepmd_native.architecture,
        assemble=deepmd_native.assemble,
        foreign=(Foreign(from_dp.is_deepmd, from_dp.load_deepmd),),
        export=to_dp.save_deepmd,
        scratch=Scratch("deepmd", deepmd_initial.Scratch, deepmd_initial.from_scratch),
    ),
)
"""Every family that there is; a new one adds its record. The last that recognises a file
reads it: the first takes every file of PyTorch."""


def scratch(family: str | None) -> Scratch:
    """What makes models of random weights; of the first family where none is named."""
    known = {f.scratch.family: f.scratch for f in FAMILIES if f.scratch is not None}
    if family is not None and family not in known:
        raise ValueError(
            f'scratch.family = "{family}", and there are {", ".join(known)}; use one of '
            "them."
        )
    return known[family or next(iter(known))]


def of_model(model: Model) -> Family:
    """The family of a model. Raises `CheckpointError` where it has no record."""
    for family in FAMILIES:
        if isinstance(model, family.model):
            return family
    raise CheckpointError(
        f"a {type(model).__name__} cannot be kept in a file: there is no record of its "
        "kind in checkpoints.families.FAMILIES. Add one."
    )


def of_format(name: str | None, file: str) -> Family:
    """The family of a native file. Raises `CheckpointError` for other formats."""
    for family in FAMILIES:
        if family.format == name:
            return family
    known = " or ".join(repr(family.format) for family in FAMILIES)
    given = None if name is None else shown(name)
    raise CheckpointError(
        f"{file} is a safetensors file of format {given}, not {known}. "
        "Give a file written by `jaxdiff model convert` or by training."
    )


def foreign(path: Path) -> Foreign | None:
    """What reads a file of another program; None for a native file."""
    kinds = (kind for family in reversed(FAMILIES) for kind in family.foreign)
    return next((kind for kind in kinds if kind.recognises(path)), None)
