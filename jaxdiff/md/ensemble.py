"""An ensemble: replicas of one crystal at given temperatures, as one tree of arrays."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import neighbors, units
from jaxdiff.md import thermostats
from jaxdiff.system import System


@flax.struct.dataclass
class Conditions:
    """What stays the same during a run; nothing here is a compile-time constant.

    - `mass` [N], u; `cell` [3, 3], Å; `kt` [R], eV.
    - `bath`: time step and coupling to the heat bath.
    - `key` [R]: of the Langevin noise of each replica.
    """

    mass: Any
    cell: Any
    kt: Any
    bath: thermostats.Bath
    key: Any


@flax.struct.dataclass
class EnsembleState:
    """What a chunk advances; a leading axis R (replicas) everywhere but in `step`.

    - `motion`: positions, momenta and thermostat chains.
    - `energy` [R], eV, and `force` [R, N, 3], eV/Å, of these positions.
    - `neighbors`: lists of these positions. `hops`: state of the observer, or None.
    - `step` []: steps made.
    - `bad_step` [R]: first step after which energy, force or position was not finite,
      or -1. `max_temperature` [R], K: highest so far.
    """

    motion: thermostats.Motion
    energy: Any
    force: Any
    neighbors: neighbors.Neighbors
    hops: Any
    step: Any
    bad_step: Any
    max_temperature: Any

    @property
    def n_replicas(self) -> int:
        """Number of replicas."""
        return self.energy.shape[0]


def temperature_grid(
    temperatures: list[float], replicas_per_temperature: int
) -> tuple[np.ndarray, np.ndarray]:
    """Temperature [R], K, and index [R] within it; all replicas of the first come first."""
    if not temperatures or min(temperatures) <= 0:
        raise ValueError(f"temperatures={temperatures} K; give one or more, each above 0.")
    if replicas_per_temperature < 1:
        raise ValueError(
            f"replicas_per_temperature={replicas_per_temperature}; use at least 1."
        )
    target = np.repeat(np.asarray(temperatures, np.float64), replicas_per_temperature)
    return target, np.tile(np.arange(replicas_per_temperature), len(temperatures))


def conditions(
    system: System,
    temperature: np.ndarray,
    *,
    timestep: float,
    damping_time: float,
    friction: float,
    seed: int,
    replica_id: np.ndarray | None = None,
) -> Conditions:
    """Conditions of replicas at given temperatures (K); times in internal units.

    - `replica_id`: numbers of the replicas, on which their random numbers depend. None:
      0, 1, 2, ...
    """
    for name, value in (("timestep", timestep), ("damping_time", damping_time)):
        if not value > 0:
            raise ValueError(f"{name}={value} internal time units; it must be positive.")
    replica_id = np.arange(len(temperature)) if replica_id is None else replica_id
    return Conditions(
        mass=jnp.asarray(system.mass, jnp.float64),
        cell=jnp.asarray(system.cell, jnp.float64),
        kt=units.KB * jnp.asarray(temperature, jnp.float64),
        bath=thermostats.Bath(
            timestep=jnp.asarray(timestep, jnp.float64),
            damping_time=jnp.asarray(damping_time, jnp.float64),
            friction=jnp.asarray(friction, jnp.float64),
        ),
        key=_keys(seed, replica_id, thermostats.LANGEVIN_NOISE),
    )


def initialize(
    system: System,
    temperature: np.ndarray,
    *,
    cutoff: float,
    skin: float,
    seed: int,
    replica_id: np.ndarray | None = None,
    position: np.ndarray | None = None,
    capacity: int | None = None,
    velocity: np.ndarray | None = None,
    observer: Callable[[jax.Array], Any] | None = None,
) -> EnsembleState:
    """Replicas at the start, with energy and force still to come (`md.evaluate`).

    - `temperature` [R], K; `cutoff`, `skin`: of the neighbour lists, Å.
    - `position` [R, N, 3], Å: where replicas do not all start at `system.position`.
    - `velocity` [R, N, 3]: to start with, without their drift. None: Maxwell–Boltzmann.
    - `observer`: position [N, 3] -> state of the observer.
    """
    n_replicas = len(temperature)
    replica_id = np.arange(n_replicas) if replica_id is None else replica_id
    if position is None:
        position = np.broadcast_to(system.position, (n_replicas, system.n_atoms, 3))
    position = np.array(position, np.float64)
    if position.shape != (n_replicas, system.n_atoms, 3):
        raise ValueError(
            f"position has shape {position.shape}; {n_replicas} replicas of "
            f"{system.n_atoms} atoms need {(n_replicas, system.n_atoms, 3)}."
        )
    chain = jnp.zeros((n_replicas, thermostats.CHAIN_LENGTH))
    motion = thermostats.Motion(
        position=jnp.asarray(position),
        momentum=_momentum(system, temperature, seed, replica_id, velocity),
        chain_position=chain,
        chain_momentum=chain,
    )
    return EnsembleState(
        motion=motion,
        energy=jnp.zeros(n_replicas),
        force=jnp.zeros_like(motion.position),
        neighbors=neighbors.allocate(
            position, np.asarray(system.cell), cutoff, skin, capacity=capacity
        ),
        hops=None if observer is None else jax.vmap(observer)(motion.position),
        step=jnp.asarray(0, jnp.int32),
        bad_step=jnp.full(n_replicas, -1, jnp.int32),
        max_temperature=jnp.zeros(n_replicas),
    )


def _momentum(system, temperature, seed, replica_id, velocity) -> jax.Array:
    mass = jnp.asarray(system.mass, jnp.float64)
    if velocity is not None:
        momentum = mass[None, :, None] * jnp.asarray(velocity, jnp.float64)
        return jax.vmap(thermostats.without_drift, (0, None))(momentum, mass)
    key = _keys(seed, replica_id, thermostats.INITIAL_MOMENTUM)
    kt = units.KB * jnp.asarray(temperature, jnp.float64)
    return jax.vmap(thermostats.maxwell_boltzmann, (0, None, 0))(key, mass, kt)


def _keys(seed: int, replica_id: np.ndarray, purpose: int) -> jax.Array:
    keys = jax.vmap(thermostats.replica_key, (None, 0, None))
    return keys(seed, jnp.asarray(replica_id, jnp.uint32), purpose)
