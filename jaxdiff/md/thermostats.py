r"""One step of motion for one replica, as what comes before the force and what after it.

Momenta have zero total at the start and keep it, under every thermostat here, so there are
3N - 3 degrees of freedom throughout. (jax-md's own `nvt_nose_hoover` counts 3N, which
holds the temperature at (3N / (3N - 3)) times the target; the chain itself is jax-md's.
Its `temp_csvr` counts 3N too, draws both of its numbers with one key and takes no
temperature at run time; the stochastic thermostat here is our own.)

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
from jaxdiff.neighbors import volume

# jax-md computes while it is imported, in ways that strict promotion forbids
with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    from jax_md import simulate

NVE, NOSE_HOOVER, LANGEVIN, CSVR, NPT = range(5)
"""What moves the atoms, by number: a traced number selects, so that all share one program.

`NPT` is `CSVR` in a cell that breathes isotropically.
"""

CHAIN_LENGTH = 3

INITIAL_MOMENTUM, EQUILIBRATION_NOISE, PRODUCTION_NOISE = range(3)
"""What a random key is for; keys are fold_in(fold_in(key(seed), replica), purpose)."""

_BATH_NOISE, _CELL_NOISE = range(2)  # folded into the key of a step


@flax.struct.dataclass
class Bath:
    """Time step and coupling, in internal units; scalars, all traced.

    - `timestep`; `damping_time`: of the Nosé–Hoover chain (LAMMPS's Tdamp) and of
      stochastic velocity rescaling; `friction`: of Langevin dynamics, per time.
    - `pressure`, eV/Å^3: the target where the cell varies; `pressure_time`: in which it
      follows; `compressibility`, Å^3/eV: an estimate, which scales only that time.
    """

    timestep: Any
    damping_time: Any
    friction: Any
    pressure: Any
    pressure_time: Any
    compressibility: Any


@flax.struct.dataclass
class Motion:
    """What a step moves, of one replica; leading axes where vmapped.

    - `position` [N, 3], Å, unwrapped; `momentum` [N, 3], u·Å/time; `cell` [3, 3], Å.
    - `chain_position` [C], `chain_momentum` [C]: of the Nosé–Hoover chain.
    - `heat` [], eV: kinetic energy that stochastic thermostats have added so far.
    """

    position: Any
    momentum: Any
    cell: Any
    chain_position: Any
    chain_momentum: Any
    heat: Any


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
    strain_gradient: Float[Array, "3 3"],
    mass: Float[Array, " atoms"],
    kt: Float[Array, ""],
    key: Key[Array, ""],
) -> Motion:
    """The part of a step that precedes the new force, up to the new position.

    - `key`: of this step of this replica, also for `after_force`.
    """
    steps = (_nve_before, _nose_hoover_before, _langevin_before, _nve_before, _npt_before)
    return jax.lax.switch(
        thermostat, steps, bath, motion, force, strain_gradient, mass, kt, key
    )


def after_force(
    thermostat: Int[Array, ""],
    bath: Bath,
    motion: Motion,
    force: Float[Array, "atoms 3"],
    mass: Float[Array, " atoms"],
    kt: Float[Array, ""],
    key: Key[Array, ""],
) -> Motion:
    """The rest of the step, with the force at the new position."""
    motion = replace(motion, momentum=motion.momentum + bath.timestep / 2 * force)
    steps = (_as_it_is, _chain_half_step, _as_it_is, _rescale, _rescale)
    return jax.lax.switch(thermostat, steps, bath, motion, mass, kt, key)


def conserved_energy(
    thermostat: Int[Array, ""],
    bath: Bath,
    motion: Motion,
    potential_energy: Float[Array, ""],
    mass: Float[Array, " atoms"],
    kt: Float[Array, ""],
) -> Float[Array, ""]:
    r"""What the dynamics conserve, eV; not a number where the cell varies.

    With a chain
    $$ H' = U + K + \sum_j \frac{p_j^2}{2 Q_j} + g k_B T\, \xi_1 + k_B T \sum_{j>1} \xi_j $$
    and with a stochastic thermostat $U + K$ less the heat that it gave (the effective
    energy of doi:10.1063/1.2408420).
    """
    total = potential_energy + kinetic_energy(motion.momentum, mass) - motion.heat
    _, chain = _chain(bath, motion, mass, kt)
    weight = jnp.ones_like(chain.mass).at[0].set(chain.degrees_of_freedom)
    bath_energy = jnp.sum(
        chain.momentum**2 / (2 * chain.mass) + kt * weight * chain.position
    )
    total = jnp.where(thermostat == NOSE_HOOVER, total + bath_energy, total)
    return jnp.where(thermostat == NPT, jnp.nan, total)


def _velocity(momentum, mass):
    """Times the inverse mass: the compiler divides in one program, and not in another."""
    return momentum * (1 / mass)[:, None]


def _as_it_is(bath, motion, mass, kt, key) -> Motion:
    return motion


def _nve_before(bath, motion, force, strain_gradient, mass, kt, key) -> Motion:
    momentum = motion.momentum + bath.timestep / 2 * force
    position = motion.position + bath.timestep * _velocity(momentum, mass)
    return replace(motion, position=position, momentum=momentum)


def _nose_hoover_before(bath, motion, force, strain_gradient, mass, kt, key) -> Motion:
    motion = _chain_half_step(bath, motion, mass, kt, key)
    return _nve_before(bath, motion, force, strain_gradient, mass, kt, key)


def _langevin_before(bath, motion, force, strain_gradient, mass, kt, key) -> Motion:
    """B, A, O, A of BAOAB (doi:10.1093/amrx/abs010), with noise of zero total momentum."""
    half = bath.timestep / 2
    momentum = motion.momentum + half * force
    position = motion.position + half * _velocity(momentum, mass)
    decay = jnp.exp(-bath.friction * bath.timestep)
    noise = maxwell_boltzmann(jax.random.fold_in(key, _BATH_NOISE), mass, kt)
    new = decay * momentum + jnp.sqrt(1 - decay**2) * noise
    position = position + half * _velocity(new, mass)
    heat = kinetic_energy(new, mass) - kinetic_energy(momentum, mass)
    return replace(motion, position=position, momentum=new, heat=motion.heat + heat)


def _npt_before(bath, motion, force, strain_gradient, mass, kt, key) -> Motion:
    r"""Kick, stochastic cell rescaling (doi:10.1063/5.0020514), drift.

    $$ d\epsilon = -\frac{\beta_T}{\tau_p} (P_0 - P)\, dt
       + \sqrt{\frac{2 k_B T \beta_T}{V \tau_p}}\, dW, \qquad \epsilon = \ln V $$

    Positions are scaled about the origin, momenta inversely.
    """
    momentum = motion.momentum + bath.timestep / 2 * force
    motion = replace(motion, momentum=momentum)
    rate = bath.compressibility * bath.timestep / bath.pressure_time
    noise = jax.random.normal(jax.random.fold_in(key, _CELL_NOISE), (), momentum.dtype)
    strain = rate * (pressure(motion, strain_gradient, mass) - bath.pressure)
    strain = strain + jnp.sqrt(2 * kt * rate / volume(motion.cell)) * noise
    scale = jnp.exp(strain / 3)
    momentum = momentum / scale
    position = scale * motion.position + bath.timestep * _velocity(momentum, mass)
    cell = scale * motion.cell
    return replace(motion, position=position, momentum=momentum, cell=cell)


def _rescale(bath: Bath, motion: Motion, mass, kt, key) -> Motion:
    r"""Stochastic velocity rescaling, exact in dt (doi:10.1063/1.2408420).

    $$ \alpha^2 = c + \frac{(1 - c) \bar K}{g K} (R^2 + S) + 2 R
       \sqrt{\frac{c (1 - c) \bar K}{g K}}, \quad c = e^{-dt/\tau},\ \bar K = g k_B T / 2 $$

    with R normal and S chi-squared with g - 1 degrees of freedom, of g = 3N - 3.
    """
    dof = degrees_of_freedom(mass.shape[0])
    normal_key, squares_key = jax.random.split(jax.random.fold_in(key, _BATH_NOISE))
    dtype = motion.momentum.dtype
    normal = jax.random.normal(normal_key, (), dtype)
    squares = jax.random.chisquare(squares_key, jnp.asarray(dof - 1, dtype), (), dtype)
    kinetic = kinetic_energy(motion.momentum, mass)
    kept = jnp.exp(-bath.timestep / bath.damping_time)
    mixed = (1 - kept) * kt / (2 * kinetic)
    square = kept + mixed * (normal**2 + squares) + 2 * normal * jnp.sqrt(kept * mixed)
    sign = jnp.sign(normal + jnp.sqrt(kept / mixed))
    momentum = sign * jnp.sqrt(square) * motion.momentum
    heat = motion.heat + (square - 1) * kinetic
    return replace(motion, momentum=momentum, heat=heat)


def _chain_half_step(bath: Bath, motion: Motion, mass, kt, key) -> Motion:
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
