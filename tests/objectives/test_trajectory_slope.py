"""Derivatives through a trajectory: both modes, and differences of trajectories."""

import dataclasses

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.objectives.surface import make_surface
from jaxdiff.objectives.trajectory import trajectory, trajectory_slope
from jaxdiff.system import from_ase

N_STEPS = 15
HOW = {"timestep": 0.125, "n_steps": N_STEPS}
SPRINGS = {"stiffness": 2.0, "length": 1.1}


def springs(params, position):
    """Of three atoms, anharmonic."""
    apart = position[jnp.array([1, 2, 2])] - position[jnp.array([0, 0, 1])]
    distance = jnp.sqrt(jnp.sum(apart**2, axis=-1))
    return params["stiffness"] * jnp.sum((distance - params["length"]) ** 4)


@pytest.fixture
def atoms():
    """Positions, velocities and masses of the three."""
    position = jnp.array([[0.0, 0.1, 0], [1.6, 0, 0.2], [0.3, 1.9, 0]])
    velocity = jnp.array([[0.1, 0, 0.3], [-0.2, 0.4, 0], [0, -0.5, 0.1]])
    return position, velocity, jnp.array([1.0, 2.0, 3.0])


def test_positions_are_those_of_velocity_verlet(atoms):
    position, velocity, mass = atoms
    found = trajectory(springs, SPRINGS, *atoms, **HOW)
    x, v, half = position, velocity, HOW["timestep"] / 2

    def acceleration(x):
        return -jax.grad(springs, argnums=1)(SPRINGS, x) / mass[:, None]

    for step in range(N_STEPS):
        v = v + half * acceleration(x)
        x = x + HOW["timestep"] * v
        v = v + half * acceleration(x)
        np.testing.assert_allclose(found[step], x, rtol=0, atol=1e-12)


def compare_with_differences(energy, params, direction, atoms, size, rel):
    """Forward mode, reverse mode and a difference of a function of the last positions."""

    @jax.jit
    def last(params):
        end = trajectory(energy, params, *atoms, **HOW)[-1]
        return jnp.sum((end - atoms[0]) ** 2)

    position, slope = trajectory_slope(energy, params, direction, *atoms, **HOW)
    forward = 2 * float(jnp.vdot(position[-1] - atoms[0], slope[-1]))
    gradient = jax.jit(jax.grad(last))(params)
    products = jax.tree.map(jnp.vdot, gradient, direction)
    assert sum(map(float, jax.tree.leaves(products))) == pytest.approx(forward, rel=1e-9)
    up, down = (
        float(last(jax.tree.map(lambda w, d, s=s: w + s * size * d, params, direction)))
        for s in (1, -1)
    )
    assert (up - down) / (2 * size) == pytest.approx(forward, rel=rel)


@pytest.mark.parametrize("name", SPRINGS)
def test_both_modes_are_differences_of_trajectories(atoms, name):
    params = {k: jnp.asarray(v) for k, v in SPRINGS.items()}
    direction = {k: jnp.asarray(float(k == name)) for k in SPRINGS}
    compare_with_differences(springs, params, direction, atoms, 1e-5, 1e-7)


@pytest.mark.long
def test_all_weights_of_a_mace_model(model):
    crystal = ase.build.bulk("LiF", "rocksalt", a=4.08, cubic=True)
    rng = np.random.default_rng(3)
    crystal.positions += rng.normal(0, 0.1, (8, 3))
    surface = make_surface(model, from_ase(crystal))
    velocity = jnp.asarray(rng.normal(0, 0.05, (8, 3)))
    leaves, form = jax.tree.flatten(model.weights)
    noise = [jnp.asarray(rng.normal(0, 0.1, np.shape(leaf))) for leaf in leaves]

    def energy(weights, x):
        return surface.energy(dataclasses.replace(model, weights=weights), x)

    moving = jnp.asarray(crystal.positions), velocity, surface.mass
    compare_with_differences(
        energy, model.weights, form.unflatten(noise), moving, 1e-4, 1e-5
    )
