"""Descriptors of frames for selection: which atoms count, and what models say of them."""

import dataclasses
from collections.abc import Sequence

import ase
import numpy as np
from ase.data import atomic_numbers
from ase.geometry import get_distances
from jaxtyping import Bool, Float

from jaxdiff.calculator import predict_atoms
from jaxdiff.descriptors import describe_atoms
from jaxdiff.finetune.selection import force_deviation
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.models.contract import Model
from jaxdiff.observables.defect_centers import defect_centers

ALL, DEFECT = "all", "defect"


@dataclasses.dataclass(frozen=True)
class Around:
    """Which atoms of a frame are described.

    - `atoms`: "all", "defect", or the symbol of an element.
    - `radius`, Å: of "defect", how far from one an atom may be.
    - `mobile`: of "defect", the element of the cations; all others are anions.
    """

    atoms: str = ALL
    radius: float = 4.0
    mobile: str = "Li"

    def __post_init__(self) -> None:
        """Refuse what is no element, and empty spheres."""
        if self.atoms not in (ALL, DEFECT) and self.atoms not in atomic_numbers:
            raise ValueError(
                f"around {self.atoms!r} is not known; give {ALL}, {DEFECT} or the symbol "
                "of an element."
            )
        if self.mobile not in atomic_numbers:
            raise ValueError(f"mobile {self.mobile!r} is no element; give one such as Li.")
        if not self.radius > 0:
            raise ValueError(f"a radius of {self.radius} Å; it must be positive.")


def described_atoms(atoms: ase.Atoms, around: Around) -> Bool[np.ndarray, " atoms"]:
    """Which atoms count; none where a frame has no defect and defects were asked for.

    Defects are found in rock salt only, in supercells of conventional cells along the
    axes of the cell. Atoms are near a defect if any periodic image of them is.
    """
    if around.atoms == ALL:
        return np.ones(len(atoms), bool)
    if around.atoms != DEFECT:
        return np.isin(atoms.numbers, atomic_numbers[around.atoms])
    is_mobile = np.equal(atoms.numbers, atomic_numbers[around.mobile])
    if is_mobile.all() or not is_mobile.any() or not np.all(atoms.pbc):
        raise ValueError(
            f"defects are found in periodic crystals of {around.mobile} and anions; this "
            f"is {atoms.get_chemical_formula()}, pbc {atoms.pbc.tolist()}. Describe the "
            "atoms around all or one element."
        )
    cell = np.asarray(atoms.cell.array, float)
    supercell = Supercell.guess(ROCK_SALT, cell, int((~is_mobile).sum()))
    centers = defect_centers(supercell, cell, atoms.positions, is_mobile)
    if len(centers) == 0:
        return np.zeros(len(atoms), bool)
    _, distance = get_distances(atoms.positions, centers, cell=cell, pbc=True)
    return np.asarray(distance.min(axis=1) <= around.radius)


def frame_environments(
    model: Model, atoms: ase.Atoms, around: Around
) -> tuple[Float[np.ndarray, "environments features"], bool]:
    """Descriptors of the atoms that count, float64, and whether there were any.

    In a frame without a defect all atoms count: nothing in it would be described
    otherwise, and it could not be compared with the others.
    """
    chosen = described_atoms(atoms, around)
    found = bool(chosen.any())
    if not found and around.atoms != DEFECT:
        raise ValueError(
            f"{atoms.get_chemical_formula()} has no {around.atoms}; describe the atoms "
            "around an element that every frame has."
        )
    feature = np.asarray(describe_atoms(model, atoms), np.float64)
    return (feature[chosen] if found else feature), found


@dataclasses.dataclass(frozen=True)
class Deviation:
    """Standard deviations over models of one frame.

    - `force`: of the force on the atom that is disputed most, eV/Å.
    - `energy`: of the total energy, eV per atom.
    """

    force: float
    energy: float


def committee_deviation(
    models: Sequence[Model], atoms: ase.Atoms, head: str | int | None = None
) -> Deviation:
    """How much models disagree on one frame; see `selection.force_deviation`."""
    predicted = [predict_atoms(model, atoms, head) for model in models]
    forces = np.stack([np.asarray(p.forces, np.float64) for p in predicted])
    energy = np.array([float(p.energy) for p in predicted]) / len(atoms)
    return Deviation(float(force_deviation(forces).max()), float(energy.std()))


def check_committee(models: Sequence[Model], names: Sequence[str]) -> None:
    """Refuse a committee of one, and models that do not know the same elements."""
    if len(models) < 2:
        raise ValueError(
            f"a committee of {len(models)} model cannot disagree; give two or more."
        )
    first = set(models[0].species)
    for model, name in zip(models[1:], names[1:], strict=True):
        if set(model.species) != first:
            raise ValueError(
                f"{name} knows {len(model.species)} elements, "
                f"{names[0]} {len(first)}, and they are not the same ones; the models of a "
                "committee know the same. `jaxdiff model convert --species` removes some."
            )
