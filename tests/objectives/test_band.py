"""Nudged elastic bands: known saddles, ASE's band on the same surface, many under vmap."""

import functools

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from ase.mep import NEB
from ase.optimize import FIRE
from surfaces import MINIMUM, SADDLE, SADDLE_ENERGY, muller_brown

from jaxdiff.objectives.band import (
    SPRING,
    band_force,
    find_band,
    idpp,
    straight,
    tangents,
)


def test_the_climbing_image_is_the_saddle_of_muller_and_brown():
    path = straight(*map(jnp.asarray, MINIMUM), 9)
    band = jax.jit(functools.partial(find_band, muller_brown, largest_force=1e-5))(path)
    assert bool(band.converged)
    top = int(jnp.argmax(band.energy))
    np.testing.assert_allclose(band.position[top], SADDLE, atol=1e-4)
    assert float(band.energy[top]) == pytest.approx(SADDLE_ENERGY, abs=1e-7)


def test_tangents_point_to_the_higher_neighbour():
    position = jnp.array([[[0.0, 0, 0]], [[1.0, 0, 0]], [[1.0, 1, 0]]])
    up, down = jnp.array([0.0, 1, 2]), jnp.array([2.0, 1, 0])
    np.testing.assert_allclose(tangents(position, up)[0], [[0, 1, 0]])
    np.testing.assert_allclose(tangents(position, down)[0], [[1, 0, 0]])
    top = tangents(position, jnp.array([0.0, 3, 1]))[0]  # the end is higher
    np.testing.assert_allclose(top, np.array([[2, 3, 0]]) / np.sqrt(13), rtol=1e-12)


def test_springs_act_along_the_path_and_forces_across_it():
    position = jnp.array([[[0.0, 0, 0]], [[1.0, 0, 0]], [[3.0, 0, 0]]])
    energy, force = jnp.array([0.0, 1, 2]), jnp.array([[[7.0, 0.5, 0]]])
    plain = band_force(position, energy, force, spring=2.0)
    np.testing.assert_allclose(plain, [[[2.0, 0.5, 0]]])
    climbing = band_force(position, energy, force, 0, spring=2.0)
    np.testing.assert_allclose(climbing, [[[-7.0, 0.5, 0]]])


class OfFunction(Calculator):
    """An ASE calculator of energy and force."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, energy_and_force):
        super().__init__()
        self.energy_and_force = energy_and_force

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties, system_changes)
        energy, force = self.energy_and_force(jnp.asarray(self.atoms.positions))
        self.results = {"energy": float(energy), "forces": np.asarray(force)}


def test_the_band_is_that_of_ase():
    """Another optimiser, the same springs and tangents: all images are the same."""
    path = straight(*map(jnp.asarray, MINIMUM), 7)
    band = jax.jit(functools.partial(find_band, muller_brown, largest_force=1e-5))(path)
    images = [ase.Atoms("X", positions=position) for position in np.asarray(path)]
    for image in images:
        image.calc = OfFunction(jax.jit(muller_brown))
    neb = NEB(images, climb=False, k=SPRING, method="improvedtangent")
    with FIRE(neb, logfile=None) as search:
        search.run(fmax=0.2, steps=500)
        neb.climb = True
        assert search.run(fmax=1e-5, steps=3000)
    theirs = np.array([image.positions for image in images])
    np.testing.assert_allclose(band.position, theirs, rtol=0, atol=1e-4)


def test_many_bands_are_what_each_is_alone():
    paths = jnp.stack(
        [straight(*map(jnp.asarray, MINIMUM), 5).at[1:-1, 0, 0].add(s) for s in (0, 0.1)]
    )
    find = functools.partial(find_band, muller_brown, largest_force=1e-3)
    both = jax.jit(jax.vmap(find))(paths)
    for k in range(2):
        alone = jax.jit(find)(paths[k])
        assert int(alone.steps) == int(both.steps[k])
        np.testing.assert_allclose(both.energy[k], alone.energy, rtol=1e-9)


def test_idpp_keeps_atoms_apart_where_a_straight_path_does_not():
    first = jnp.array([[4.0, 5, 5], [6.0, 5, 5]])
    cell = 10 * jnp.eye(3)
    last = first[::-1] + jnp.array([[0, 0.1, 0], [0, -0.1, 0]])  # the two change places

    def closest(path):
        return float(jnp.linalg.norm(path[:, 0] - path[:, 1], axis=-1).min())

    assert closest(straight(first, last, 5)) < 0.2
    assert closest(idpp(first, last, 5, cell, max_steps=2000)) > 1.5
