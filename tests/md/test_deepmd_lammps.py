"""DeepPot-SE gives LAMMPS the forces that it gives ASE."""

import importlib.util

import jax
import numpy as np
import pytest
from ase.build import bulk
from deepmd_oracle import weak
from ionic import load_lammps

from jaxdiff.calculator import MaceCalculator
from jaxdiff.lammps import drive

if importlib.util.find_spec("lammps") is None:
    pytest.skip("LAMMPS's Python module is not installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def as_users_have_it():
    """JAX's own rules of promotion: models are not written for the strict ones."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.long
def test_forces_in_lammps():
    model = weak()
    atoms = bulk("LiF", "rocksalt", a=4.0, cubic=True) * 2
    atoms.rattle(0.1, seed=1)
    atoms.calc = MaceCalculator(model)
    started = load_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
    started.commands_string(
        "units metal\natom_style atomic\natom_modify map array\n"
        "region box block 0 8 0 8 0 8\ncreate_box 2 box\nmass 1 6.94\nmass 2 19.0\n"
        "pair_style zero 5.0\npair_coeff * *"
    )
    kind = np.where(atoms.numbers == 3, 1, 2)
    started.create_atoms(
        len(atoms), list(range(1, len(atoms) + 1)), kind.tolist(), atoms.positions.ravel()
    )
    drive(started, model, ["Li", "F"], precision="float64", tolerance=None)
    started.command("run 0")
    order = np.argsort(started.numpy.extract_atom("id")[: len(atoms)])
    forces = started.numpy.extract_atom("f")[: len(atoms)][order]
    np.testing.assert_allclose(forces, atoms.get_forces(), rtol=0, atol=1e-10)
    started.close()
