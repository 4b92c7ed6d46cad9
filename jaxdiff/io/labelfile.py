"""The run file of `jaxdiff label`: a DFT program, its settings, and where labels go."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from jaxdiff.io.config import Section, checked, read_table

__all__ = ["DftSection", "LabelFile", "OutputSection", "load"]


class DftSection(Section):
    """A self-consistent calculation: what its numbers depend on, and how it is started."""

    code: str = Field("espresso", min_length=1)
    """Program: "espresso" is Quantum ESPRESSO's pw.x."""
    template: Path = Field(examples=["pw.in"])
    """An input of the program, of which all is taken but the structure and the k-points;
    relative to the run file, as the next key.
    """
    pseudopotential_folder: Path = Field(examples=["pseudo"])
    """Folder of the pseudopotentials."""
    pseudopotentials: dict[str, str] = Field(
        min_length=1, examples=[{"Li": "Li.upf", "F": "F.upf"}]
    )
    """File of each element."""
    kpoint_density_angstrom: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, examples=[3.5]
    )
    """At least so many k-points per 1/Å along each reciprocal vector (2 pi within), in a
    grid with the point Gamma; left out: Gamma alone.
    """
    starting_magnetization: dict[str, Annotated[float, Field(ge=-1, le=1)]] = Field(
        {}, examples=[{"Li": 0.5}]
    )
    """Of each element at the start, where the template asks for spin polarisation; 1: all
    valence electrons up.
    """
    command: str = Field("pw.x", min_length=1, examples=["mpirun -np 2 pw.x"])
    """What starts the program."""


class OutputSection(Section):
    """Where the labels go."""

    directory: str = Field(min_length=1, examples=["runs/labels"])
    """Folder of the labels; made if need be. Further frames may be labelled into it."""


class LabelFile(Section):
    """A whole run file of `jaxdiff label`."""

    dft: DftSection
    output: OutputSection


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> LabelFile:
    """Read a run file, with overrides such as `dft.command=pw.x`."""
    run = checked(LabelFile, read_table(path, overrides))
    here = Path(path).resolve().parent
    places = {
        key: here / getattr(run.dft, key) for key in ("template", "pseudopotential_folder")
    }
    return run.model_copy(update={"dft": run.dft.model_copy(update=places)})
