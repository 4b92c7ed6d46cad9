"""What any interatomic potential must obey, on a small random model."""

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from scipy.spatial.transform import Rotation

from jaxdiff.calculator import predict_atoms
from jaxdiff.models.edges import Edges
from jaxdiff.models.mace import layers
from jaxdiff.models.mace.radial import edge_features
from jaxdiff.potential import cast


@pytest.fixture
def atoms():
    atoms = bulk("LiF", "rocksalt", a=4.08) * (2, 2, 1)
    atoms.rattle(0.15, seed=5)
    return atoms


def test_rotation_and_reflection(model, atoms):
    matrix = -Rotation.random(rng=np.random.default_rng(2)).as_matrix()  # improper
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    one, other = predict_atoms(model, atoms), predict_atoms(model, turned)
    assert other.energy == pytest.approx(one.energy, abs=1e-10)
    np.testing.assert_allclose(other.forces, one.forces @ matrix.T, rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        other.stress, matrix @ one.stress @ matrix.T, rtol=0, atol=1e-12
    )


def test_order_of_atoms_and_choice_of_images(model, atoms):
    order = np.random.default_rng(0).permutation(len(atoms))
    shuffled = atoms[order]
    image = np.random.default_rng(1).integers(-2, 3, (len(atoms), 3))
    shuffled.positions += image @ atoms.cell.array + 0.37
    one, other = predict_atoms(model, atoms), predict_atoms(model, shuffled)
    assert other.energy == pytest.approx(one.energy, abs=1e-10)
    np.testing.assert_allclose(other.forces, one.forces[order], rtol=0, atol=1e-11)


def test_supercell_has_the_same_energy_per_atom(model, atoms):
    """The primitive cell is narrower than the cutoff: edges to images of one atom."""
    doubled = atoms * (2, 1, 3)
    one, other = predict_atoms(model, atoms), predict_atoms(model, doubled)
    assert other.energy / 6 == pytest.approx(one.energy, abs=1e-10)
    np.testing.assert_allclose(other.stress, one.stress, rtol=0, atol=1e-12)
    np.testing.assert_allclose(other.forces[: len(atoms)], one.forces, rtol=0, atol=1e-11)


def test_forces_are_differences_of_energy(model, atoms):
    step = 1e-4
    forces = predict_atoms(model, atoms).forces
    for atom, axis in [(0, 0), (3, 1), (5, 2)]:
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(predict_atoms(model, moved).energy)
        expected = -(energies[0] - energies[1]) / (2 * step)
        assert forces[atom, axis] == pytest.approx(expected, abs=1e-7)  # O(step^2) error


def test_stress_is_differences_of_energy(model, atoms):
    step = 1e-5
    stress = predict_atoms(model, atoms).stress
    for a, b in [(0, 0), (1, 2), (2, 0)]:
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(predict_atoms(model, strained).energy)
        expected = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert stress[a, b] == pytest.approx(expected, abs=1e-8)


def test_no_net_force(model, atoms):
    forces = predict_atoms(model, atoms).forces
    np.testing.assert_allclose(forces.sum(axis=0), 0, rtol=0, atol=1e-11)


@pytest.mark.slow
def test_energy_and_force_vanish_smoothly_at_the_cutoff(model):
    """The envelope ends as (1 - u)^3: the force as its square, and nothing beyond."""
    cutoff = model.architecture.cutoff

    def force(gap):
        pair = ase.Atoms("LiF", [[0, 0, 0], [0, 0, cutoff - gap]])
        return np.abs(predict_atoms(model, pair).forces).max()

    assert force(1e-2) / force(1e-3) == pytest.approx(100, rel=0.1)
    assert force(1e-3) < 1e-4
    assert force(-1e-3) == 0.0


@pytest.mark.slow
def test_padding_is_inert(model, atoms):
    rng = np.random.default_rng(0)
    displacement = rng.normal(0, 2.0, (6, 5, 3))
    sender = rng.integers(0, 6, (6, 5))
    species = jnp.asarray([0, 1, 0, 1, 0, 1])
    narrow = layers.node_energy(model, Edges(displacement, sender), species)
    far = np.concatenate([displacement, np.full((6, 3, 3), 600.0)], axis=1)
    padded = np.concatenate([sender, np.zeros((6, 3), int)], axis=1)
    wide = layers.node_energy(model, Edges(far, padded), species)
    np.testing.assert_allclose(wide, narrow, rtol=0, atol=1e-13)


def test_flat_edges_equal_rows(model):
    rng = np.random.default_rng(4)
    displacement = rng.normal(0, 2.0, (6, 5, 3))
    sender = rng.integers(0, 6, (6, 5))
    species = jnp.asarray([0, 1, 0, 1, 0, 1])
    rows = layers.node_energy(model, Edges(displacement, sender), species)
    receiver = np.repeat(np.arange(6), 5)
    flat = Edges(displacement.reshape(-1, 3), sender.ravel(), receiver)
    np.testing.assert_allclose(
        layers.node_energy(model, flat, species), rows, rtol=0, atol=1e-12
    )


def test_first_layer_by_species_equals_the_general_one(model, atoms, monkeypatch):
    rng = np.random.default_rng(4)
    edges = Edges(rng.normal(0, 2.0, (6, 5, 3)), rng.integers(0, 6, (6, 5)))
    species = jnp.asarray([0, 1, 0, 1, 0, 1])
    fast = layers.node_energy(model, edges, species)
    monkeypatch.setattr(layers, "MAX_TABULATED_SPECIES", 0)
    general = layers.node_energy(model, edges, species)
    np.testing.assert_allclose(fast, general, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_derivatives_over_weights_are_finite(model):
    rng = np.random.default_rng(4)
    edges = Edges(rng.normal(0, 2.0, (6, 5, 3)), rng.integers(0, 6, (6, 5)))
    species = jnp.asarray([0, 1, 0, 1, 0, 1])

    def total(weights):
        energy = layers.node_energy(model.replace(weights=weights), edges, species)
        return jnp.sum(energy**2)

    gradient = jax.grad(total)(model.weights)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
    assert np.all(np.isfinite(flat))
    assert np.mean(flat != 0) > 0.5


@pytest.mark.slow
def test_float32_is_close_to_float64(model, atoms):
    one, other = predict_atoms(model, atoms), predict_atoms(cast(model, "float32"), atoms)
    np.testing.assert_allclose(other.forces, one.forces, rtol=0, atol=2e-5)
    assert other.forces.dtype == np.float64
    assert other.energy == pytest.approx(one.energy, abs=1e-5)


def test_a_position_that_is_no_number(model, atoms):
    atoms.positions[3, 1] = np.nan
    with pytest.raises(ValueError, match="position of atom 3"):
        predict_atoms(model, atoms)


def test_an_element_that_the_model_does_not_know(model):
    with pytest.raises(ValueError, match="does not know Na; it knows Li, F"):
        predict_atoms(model, bulk("NaF", "rocksalt", a=4.6))


def test_constants_may_be_arrays_of_numpy_in_a_traced_function(model):
    """As they are where a model comes from a file and a function closes over it."""
    model = jax.tree.map(np.asarray, model)
    distance, species = jnp.linspace(1.0, 3.5, 4), jnp.array([0, 1, 1, 0])
    pair = species, species[::-1]
    for function in (edge_features, layers.repulsion):
        traced = jax.jit(lambda d, *pair, f=function: f(model, d, pair))(distance, *pair)
        np.testing.assert_allclose(traced, function(model, distance, pair), rtol=1e-13)
