"""Stochastic velocity rescaling (doi:10.1063/1.2408420).

jax-md's `temp_csvr` counts 3N degrees of freedom, draws both of its numbers with one key
and takes no temperature at run time; this one is our own.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp

from jaxdiff.md.integrators import nve
from jaxdiff.md.integrators.record import BATH_NOISE, Given, Heat, Integrator
from jaxdiff.md.kinetics import Motion, degrees_of_freedom, kinetic_energy


def init(motion):
    """No heat given yet."""
    return Heat(jnp.zeros(()))


def after_force(given, motion, own, force):
    """The other half of the kick, and the rescaling of a whole step."""
    return rescale(given, *nve.after_force(given, motion, own, force))


def conserved(given, motion, own, potential_energy):
    """U + K less the heat that the thermostat gave, eV."""
    return nve.conserved(given, motion, own, potential_energy) - own.heat


def rescale(given: Given, motion: Motion, own: Heat) -> tuple[Motion, Heat]:
    r"""All momenta times one random number, exact in dt.

    $$ \alpha^2 = c + \frac{(1 - c) \bar K}{g K} (R^2 + S) + 2 R
       \sqrt{\frac{c (1 - c) \bar K}{g K}}, \quad c = e^{-dt/\tau},\ \bar K = g k_B T / 2 $$

    with R normal and S chi-squared with g - 1 degrees of freedom, of g = 3N - 3.
    """
    dof = degrees_of_freedom(given.mass.shape[0])
    normal_key, squares_key = jax.random.split(jax.random.fold_in(given.key, BATH_NOISE))
    dtype = motion.momentum.dtype
    normal = jax.random.normal(normal_key, (), dtype)
    squares = jax.random.chisquare(squares_key, jnp.asarray(dof - 1, dtype), (), dtype)
    kinetic = kinetic_energy(motion.momentum, given.mass)
    kept = jnp.exp(-given.bath.timestep / given.bath.damping_time)
    mixed = (1 - kept) * given.kt / (2 * kinetic)
    square = kept + mixed * (normal**2 + squares) + 2 * normal * jnp.sqrt(kept * mixed)
    sign = jnp.sign(normal + jnp.sqrt(kept / mixed))
    momentum = sign * jnp.sqrt(square) * motion.momentum
    return replace(motion, momentum=momentum), Heat(own.heat + (square - 1) * kinetic)


CSVR = Integrator(
    name="csvr",
    title="CSVR, stochastic velocity rescaling (doi:10.1063/1.2408420)",
    init=init,
    before_force=nve.before_force,
    after_force=after_force,
    conserved=conserved,
)
