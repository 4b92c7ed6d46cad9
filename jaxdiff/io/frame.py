"""One labelled configuration, each label checked or marked as missing."""

import dataclasses
from typing import Any

import numpy as np

from jaxdiff.system import require_apart


@dataclasses.dataclass(frozen=True)
class Frame:
    """One configuration: eV, Å; stress [3, 3] in eV/Å^3, tension positive.

    A label that is missing is None. `weight` and those of the labels multiply its terms of
    the loss; `head` is that of the file; `charge`, e, and `multiplicity` are of the whole
    structure; `source` says where the frame was read.
    """

    atomic_number: np.ndarray
    position: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    config_type: str = "default"
    head: str = "Default"
    weight: float = 1.0
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 1.0
    charge: float = 0.0
    multiplicity: float = 1.0
    source: str = ""

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_number)

    @property
    def is_charged(self) -> bool:
        """Whether it has a charge, or a multiplicity other than 1."""
        return (self.charge, self.multiplicity) != (0, 1)

    @property
    def volume(self) -> float:
        """Of the cell, Å^3; 0 where there is none."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def file(self) -> str:
        """Name of the file it was read from."""
        return self.source.rpartition(", frame ")[0]


def sound(frame: Frame) -> Frame:
    """The same frame.

    Raises `ValueError` where a number is not finite, forces are too few, or two atoms are
    at one place.
    """
    for name in ("position", "cell", "energy", "forces", "stress", "weight"):
        value = getattr(frame, name)
        if value is not None and not np.all(np.isfinite(value)):
            raise ValueError(
                f"{frame.source}: {name} holds NaN or infinity; remove the frame."
            )
    if frame.forces is not None and frame.forces.shape != (frame.n_atoms, 3):
        raise ValueError(
            f"{frame.source}: forces have the shape {frame.forces.shape}; three components "
            f"for each of the {frame.n_atoms} atoms are wanted."
        )
    try:
        require_apart(frame.position, frame.cell, frame.pbc)
    except ValueError as error:
        raise ValueError(f"{frame.source}: {error}") from None
    return frame


def stress_label(
    stress: Any, virial: Any, cell: np.ndarray, where: str
) -> np.ndarray | None:
    """The stress [3, 3], eV/Å^3, or -virial / volume; None where neither is given."""
    volume = abs(np.linalg.det(cell))
    for name, value in (("stress", stress), ("virial", virial)):
        if value is None:
            continue
        matrix = _matrix(np.asarray(value, np.float64), where)
        if volume == 0 and np.any(matrix):
            raise ValueError(
                f"{where} has a {name} and no cell; give the cell, or remove the {name}."
            )
        return matrix if name == "stress" or volume == 0 else -matrix / volume
    return None


def _matrix(stress: np.ndarray, where: str) -> np.ndarray:
    if stress.size == 9:
        return stress.reshape(3, 3)
    if stress.size == 6:  # Voigt: xx yy zz yz xz xy
        xx, yy, zz, yz, xz, xy = stress.ravel()
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    raise ValueError(f"{where}: stress has {stress.size} numbers; 6 or 9 are allowed.")
