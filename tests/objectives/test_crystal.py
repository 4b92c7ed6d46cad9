"""A crystal at rest, its bulk modulus and its vibrations, found in other ways."""

import ase
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ions_family import ions
from scipy.optimize import brentq

from jaxdiff import units
from jaxdiff.calculator import MaceCalculator, predict_atoms
from jaxdiff.objectives.crystal import bulk_modulus, relax_cell
from jaxdiff.objectives.harmonic import hessian
from jaxdiff.objectives.phonons import commensurate, phonons
from jaxdiff.objectives.saddle import THZ
from jaxdiff.objectives.surface import make_surface
from jaxdiff.system import from_ase

CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])


def cell(a):
    return bulk("LiF", "rocksalt", a=a)


def pressure(model, a):
    """Of LiF at a lattice constant, eV/Å^3."""
    return -np.trace(predict_atoms(model, cell(a)).stress) / 3


@pytest.fixture(scope="module")
def at_rest():
    """Lattice constant at which the pressure of the ions is zero, Å."""
    return brentq(lambda a: pressure(ions(), a), 3.4, 3.9, xtol=1e-9)


def test_the_cell_is_that_without_pressure(at_rest):
    """From a sheared start."""
    start = cell(3.7)
    start.set_cell(start.cell.array @ (np.eye(3) + [[0, 0.02, 0], [0, 0, 0.01], [0] * 3]))
    found = relax_cell(start, MaceCalculator(ions()))
    assert found.cell.lengths() == pytest.approx([at_rest / 2**0.5] * 3, abs=1e-4)
    assert found.cell.angles() == pytest.approx([60] * 3, abs=1e-2)


def test_the_bulk_modulus_is_the_slope_of_the_pressure(at_rest):
    found = bulk_modulus(cell(at_rest), MaceCalculator(ions()))
    step = 1e-4
    slope = (pressure(ions(), at_rest * (1 + step)) - pressure(ions(), at_rest)) / step
    assert found.bulk_modulus == pytest.approx(-slope / 3 / units.GIGAPASCAL, rel=5e-3)
    assert found.lattice_constant == pytest.approx(at_rest / 4 ** (1 / 3), abs=1e-4)


def test_ions_that_repel_are_no_crystal():
    with pytest.raises(ValueError, match=r"the cell goes from 16 to .* no such crystal"):
        relax_cell(cell(4.0), MaceCalculator(ions(0.0)))


@pytest.mark.parametrize(
    ("repeats", "number"),
    [(2 * CUBIC, 32), (np.diag([2, 1, 3]), 6), ([[1, 1, 0], [0, 2, 0], [1, 0, 1]], 2)],
)
def test_waves_that_fit_into_a_supercell(repeats, number):
    """As many as it has cells, and a whole number of turns along each of its vectors."""
    waves = commensurate(np.array(repeats))
    assert len(waves) == number
    np.testing.assert_array_equal(waves[0], 0)
    turns = waves @ np.array(repeats).T
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-7)


@pytest.mark.parametrize("repeats", [CUBIC, np.array([[2, 0, 0], [1, 1, 0], [0, 0, 1]])])
def test_frequencies_are_those_of_the_whole_supercell(at_rest, repeats):
    """Of all its coordinates together, translations aside; found from no wave."""
    model, atoms = ions(), cell(at_rest)
    found = phonons(model, atoms, repeats)
    system = from_ase(make_supercell(atoms, repeats))
    surface = make_surface(model, system)
    whole = hessian(model, surface, jnp.asarray(system.position))
    root = np.repeat(np.sqrt(system.mass), 3)
    square = np.linalg.eigvalsh(whole / np.outer(root, root))
    frequency = np.sort(np.sign(square) * np.sqrt(np.abs(square)) * THZ)
    frequency = np.delete(frequency, np.argsort(np.abs(frequency))[:3])
    own = np.sort(found.frequency_thz[np.isfinite(found.frequency_thz)])
    np.testing.assert_allclose(own, frequency, atol=1e-5)
    assert found.highest_thz == pytest.approx(frequency[-1])
    assert found.at_gamma_thz == pytest.approx([found.at_gamma_thz[0]] * 3)  # cubic
    assert found.instability() == ""


def test_at_gamma_both_sublattices_move_against_each_other(at_rest):
    """From the force on a displaced atom, with the reduced mass of both."""
    atoms = cell(at_rest)
    atoms.positions[0, 2] += 1e-4
    stiffness = -predict_atoms(ions(), atoms).forces[0, 2] / 1e-4
    reduced = 1 / sum(1 / atoms.get_masses())
    expected = np.sqrt(stiffness / reduced) * THZ
    found = phonons(ions(), cell(at_rest), np.eye(3, dtype=int))
    assert found.at_gamma_thz == pytest.approx([expected] * 3, rel=1e-5)


def test_an_unstable_crystal_says_which_wave():
    """A chain of Li and F far from its sites, in a cell too wide: it would pair."""
    atoms = ase.Atoms("LiF", [[0, 0, 0], [2.4, 0, 0]], cell=[4.8, 6, 6], pbc=True)
    found = phonons(ions(), atoms, np.diag([2, 1, 1]))
    assert found.n_imaginary > 0
    assert "i THz at q = (" in found.instability()
