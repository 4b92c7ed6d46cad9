"""Cheap potentials with the signature of the real one, for tests of the dynamics."""

import jax
import jax.numpy as jnp

from jaxdiff import neighbors as lists

CUTOFF = 4.0


def einstein(params, position, cell, neighbors):
    """Harmonic springs to `params["site"]`; needs no neighbours."""
    away = position - params["site"]
    stiffness = params["stiffness"]
    return jnp.sum(stiffness * away**2) / 2, -stiffness * away, jnp.zeros((3, 3))


def elastic(params, position, cell, neighbors):
    r"""Free particles in a cell with $U = B (V - V_0)^2 / 2 V_0$; needs no neighbours."""
    volume, at_rest = lists.volume(cell), params["volume"]
    away = volume / at_rest - 1
    energy = params["bulk_modulus"] * at_rest * away**2 / 2
    strain_gradient = volume * params["bulk_modulus"] * away * jnp.eye(3)
    return energy, jnp.zeros_like(position), strain_gradient


def energy_of_pairs(params, vector, sender):
    """Screened Coulomb and Born-Mayer ions, smooth to second order at the cutoff."""
    square = jnp.sum(vector**2, axis=-1)
    inside = square < params["cutoff"] ** 2
    distance = jnp.sqrt(jnp.where(inside, square, 1.0))
    charge = params["charge"]
    product = charge[:, None] * charge[jnp.where(sender < len(charge), sender, 0)]
    coulomb = 14.4 * product * jnp.exp(-distance / 2.0) / distance
    repulsion = 330.0 * jnp.exp(-distance / 0.28)
    envelope = (1 - (distance / params["cutoff"]) ** 2) ** 3
    return jnp.sum(jnp.where(inside, (coulomb + repulsion) * envelope, 0.0)) / 2


def pairs(params, position, cell, neighbors):
    """Energy, force and dE/dstrain: each pair stands in both rows."""

    def energy(position, strain):
        vector, sender, _ = lists.within(position, cell, neighbors, CUTOFF)
        return energy_of_pairs(params, vector + vector @ strain, sender)

    value, (slope, strain) = jax.value_and_grad(energy, argnums=(0, 1))(
        position, jnp.zeros((3, 3))
    )
    return value, -slope, (strain + strain.T) / 2


def counting(function):
    """The function, and a list that grows by one at each time it is traced."""
    traces = []

    def counted(*arguments):
        traces.append(None)
        return function(*arguments)

    return counted, traces
