"""A crystal at rest, at 0 K: its cell under no stress, and its bulk modulus.

Searches are ASE's, over strain and positions together, with the model as its calculator.
Without zero-point motion; forces and stress are in the precision of the calculator.
"""

from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from jaxdiff.analysis.equation_of_state import StaticLattice, equation_of_state

STRAINS = np.linspace(-0.02, 0.02, 9)
"""Of the edges of a cell, for a bulk modulus."""

_LARGEST_FORCE = 1e-5  # eV/Å; of the cell: eV per strain and atom
_MAX_STEPS = 500
_WIDEST = 1.5  # a volume that changes by more belongs to another crystal


def relax_cell(atoms: ase.Atoms, calculator: Calculator) -> ase.Atoms:
    """The crystal without forces and stress, from where it is.

    Raises `ValueError` where the search does not end, or ends in another crystal.
    """
    found = _at_rest(atoms, calculator, constant_volume=False)
    found.calc = None
    return found


def bulk_modulus(atoms: ase.Atoms, calculator: Calculator) -> StaticLattice:
    """B = V d²E/dV² of a crystal at rest, from Birch and Murnaghan's equation.

    At each of the volumes of `STRAINS` positions and the shape of the cell are relaxed, as
    under hydrostatic pressure. `lattice_constant` of the result is the cube root of the
    volume of `atoms`' cell, Å, and `energy` that of this cell, eV.
    """
    edges, energies = [], []
    for strain in STRAINS:
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
        found = _at_rest(strained, calculator, constant_volume=True)
        edges.append(found.cell.volume ** (1 / 3))
        energies.append(found.get_potential_energy())
    return equation_of_state(np.array(edges), np.array(energies))


def _at_rest(
    atoms: ase.Atoms, calculator: Calculator, *, constant_volume: bool
) -> ase.Atoms:
    found = atoms.copy()
    found.calc = calculator
    before = found.cell.volume
    target: Any = FrechetCellFilter(found, constant_volume=constant_volume)
    search = BFGS(target, logfile=None)
    for is_done in search.irun(fmax=_LARGEST_FORCE, steps=_MAX_STEPS):
        change = abs(np.log(found.cell.volume / before))
        if not (np.isfinite(found.get_potential_energy()) and change < np.log(_WIDEST)):
            raise ValueError(
                f"the cell goes from {before:.4g} to {found.cell.volume:.4g} Å^3 while it "
                "is relaxed: the model has no such crystal near the one given."
            )
        if is_done:
            return found
    raise ValueError(
        f"the cell is not at rest after {_MAX_STEPS} steps; give a crystal that is nearer "
        "to a minimum of this model."
    )
