"""DFT-D3 as the `dftd3` package computes it, and structures on which it is compared."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jaxdiff.models.dispersion import CUTOFF
from jaxdiff.units import BOHR, HARTREE


def structures() -> dict[str, Atoms]:
    """Crystals of few atoms, so of many images; a molecule, and every element at once."""
    lif = bulk("LiF", "rocksalt", a=4.03)
    lif.rattle(0.1, seed=1)
    sheared = bulk("MgO", "rocksalt", a=4.2) * (2, 1, 1)
    sheared.rattle(0.1, seed=2)
    sheared.set_cell(sheared.cell.array + [[0.2, 0, 0.3], [0, 0.1, 0], [0, 0.3, 0]])
    plutonia = bulk("PuO2", "fluorite", a=5.40)
    plutonia.rattle(0.1, seed=3)
    layer = Atoms("BN", [[0, 0, 0], [1.25, 0.72, 0.3]], pbc=[True, True, False])
    layer.set_cell([[2.5, 0, 0], [1.25, 2.165, 0], [0, 0, 9]])
    doped = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    doped.symbols[0] = "Pu"
    doped.rattle(0.1, seed=2)
    doped.set_cell(doped.cell.array + [[0.2, 0, 0.3], [0, 0.1, 0], [0, 0.3, 0]])
    grid = np.array(list(np.ndindex(5, 5, 5))[:103], float)
    every = Atoms(np.arange(1, 104), 2.6 * grid)
    every.rattle(0.4, seed=4)
    return {
        "lif": lif,
        "sheared": sheared,
        "plutonia": plutonia,
        "layer": layer,
        "doped": doped,
        "ethanol": molecule("CH3CH2OH"),
        "every element": every,
    }


def reference(atoms: Atoms, functional="pbe", cutoff=CUTOFF, three_body=None):
    """Energy, eV, forces, eV/Å, and dE/dstrain, eV, of `dftd3`."""
    model, damping = _model(atoms, functional, cutoff, three_body)
    found = model.get_dispersion(damping, grad=True)
    energy, slope = found["energy"] * HARTREE, found["gradient"] * HARTREE / BOHR
    return float(energy), -slope, found["virial"] * HARTREE


def three_body_reference(atoms: Atoms, cutoff: float):
    """As `reference`, of the three-body term alone."""
    pairs = zip(reference(atoms, three_body=cutoff), reference(atoms), strict=True)
    return [both - alone for both, alone in pairs]


def reference_hessian(atoms: Atoms, functional="pbe", cutoff=CUTOFF):
    """Second derivatives [3 atoms, 3 atoms], eV/Å^2, of `dftd3`."""
    model, damping = _model(atoms, functional, cutoff, None)
    return model.get_hessian(damping)["hessian"] * HARTREE / BOHR**2


def _model(atoms, functional, cutoff, three_body):
    interface = pytest.importorskip("dftd3.interface", reason="dftd3 is not installed")
    cell = {"lattice": atoms.cell.array / BOHR, "periodic": atoms.pbc}
    cell = cell if atoms.pbc.any() else {}
    model = interface.DispersionModel(atoms.numbers, atoms.positions / BOHR, **cell)
    far, near = cutoff / BOHR, min(cutoff, CUTOFF) / BOHR
    model.set_realspace_cutoff(disp2=far, disp3=(three_body or 1.0) / BOHR, cn=near)
    kind = interface.RationalDampingParam
    return model, kind(method=functional, atm=three_body is not None)
