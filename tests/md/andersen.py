"""A thermostat that the library does not have: all momenta drawn anew, now and then."""

from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxdiff.md.integrators import BATH_NOISE, Integrator, nve
from jaxdiff.md.kinetics import kinetic_energy, maxwell_boltzmann


@flax.struct.dataclass
class Collisions:
    """How many so far, and the kinetic energy that they added, eV."""

    count: Any
    heat: Any


def after_force(given, motion, own, force):
    """The other half of the kick, and a collision with probability friction times dt."""
    motion, own = nve.after_force(given, motion, own, force)
    chance_key, new_key = jax.random.split(jax.random.fold_in(given.key, BATH_NOISE))
    chance = given.bath.friction * given.bath.timestep
    hit = jax.random.uniform(chance_key, (), motion.momentum.dtype) < chance
    drawn = maxwell_boltzmann(new_key, given.mass, given.kt)
    momentum = jnp.where(hit, drawn, motion.momentum)
    before, after = (kinetic_energy(p, given.mass) for p in (motion.momentum, momentum))
    own = Collisions(own.count + hit.astype(jnp.int32), own.heat + after - before)
    return replace(motion, momentum=momentum), own


ANDERSEN = Integrator(
    name="andersen",
    title="Andersen (doi:10.1063/1.439486)",
    init=lambda motion: Collisions(jnp.zeros((), jnp.int32), jnp.zeros(())),
    before_force=nve.before_force,
    after_force=after_force,
    conserved=lambda given, motion, own, potential_energy: (
        nve.conserved(given, motion, own, potential_energy) - own.heat
    ),
)
