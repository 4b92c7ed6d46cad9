"""Lattice constant, bulk modulus and relaxed interstitial of a LiF model, with ASE.

python training/validate_lif.py lif-compact [--relaxation-steps N]
"""

from typing import Annotated

import numpy as np
import typer
from ase import units
from ase.build import bulk
from ase.eos import EquationOfState
from ase.geometry import get_distances
from ase.optimize import FIRE

from jaxdiff.calculator import MaceCalculator
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.system import to_ase

STUDY_CELL = 4.083428  # Å, the edge at which the study runs its dynamics
ISOLATED = (-202.82202355577203, -803.8441491412796)  # eV, Li and F, DFT of the data


def main(
    model: Annotated[str, typer.Argument(help="A file or a name.")] = "lif-compact",
    relaxation_steps: Annotated[
        int, typer.Option(min=0, help="Of the interstitial, at most.")
    ] = 500,
) -> None:
    """Print properties of a LiF model next to those of DFT."""
    calculator = MaceCalculator(model, precision="float64")
    a0, modulus = equation_of_state(calculator)
    print(f"lattice constant   {a0:.4f} Å      DFT of the data: 4.065 +- 0.001")
    print(f"bulk modulus       {modulus:.1f} GPa      PBE: 66 to 70")
    crystal = bulk("LiF", "rocksalt", a=STUDY_CELL, cubic=True)
    crystal.calc = calculator
    cohesive = crystal.get_potential_energy() / 8 - np.mean(ISOLATED)
    pressure = -crystal.get_stress()[:3].mean() / units.GPa
    print(f"at a = {STUDY_CELL} Å (static crystal):")
    print(f"  energy           {cohesive:.4f} eV/atom  DFT of the data: -4.7568")
    print(f"  pressure         {pressure:.2f} GPa     DFT of the data: -0.88")
    expanded(calculator, a0)
    interstitial(calculator, relaxation_steps)


def equation_of_state(calculator) -> tuple[float, float]:
    """Lattice constant, Å, and bulk modulus, GPa, of a Birch-Murnaghan fit."""
    volumes, energies = [], []
    for a in np.linspace(3.95, 4.17, 12):
        crystal = bulk("LiF", "rocksalt", a=a, cubic=True)
        crystal.calc = calculator
        volumes.append(crystal.get_volume())
        energies.append(crystal.get_potential_energy())
    fit = EquationOfState(volumes, energies, eos="birchmurnaghan")
    v0, _, modulus = fit.fit()
    return v0 ** (1 / 3), modulus / units.GPa


def expanded(calculator, a0: float) -> None:
    """Energies of crystals larger than any of the data, above that at rest."""
    at_rest, *larger = (
        bulk("LiF", "rocksalt", a=a, cubic=True) for a in (a0, 4.2, 4.6, 5.0, 5.5)
    )
    at_rest.calc = calculator
    print("larger crystals, static, above the one at rest:")
    for crystal in larger:
        crystal.calc = calculator
        above = (crystal.get_potential_energy() - at_rest.get_potential_energy()) / 8
        print(f"  a = {crystal.cell[0, 0]:.1f} Å        {above:.3f} eV/atom")


def interstitial(calculator, steps: int) -> None:
    """Relax one extra lithium in 3 x 3 x 3 cells and say where it ends."""
    atoms = to_ase(rock_salt_interstitial(3, STUDY_CELL))
    atoms.rattle(0.02, seed=1)
    atoms.calc = calculator
    FIRE(atoms, logfile=None).run(fmax=0.005, steps=steps)
    lithium = atoms[atoms.numbers == 3]
    _, distance = get_distances(lithium.positions, cell=atoms.cell, pbc=True)
    np.fill_diagonal(distance, np.inf)
    nearest = np.sort(distance.min(axis=1))[0]
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    pair = lithium.positions[[i]], lithium.positions[[j]]
    vector = get_distances(*pair, cell=atoms.cell, pbc=True)[0].ravel()
    axis = np.abs(vector) / nearest
    print("relaxed interstitial, 217 atoms:")
    hot = "hot DFT frames: 2.1, sharing a site: 2.23"
    print(f"  closest Li pair  {nearest:.2f} Å      {hot}")
    print(f"  direction        {np.sort(axis).round(2)}  <111> is 0.58 0.58 0.58")
    perfect = bulk("LiF", "rocksalt", a=STUDY_CELL, cubic=True)
    perfect.calc = calculator
    per_pair = perfect.get_potential_energy() / 4
    extra = atoms.get_potential_energy() - 108 * per_pair
    extra -= ISOLATED[0]
    print(f"  energy of adding an isolated Li atom: {extra:.2f} eV")


if __name__ == "__main__":
    typer.run(main)
