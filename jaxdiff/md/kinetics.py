"""Mechanics that all integrators share: momenta, kinetic energy, pressure, kick and drift.

Momenta have zero total at the start and keep it, whatever integrates, so there are
3N - 3 degrees of freedom throughout.
"""

from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from jaxdiff import units
from jaxdiff.neighbors import volume

INITIAL_MOMENTUM, EQUILIBRATION_NOISE, PRODUCTION_NOISE = range(3)
"""What a random key is for; keys are fold_in(fold_in(key(seed), replica), purpose)."""


@flax.struct.dataclass
class Motion:
    """What a step moves, of one replica; leading axes where vmapped.

    - `position` [N, 3], Å, unwrapped; `momentum` [N, 3], u·Å/time; `cell` [3, 3], Å.
    """

    position: Float[Any, "*replicas atoms 3"]
    momentum: Float[Any, "*replicas atoms 3"]
    cell: Float[Any, "*replicas 3 3"]


def degrees_of_freedom(n_atoms: int) -> int:
    """3N - 3: the centre of mass is at rest."""
    if n_atoms < 2:
        raise ValueError(f"{n_atoms} atom has no motion about its centre; use 2 or more.")
    return 3 * n_atoms - 3


def kinetic_energy(
    momentum: Float[Array, "atoms 3"], mass: Float[Array, " atoms"]
) -> Float[Array, ""]:
    """Kinetic energy, eV."""
    return jnp.sum(jnp.sum(momentum**2, axis=-1) / mass) / 2


def kinetic_temperature(
    momentum: Float[Array, "atoms 3"], mass: Float[Array, " atoms"]
) -> Float[Array, ""]:
    """Instantaneous temperature 2 K / ((3N - 3) k_B), K."""
    dof = degrees_of_freedom(momentum.shape[0])
    return 2 * kinetic_energy(momentum, mass) / (dof * units.KB)


def pressure(
    motion: Motion, strain_gradient: Float[Array, "3 3"], mass: Float[Array, " atoms"]
) -> Float[Array, ""]:
    r"""Instantaneous pressure, eV/Å^3; `strain_gradient` is dU/dstrain, eV.

    $$ P = \frac{2 K - \mathrm{tr}\, \partial U / \partial \epsilon}{3 V} $$
    """
    kinetic = 2 * kinetic_energy(motion.momentum, mass)
    return (kinetic - jnp.trace(strain_gradient)) / (3 * volume(motion.cell))


def replica_key(
    seed: int, replica: Integer[Array, ""] | int, purpose: int
) -> Key[Array, ""]:
    """The key of one replica for one purpose, whatever runs beside it."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), replica), purpose)


def maxwell_boltzmann(
    key: Key[Array, ""], mass: Float[Array, " atoms"], kt: Float[Array, ""]
) -> Float[Array, "atoms 3"]:
    """Momenta at temperature kt (eV), conditioned on zero total momentum."""
    noise = jax.random.normal(key, (mass.shape[0], 3), mass.dtype)
    return without_drift(noise * jnp.sqrt(mass * kt)[:, None], mass)


def without_drift(
    momentum: Float[Array, "atoms 3"], mass: Float[Array, " atoms"]
) -> Float[Array, "atoms 3"]:
    """Momenta relative to the centre of mass; a projection that keeps Boltzmann's law."""
    velocity = jnp.sum(momentum, axis=0) / jnp.sum(mass)
    return momentum - mass[:, None] * velocity[None]


def velocity(
    momentum: Float[Array, "atoms 3"], mass: Float[Array, " atoms"]
) -> Float[Array, "atoms 3"]:
    """Times the inverse mass: the compiler divides in one program, and not in another."""
    return momentum * (1 / mass)[:, None]


def kick(motion: Motion, force: Float[Array, "atoms 3"], time: Float[Array, ""]) -> Motion:
    """The motion after a force has acted for a time."""
    return replace(motion, momentum=motion.momentum + time * force)


def drift(motion: Motion, mass: Float[Array, " atoms"], time: Float[Array, ""]) -> Motion:
    """The motion after the atoms have moved freely for a time."""
    position = motion.position + time * velocity(motion.momentum, mass)
    return replace(motion, position=position)
