"""The run file of `jaxdiff barrier`: TOML, every unit in its key, nothing unknown."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jaxdiff.io.runfile import CrystalSection, Section, checked, read_table

PathName = Literal["collinear", "noncollinear_1", "noncollinear_2", "direct", "vacancy"]


class ModelSection(Section):
    """A registered name or a file. Saddles need float64, so there is no choice of it."""

    name_or_path: str = Field(min_length=1)


class SystemSection(CrystalSection):
    """The LiF crystal, and which jumps of lithium in it."""

    paths: tuple[PathName, ...] = Field(min_length=1)


class EndsSection(Section):
    """Two structures of the same atoms in the same order, in files that ASE reads."""

    first: str = Field(min_length=1)
    last: str = Field(min_length=1)


class SearchSection(Section):
    """How hard a search tries; see `jaxdiff.objectives.barrier.Settings`."""

    images: int = Field(7, ge=1, le=99)
    end_force_ev_per_angstrom: float = Field(1e-3, gt=0)
    band_force_ev_per_angstrom: float = Field(0.02, gt=0)
    saddle_force_ev_per_angstrom: float = Field(1e-3, gt=0)
    max_steps: int = Field(400, ge=1)
    rattle_angstrom: float = Field(0.05, ge=0, le=0.5)
    seed: int = Field(0, ge=0, lt=2**32)


class ErrorSection(Section):
    """Frames with energies, from which the model's own error of a barrier is known.

    `train`: those that the model was trained on; `valid`: others, which set the scale.
    """

    train: tuple[str, ...] = Field(min_length=1)
    valid: tuple[str, ...] = Field(min_length=1)


class RatesSection(Section):
    """Prefactors of the jumps, and what the defects' diffusivities are with them.

    `radius_angstrom`: atoms further from those that jump are held; none: all vibrate.
    """

    temperatures_kelvin: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    radius_angstrom: float | None = Field(None, gt=0)


class OutputSection(Section):
    """Where barriers, structures and the figure go."""

    directory: str = Field(min_length=1)


class BarrierFile(Section):
    """A whole search: paths built in `system`, and those between `ends` from files."""

    model: ModelSection
    system: SystemSection | None = None
    ends: dict[str, EndsSection] = {}
    error: ErrorSection | None = None
    rates: RatesSection | None = None
    search: SearchSection = SearchSection.model_validate({})
    output: OutputSection

    @model_validator(mode="after")
    def _something_to_find(self) -> Self:
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
