"""Langevin dynamics, BAOAB (doi:10.1093/amrx/abs010)."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from jaxdiff.md.integrators import csvr, nve
from jaxdiff.md.integrators.record import BATH_NOISE, Heat, Integrator
from jaxdiff.md.kinetics import drift, kick, kinetic_energy, maxwell_boltzmann


def before_force(given, motion, own, force, strain_gradient):
    """B, A, O, A, with noise of zero total momentum."""
    half, mass = given.bath.timestep / 2, given.mass
    motion = drift(kick(motion, force, half), mass, half)
    momentum = motion.momentum
    decay = jnp.exp(-given.bath.friction * given.bath.timestep)
    noise = maxwell_boltzmann(jax.random.fold_in(given.key, BATH_NOISE), mass, given.kt)
    new = decay * momentum + jnp.sqrt(1 - decay**2) * noise
    heat = kinetic_energy(new, mass) - kinetic_energy(momentum, mass)
    return drift(replace(motion, momentum=new), mass, half), Heat(own.heat + heat)


LANGEVIN = Integrator(
    name="langevin",
    title="Langevin",
    init=csvr.init,
    before_force=before_force,
    after_force=nve.after_force,
    conserved=csvr.conserved,
)
