"""What a user of ASE expects of a calculator besides right numbers."""

import pickle

import jax
import numpy as np
import pytest
from ase.build import bulk

from jaxdiff.calculator import MaceCalculator, dispersion_of, mace_mp
from jaxdiff.checkpoints import FOUNDATIONS
from jaxdiff.checkpoints.errors import CheckpointError


@pytest.fixture(scope="module")
def double():
    return MaceCalculator(precision="float64")


@pytest.fixture
def crystal():
    atoms = bulk("LiF", "rocksalt", a=4.05, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def test_a_calculator_that_travels_keeps_its_precision(double, crystal):
    """It wakes up where float64 is off, as in a process that was spawned."""
    with jax.enable_x64(False):
        travelled = pickle.loads(pickle.dumps(double))
    energies = []
    for calculator in (double, travelled):
        atoms = crystal.copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1]
    assert travelled.model.dtype == np.float64


@pytest.mark.parametrize(
    ("moved", "pbc"),
    [([0, 0, 0], True), ([1, 0, -2], True), ([0, 0, 0], False)],
)
def test_two_atoms_at_one_place_are_named(double, crystal, moved, pbc):
    crystal.pbc = pbc
    crystal.positions[5] = crystal.positions[2] + moved @ crystal.cell.array + 1e-4
    crystal.calc = double
    with pytest.raises(ValueError, match=r"atoms 2 and 5 .* are 0\.00017 Å apart"):
        crystal.get_potential_energy()


def test_an_image_beyond_a_cell_that_ends_is_another_place(double, crystal):
    crystal.pbc = False
    crystal.positions[5] = crystal.positions[2] + crystal.cell.array[0]
    crystal.calc = double
    assert np.isfinite(crystal.get_potential_energy())


def test_keywords_of_mace_torch(crystal):
    calculator = MaceCalculator(
        model_paths=["lif-compact"], device="cpu", default_dtype="float64"
    )
    assert calculator.model.dtype == np.float64
    crystal.calc = calculator
    assert np.isfinite(crystal.get_forces()).all()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"enable_cueq": True}, "has no enable_cueq; leave that out"),
        ({"device": "abacus"}, "device='abacus'; JAX has cpu here"),
        ({"device": "cpu:99"}, "device='cpu:99'; JAX has cpu here"),
        ({"model_paths": ["a.model", "b.model"]}, "model_paths names 2 files"),
        ({"default_dtype": "half"}, "use 'float32' or 'float64'"),
    ],
)
def test_other_keywords_get_a_sentence(keywords, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MaceCalculator(**keywords)


def test_names_of_mace_torch():
    with pytest.raises(CheckpointError, match="mace-mpa-0-medium has not been fetched"):
        mace_mp()
    with pytest.raises(CheckpointError, match="mace-mp-0a-small has not been fetched"):
        mace_mp("small")
    assert mace_mp("lif-compact").model.dtype == np.float32
    names = [known.upstream for known in FOUNDATIONS.values() if known.upstream]
    assert len(set(names)) == len(names) == 16


def test_dispersion_is_that_of_mace_mp(crystal):
    """Energy, forces and stress of both; energies of atoms there are none."""
    pure, both = (
        MaceCalculator("lif-compact", default_dtype="float64", **more)
        for more in ({}, {"dispersion": True, "dispersion_xc": "pbe", "damping": "bj"})
    )
    found = {}
    for name, calculator in (("pure", pure), ("both", both)):
        crystal.calc = calculator
        found[name] = [
            crystal.get_potential_energy(),
            crystal.get_forces(),
            crystal.get_stress(voigt=False),
        ]
    energy, forces, strain = dispersion_of(crystal, "pbe")
    expected = energy, forces, strain / crystal.get_volume()
    for pure_one, sum_of_both, own in zip(
        found["pure"], found["both"], expected, strict=True
    ):
        np.testing.assert_allclose(sum_of_both - pure_one, own, rtol=0, atol=1e-10)
    assert energy < -0.1
    assert "energies" not in both.results
    crystal.calc = None


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"damping": "zero"}, r"damping='zero'; .* use damping='bj'"),
        ({"dispersion_xc": "nothing"}, r"'nothing' has no parameters .* pbe, "),
    ],
)
def test_dispersion_that_is_not_offered(keywords, message):
    with pytest.raises(ValueError, match=message):
        MaceCalculator("lif-compact", dispersion=True, **keywords)
