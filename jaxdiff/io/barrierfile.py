"""The run file of `jaxdiff barrier`: TOML, every unit in its key, nothing unknown."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from jaxdiff.io.config import Section, checked, read_table
from jaxdiff.io.runfile import CrystalSection, ForceField
from jaxdiff.lattice.rock_salt import ROCK_SALT

if TYPE_CHECKING:
    PathName = str
else:
    PathName = Literal[tuple(jump.name for jump in ROCK_SALT.jumps)]


_MOST_CELLS = 1000  # of a band: each image is a whole crystal in float64


class SystemSection(CrystalSection):
    """The LiF crystal, and which jumps of the table of rock salt in it."""

    paths: tuple[PathName, ...] = Field(min_length=1, examples=[["collinear"]])
    """Jumps of the table of rock salt to be searched."""

    @model_validator(mode="after")
    def _fits(self) -> "SystemSection":
        if math.prod(self.supercell) > _MOST_CELLS:
            raise ValueError(
                f"system.supercell = {list(self.supercell)} has more than {_MOST_CELLS} "
                "cells, and barriers are local; give a smaller one, such as 3"
            )
        return self


class EndsSection(Section):
    """Two structures of the same atoms in the same order, in files that ASE reads."""

    first: str = Field(min_length=1, examples=["first.extxyz"])
    """Structure before the jump, in a file that ASE reads."""
    last: str = Field(min_length=1, examples=["last.extxyz"])
    """The same atoms in the same order after the jump."""


class SearchSection(Section):
    """How hard a search tries; see `jaxdiff.objectives.barrier.Settings`."""

    images: int = Field(7, ge=1, le=99)
    """Images of the band between the two ends."""
    end_force_ev_per_angstrom: float = Field(1e-3, gt=0)
    """Largest force at the relaxed ends."""
    band_force_ev_per_angstrom: float = Field(0.02, gt=0)
    """Largest force on the band."""
    saddle_force_ev_per_angstrom: float = Field(1e-3, gt=0)
    """Largest force at the saddle."""
    max_steps: int = Field(400, ge=1, le=10**6)
    """Most steps of each relaxation."""
    rattle_angstrom: float = Field(0.05, ge=0, le=0.5)
    """Random displacement of the images, which breaks symmetry."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of these displacements."""


class ErrorSection(Section):
    """Frames with energies, from which the model's own error of a barrier is known."""

    train: tuple[str, ...] = Field(min_length=1, examples=[["train.extxyz"]])
    """Frames with energies that the model was trained on."""
    valid: tuple[str, ...] = Field(min_length=1, examples=[["valid.extxyz"]])
    """Others, which calibrate the model's own error."""


class RatesSection(Section):
    """Prefactors of the jumps, and what the defects' diffusivities are with them."""

    temperatures_kelvin: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        min_length=1, examples=[[300.0, 600.0]]
    )
    """Temperatures at which rates and diffusivities are given."""
    radius_angstrom: float | None = Field(None, gt=0, examples=[4.0])
    """Atoms further from those that jump are held; left out: all vibrate."""


class OutputSection(Section):
    """Where barriers, structures and the figure go."""

    directory: str = Field(min_length=1, examples=["runs/barrier"])
    """Folder for barriers, structures and the figure."""


class BarrierFile(Section):
    """A whole search: paths built in `system`, and those between `ends` from files.

    Saddles need float64, so there is no choice of precision.
    """

    model: ForceField
    system: SystemSection | None = None
    ends: dict[str, EndsSection] = {}
    error: ErrorSection | None = None
    rates: RatesSection | None = None
    search: SearchSection = SearchSection.model_validate({})
    output: OutputSection

    @model_validator(mode="after")
    def _something_to_find(self) -> "BarrierFile":
        if not (self.system or self.ends):
            raise ValueError(
                "there is nothing to search: give paths ([system] with supercell and "
                'paths = ["collinear"]), or the files of two ends ([ends.NAME])'
            )
        paths = self.system.paths if self.system else ()
        twice = {n for n in paths if paths.count(n) > 1 or n in self.ends}
        if twice:
            raise ValueError(f"these paths occur twice: {', '.join(sorted(twice))}")
        if bad := [n for n in self.ends if not n.replace("_", "").isalnum()]:
            raise ValueError(
                f"[ends.{bad[0]}]: the name becomes part of a file's; use letters, digits "
                "and underscores"
            )
        return self


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> BarrierFile:
    """Read a run file, with overrides such as `search.images=9`."""
    return checked(BarrierFile, read_table(path, overrides))
