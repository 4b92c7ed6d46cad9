"""What the readers of trajectory formats share: raw frames, elements, what may be missing.

Errors name arguments as the command line spells them; `--frame-ps` is `frame_ps` in Python.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

Placement = tuple[Float[np.ndarray, "atoms 3"], Float[np.ndarray, "3 3"]]
"""Positions, Å, from the corner of the cell, and the cell, Å, rows."""

NEAREST = "minimum image between frames"
NAME_TYPES = "say which is which, such as --species 1=Li --species 2=F"
_SYMBOL = re.compile(r"([A-Z][a-z]?)(?![A-Za-z])")


@dataclasses.dataclass
class Tally:
    """What was met while reading; counted anew by every pass over the file.

    `restarts`: frames at which unwrapped positions began again from other images.
    """

    frames: int = 0
    duplicates: int = 0
    incomplete: int = 0
    restarts: list[int] = dataclasses.field(default_factory=list)

    def reset(self) -> None:
        """Before a pass over the file."""
        self.frames, self.duplicates, self.incomplete, self.restarts = 0, 0, 0, []


@dataclasses.dataclass(frozen=True)
class Given:
    """What the user says because the file does not.

    - `species`: elements of atom types, for LAMMPS dumps and files without names.
    - `cell`, Å: lattice vectors as rows, periodic in all directions.
    - `topology`: a file with the same atoms in the same order, for their elements.
    - `length_unit`: of H5MD files without one, Å.
    """

    species: dict[int, str] | None = None
    cell: Float[np.ndarray, "3 3"] | None = None
    topology: Path | None = None
    length_unit: float | None = None


class Missing(ValueError):
    """What a file does not say and the user did not either.

    - `what`: species or cell, as in `Given`, or time.
    """

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


@dataclasses.dataclass(frozen=True)
class RawFrame:
    """One frame as the file has it; its numbers are read when `load` is called.

    - `step`: MD steps, or the running number of XDATCAR.
    - `time`: ps where the source states its unit, else as the file has it.
    """

    step: int | None
    time: float | None
    load: Callable[[], Placement]


@dataclasses.dataclass(frozen=True)
class Source:
    """An open trajectory before selection, timing and unwrapping.

    - `unwrapping`: how positions are made continuous, in words.
    - `exact`: the positions are continuous as they are.
    - `time_stated`: times come with a unit.
    - `step_word`: what steps are called; only a "time step" has a length in fs.
    """

    format: str
    atomic_number: Integer[np.ndarray, " atoms"]
    periodic: tuple[bool, bool, bool]
    unwrapping: str
    exact: bool
    time_stated: bool
    frames: Callable[[Tally], Iterator[RawFrame]]
    step_word: str = "time step"


def element(name: str, where: str) -> int:
    """Atomic number of a chemical symbol, or of a name that begins with one.

    Programs write `Li_sv`, `Li/`, `Li_sv/1a2b3c4d` (VASP), `Li1` (kinds of CP2K), `H.5`.
    """
    from ase.data import atomic_numbers

    found = _SYMBOL.match(name)
    symbol = found[1] if found else name
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"{where} has the element {name!r}, which is not known.")
    return atomic_numbers[symbol]


def elements_of_types(species: dict[int, str], where: str) -> dict[int, int]:
    """Atomic numbers by atom type."""
    return {kind: element(symbol, where) for kind, symbol in species.items()}


def elements_of_numbers(
    kinds: Integer[np.ndarray, " atoms"], species: dict[int, str] | None, where: str
) -> Integer[np.ndarray, " atoms"]:
    """Atomic numbers of numbered kinds, as the user names them."""
    present = sorted(set(kinds.tolist()))
    if species is None:
        raise Missing(
            "species",
            f"{where} numbers its atoms' types ({', '.join(map(str, present))}) without "
            f"names of elements; {NAME_TYPES}.",
        )
    known = elements_of_types(species, "--species")
    unknown = [kind for kind in present if kind not in known]
    if unknown:
        raise ValueError(
            f"{where} has atom type {unknown[0]}, but --species names only "
            f"{', '.join(map(str, sorted(known)))}; add --species {unknown[0]}=ELEMENT."
        )
    return np.array([known[kind] for kind in kinds.tolist()], dtype=np.int32)


def no_complete_frame(path: Path) -> ValueError:
    """The error of a file that ends within its first frame."""
    return ValueError(
        f"{path} has no complete frame; it ends within the first one. Give a trajectory "
        "with at least one frame; if its last line is whole, end it by a line break."
    )


def refuse_cell(path: Path, given: Given) -> None:
    """For formats that state their cells."""
    if given.cell is not None:
        raise ValueError(f"{path} states its cells; leave --cell-angstrom out.")
