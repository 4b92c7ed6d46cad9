r"""One step of motion for one replica, as what comes before the force and what after it.

Momenta have zero total at the start and keep it, under every thermostat here, so there are
3N - 3 degrees of freedom throughout. (jax-md's own `nvt_nose_hoover` counts 3N, which
holds the temperature at (3N / (3N - 3)) times the target; the chain itself is jax-md's.)

Nosé–Hoover chains: doi:10.1063/1.463940, chain masses $Q_1 = g k_B T \tau^2$,
$Q_j = k_B T \tau^2$. As LAMMPS's `fix nvt` does by default: three links, one substep.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxdiff import units

# jax-md computes while it is imported, in ways that strict promotion forbids
with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    from jax_md import simulate

NVE, NOSE_HOOVER, LANGEVIN = 0, 1, 2
"""Thermostats by number: a traced number selects, so that all share one program."""

CHAIN_LENGTH = 3

INITIAL_MOMENTUM, LANGEVIN_NOISE = 0, 1
"""What a random key is for; keys are fold_in(fold_in(key(seed), replica), purpose)."""


@flax.struct.dataclass
class Bath:
    """Time step and coupling, in internal units; scalars, all traced.

    - `timestep`; `damping_time`: of the Nosé–Hoover chain (LAMMPS's Tdamp);
      `friction`: of Langevin dynamics, per time.
    """

    timestep: Any
    damping_time: Any
    friction: Any


@flax.struct.dataclass
class Motion:
    """What a step moves, of one replica; leading axes where vmapped.

    - `position` [N, 3], Å, unwrapped; `momentum` [N, 3], u·Å/time.
    - `chain_position` [C], `chain_momentum` [C]: of the Nosé–Hoover chain.
    """

    position: Any
    momentum: Any
    chain_position: Any
    chain_momentum: Any


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


def replica_key(seed: int, replica: Int[Array, ""] | int, purpose: int) -> Key[Array, ""]:
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


def before_force(
    thermostat: Int[Array, ""],
    bath: Bath,
    motion: Motion,
    force: Float[Array, "atoms 3"],
    mass: Float[Array, " atoms"],
    kt: Float[Array, ""],
    key: Key[Array, ""],
) -> Motion:
    """The part of a step that precedes the new force, up to the new position."""
    steps = (_nve_before, _nose_hoover_before, _langevin_before)
    return jax.lax.switch(thermostat, steps, bath, motion, force, mass, kt, key)


def after_force(
    thermostat: Int[Array, ""],
    bath: Bath,
    motion: Motion,
    force: Float[Array, "atoms 3"],
    mass: Float[Array, " atoms"],
    kt: Float[Array, ""],
) -> Motion:
    """The rest of the step, with the force at the new position."""
    motion = replace(motion, momentum=motion.momentum + bath.timestep / 2 * force)
    steps = (lambda bath, motion, mass, kt: motion, _chain_half_step)
    return jax.lax.switch(
        (thermostat == NOSE_HOOVER).astype(jnp.int32), steps, bath, motion, mass, kt
    )


def conserved_energy(
    thermostat: Int[Array, ""],
    bath: Bath,
    motion: Motion,
    potential_energy: Float[Array, ""],
    mass: Float[Array, " atoms"],
    kt: Float[Array, ""],
) -> Float[Array, ""]:
    r"""What the dynamics conserve, eV; for Langevin dynamics just the total energy.

    $$ H' = U + K + \sum_j \frac{p_j^2}{2 Q_j} + g k_B T\, \xi_1 + k_B T \sum_{j>1} \xi_j $$
    """
    total = potential_energy + kinetic_energy(motion.momentum, mass)
    _, chain = _chain(bath, motion, mass, kt)
    weight = jnp.ones_like(chain.mass).at[0].set(chain.degrees_of_freedom)
    bath_energy = jnp.sum(
        chain.momentum**2 / (2 * chain.mass) + kt * weight * chain.position
    )
    return jnp.where(thermostat == NOSE_HOOVER, total + bath_energy, total)


def _nve_before(bath, motion, force, mass, kt, key) -> Motion:
    momentum = motion.momentum + bath.timestep / 2 * force
    position = motion.position + bath.timestep * momentum / mass[:, None]
    return replace(motion, position=position, momentum=momentum)


def _nose_hoover_before(bath, motion, force, mass, kt, key) -> Motion:
    return _nve_before(bath, _chain_half_step(bath, motion, mass, kt), force, mass, kt, key)


def _langevin_before(bath, motion, force, mass, kt, key) -> Motion:
    """B, A, O, A of BAOAB (doi:10.1093/amrx/abs010), with noise of zero total momentum."""
    half = bath.timestep / 2
    momentum = motion.momentum + half * force
    position = motion.position + half * momentum / mass[:, None]
    decay = jnp.exp(-bath.friction * bath.timestep)
    noise = maxwell_boltzmann(key, mass, kt)
    momentum = decay * momentum + jnp.sqrt(1 - decay**2) * noise
    position = position + half * momentum / mass[:, None]
    return replace(motion, position=position, momentum=momentum)


def _chain_half_step(bath: Bath, motion: Motion, mass, kt) -> Motion:
    """jax-md's chain for half a time step, on 3N - 3 degrees of freedom.

    Its constants are float32: powers of two, harmless once promoted to the state's dtype,
    which is why the time step goes in as an array. Its substeps (`chain_steps`,
    `sy_steps` > 1) round the time step itself to float32; one substep does not.
    """
    half_step, chain = _chain(bath, motion, mass, kt)
    with jax.numpy_dtype_promotion("standard"):
        momentum, chain = half_step(motion.momentum, chain, kt)
    return replace(
        motion,
        momentum=momentum,
        chain_position=chain.position,
        chain_momentum=chain.momentum,
    )


def _chain(bath: Bath, motion: Motion, mass, kt) -> tuple[Callable, Any]:
    """jax-md's half step, and its chain with the state of `motion`."""
    dof = degrees_of_freedom(mass.shape[0])
    with jax.numpy_dtype_promotion("standard"):
        functions = simulate.nose_hoover_chain(
            bath.timestep, CHAIN_LENGTH, 1, 1, bath.damping_time
        )
        chain = functions.initialize(dof, kinetic_energy(motion.momentum, mass), kt)
    return functions.half_step, chain.set(
        position=motion.chain_position, momentum=motion.chain_momentum
    )
