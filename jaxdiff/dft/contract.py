"""What is asked of a program that labels frames, whatever it is."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np
from jaxtyping import Float

from jaxdiff.io.labelfile import DftSection

PSEUDO = "pseudo"
"""Folder of the files that settings name, beside that of the frames."""

NET_FORCE = 0.005  # eV/Å per atom; forces that add up to more are not converged


class Failed(Exception):
    """The program has said that it cannot do this frame so; it would say it again."""


class CutOff(Exception):
    """The program ended before it was done; started again it may get there."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides a label but the frame.

    - `identity`: of plain values, as JSON has them; the digest of a label is made of it.
    - `files`: name -> file, such as pseudopotentials; they are copied to `PSEUDO`.
    - `words`: what a reader should know of them, in a sentence.
    """

    identity: Mapping[str, Any]
    files: Mapping[str, Path]
    words: str


@dataclasses.dataclass(frozen=True)
class Label:
    """What the program says of a frame.

    - `energy`, eV: that of which the forces are the derivative.
    - `forces` [atoms, 3], eV/Å; `stress` [3, 3], eV/Å^3, positive under tension, or None.
    - `facts`: what else a reader wants to know, of plain values, with units in the names.
    """

    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, "3 3"] | None
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Code:
    """A program.

    - `settings`: from the section of a run file; `ValueError` for what the user can mend.
    - `write`: the input of a frame into its folder. `ValueError` where the settings are not
      meant for such a frame.
    - `arguments`: the command line, run in the folder of the frame, and the name of the
      file that its output goes to.
    - `read`: the label from the folder, once the program has ended; `Failed`, `CutOff`.
    """

    name: str
    settings: Callable[[DftSection], Settings]
    write: Callable[[Path, ase.Atoms, Mapping[str, Any]], None]
    arguments: Callable[[list[str]], tuple[list[str], str]]
    read: Callable[[Path], Label]


def checked(label: Label, atoms: ase.Atoms) -> Label:
    """The same label; `Failed` where its numbers cannot be those of this frame."""
    numbers = [
        label.energy,
        label.forces,
        *([] if label.stress is None else [label.stress]),
    ]
    if not all(np.all(np.isfinite(values)) for values in numbers):
        raise Failed("energy, forces or stress are not finite")
    if label.forces.shape != (len(atoms), 3):
        raise Failed(f"{len(label.forces)} forces for {len(atoms)} atoms")
    net = float(np.linalg.norm(label.forces.sum(axis=0))) / len(atoms)
    if net > NET_FORCE:
        raise Failed(
            f"forces add up to {net:.3g} eV/Å per atom, more than {NET_FORCE} eV/Å"
        )
    return label
