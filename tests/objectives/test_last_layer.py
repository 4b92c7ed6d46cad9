"""Errors of energies from the last layer."""

import dataclasses

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jaxdiff.calculator import predict_atoms
from jaxdiff.io.frame import Frame
from jaxdiff.objectives.last_layer import energy_feature, fit_last_layer
from jaxdiff.potential import cast

LAST = {"0": "linear", "1": "linear_2"}


def crystals(count, seed):
    """Small cells of LiF that differ in volume and in where the atoms are."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk("LiF", "rocksalt", a=rng.uniform(3.9, 4.3)) * (2, 1, 1)
        atoms.positions += rng.normal(0, 0.15, (4, 3))
        found.append(atoms)
    return found


def frame(atoms: ase.Atoms, energy: float | None) -> Frame:
    cell, pbc = atoms.cell.array, atoms.pbc
    return Frame(atoms.numbers, atoms.positions, cell, pbc, energy, None, None)


def moved(model, change):
    """The model with its last weights moved by a function of each."""
    readouts = dict(model.weights["readouts"])
    for i, name in LAST.items():
        readouts[i] = readouts[i] | {name: change(readouts[i][name])}
    weights = model.weights | {"readouts": readouts}
    return dataclasses.replace(model, weights=weights)


def last_weights(model):
    return np.concatenate(
        [np.asarray(model.weights["readouts"][i][name]).ravel() for i, name in LAST.items()]
    )


@pytest.mark.slow
def test_the_energy_is_linear_in_the_last_weights(model):
    (atoms,) = crystals(1, seed=0)
    feature = energy_feature(model, atoms)
    more = moved(model, lambda w: 3 * w)
    difference = predict_atoms(more, atoms).energy - predict_atoms(model, atoms).energy
    assert abs(difference) > 1e-3
    assert 2 * feature @ last_weights(model) == pytest.approx(difference, rel=1e-9)


@pytest.fixture(scope="module")
def posterior(model):
    """Of a model whose last weights are not quite those that made the labels."""
    key = jax.random.key(3)
    truth = moved(model, lambda w: w + 0.05 * jax.random.normal(key, w.shape))
    rng = np.random.default_rng(5)
    sets = []
    for count, seed in ((40, 1), (40, 2)):
        energies = [predict_atoms(truth, a).energy for a in crystals(count, seed)]
        noise = rng.normal(0, 1e-3, count)
        pairs = zip(crystals(count, seed), energies, noise, strict=True)
        sets.append([frame(atoms, float(e + n)) for atoms, e, n in pairs])
    return truth, fit_last_layer(model, *sets)


@pytest.mark.slow
def test_standard_errors_cover_the_truth(model, posterior):
    truth, found = posterior
    assert (found.n_train, found.n_valid) == (40, 20)
    assert found.within_two > 0.7
    score = []
    for one, other in zip(crystals(12, seed=8), crystals(12, seed=9), strict=True):
        difference = energy_feature(model, one) - energy_feature(model, other)
        error = sum(
            sign * (predict_atoms(truth, a).energy - predict_atoms(model, a).energy)
            for a, sign in ((one, 1), (other, -1))
        )
        score.append(error / found.standard_error(difference))
    assert 0.2 < np.sqrt(np.mean(np.square(score))) < 3


def test_errors_that_two_energies_share_cancel(model, posterior):
    _, found = posterior
    (atoms,) = crystals(1, seed=8)
    near = atoms.copy()
    near.positions[0] += 1e-3
    one, other = energy_feature(model, atoms), energy_feature(model, near)
    assert found.standard_error(one) > 0
    assert found.standard_error(one - other) < 0.1 * found.standard_error(one)


def test_frames_without_energies(model):
    few = [frame(atoms, None) for atoms in crystals(5, seed=1)]
    with pytest.raises(ValueError, match="0 of 5 frames have an energy; .* 4 frames"):
        fit_last_layer(model, few, few)


def test_precision_of_the_model_does_not_matter(model, posterior):
    (atoms,) = crystals(1, seed=0)
    single = energy_feature(cast(model, jnp.float32), atoms)
    np.testing.assert_allclose(single, energy_feature(model, atoms), rtol=1e-4)
