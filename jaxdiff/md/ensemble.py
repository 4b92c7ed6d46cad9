"""An ensemble: replicas of one crystal at given temperatures, as one tree of arrays."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Key

from jaxdiff import neighbors, units
from jaxdiff.md import kinetics
from jaxdiff.md.integrators import TABLE, Bath, choice
from jaxdiff.system import System

HELD = np.iinfo(np.int32).max
"""`bad_step` of a replica that is kept as it is while others go on."""


@flax.struct.dataclass
class Conditions:
    """What stays the same during a run; nothing here is a compile-time constant.

    - `mass` [N], u; `kt` [R], eV.
    - `bath`: time step and coupling to the heat bath.
    - `key` [R]: of the thermostat's noise in each replica.
    - `max_temperature` [], K: a replica hotter than that has diverged.
    """

    mass: Float[Any, " atoms"]
    kt: Float[Any, "*replicas"]
    bath: Bath
    key: Key[Any, "*replicas"]
    max_temperature: Float[Any, ""]


@flax.struct.dataclass
class Info:
    """What a run tells of itself, and no step reads.

    - `max_temperature` [R], K: highest so far.
    """

    max_temperature: Float[Any, "*replicas"]


@flax.struct.dataclass
class EnsembleState:
    """What a chunk advances; a leading axis R (replicas) everywhere but in `step`.

    - `motion`: positions, momenta and cells. `integrators`: own states of those that the
      program holds, by name.
    - `energy` [R], eV, `force` [R, N, 3], eV/Å, and `strain_gradient` [R, 3, 3], eV
      (dE/dstrain), of these positions.
    - `neighbors`: lists of these positions. `hops`: state of the observer, or None.
    - `step` []: steps made.
    - `bad_step` [R]: step at which the replica diverged, or -1. From then on it stays as it
      was at the last frame before. `HELD` where a sound replica waits for others.
    """

    motion: kinetics.Motion
    integrators: choice.OwnStates
    energy: Float[Any, "*replicas"]
    force: Float[Any, "*replicas atoms 3"]
    strain_gradient: Float[Any, "*replicas 3 3"]
    neighbors: neighbors.Neighbors
    hops: Any
    step: Int[Any, ""]
    bad_step: Int[Any, "*replicas"]
    info: Info

    @property
    def n_replicas(self) -> int:
        """Number of replicas."""
        return self.energy.shape[0]

    @property
    def diverged(self) -> Bool[Any, "*replicas"]:
        """Which replicas have diverged."""
        return (self.bad_step >= 0) & (self.bad_step != HELD)

    def of_replicas(self, function: Callable, *others: "EnsembleState") -> "EnsembleState":
        """A function of all arrays with an axis of replicas, of several states; `step` has
        none, and stays."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "step"]
        states = (self, *others)
        return dataclasses.replace(
            self,
            **{n: jax.tree.map(function, *(getattr(s, n) for s in states)) for n in names},
        )


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
    purpose: int = kinetics.PRODUCTION_NOISE,
    replica_id: np.ndarray | None = None,
    pressure: float = 0.0,
    pressure_time: float = 50.0,
    compressibility: float = 2.5,
    max_temperature: float = 20_000.0,
) -> Conditions:
    """Conditions of replicas at given temperatures (K); times in internal units.

    - `purpose`: of the random numbers; each phase of a run has its own.
    - `replica_id`: numbers of the replicas, on which their random numbers depend. None:
      0, 1, 2, ...
    - `pressure`, eV/Å^3, `pressure_time`, `compressibility`, Å^3/eV: see
      `integrators.Bath`; the defaults are 0, 0.5 ps, and LiF's.
    """
    times = {
        "timestep": timestep,
        "damping_time": damping_time,
        "pressure_time": pressure_time,
    }
    for name, value in times.items():
        if not value > 0:
            raise ValueError(f"{name}={value} internal time units; it must be positive.")
    replica_id = np.arange(len(temperature)) if replica_id is None else replica_id
    return Conditions(
        mass=jnp.asarray(system.mass, jnp.float64),
        kt=units.KB * jnp.asarray(temperature, jnp.float64),
        bath=Bath(
            timestep=jnp.asarray(timestep, jnp.float64),
            damping_time=jnp.asarray(damping_time, jnp.float64),
            friction=jnp.asarray(friction, jnp.float64),
            pressure=jnp.asarray(pressure, jnp.float64),
            pressure_time=jnp.asarray(pressure_time, jnp.float64),
            compressibility=jnp.asarray(compressibility, jnp.float64),
        ),
        key=_keys(seed, replica_id, purpose),
        max_temperature=jnp.asarray(max_temperature, jnp.float64),
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
    cell: np.ndarray | None = None,
    compression: float = 0.0,
    capacity: int | None = None,
    close: int | None = None,
    velocity: np.ndarray | None = None,
    observer: Callable[[jax.Array, np.ndarray], Any] | None = None,
    integrators: Sequence[str] | None = None,
) -> EnsembleState:
    """Replicas at the start, with energy and force still to come (`md.evaluate`).

    - `temperature` [R], K; `cutoff`, `skin`: of the neighbour lists, Å.
    - `position` [R, N, 3], `cell` [R, 3, 3], Å: where they are not those of `system`.
    - `compression`: fraction by which the edges of the cell may shrink.
    - `capacity`, `close`: places of the neighbour lists; see `neighbors.allocate`.
    - `velocity` [R, N, 3]: to start with, without their drift. None: Maxwell–Boltzmann.
    - `observer`: position [N, 3], cell [3, 3] -> state of the observer.
    - `integrators`: names of those of the program (`Plan.integrators`). None: all.
    """
    n_replicas = len(temperature)
    replica_id = np.arange(n_replicas) if replica_id is None else replica_id
    position = _positions(system, position, n_replicas)
    cell = np.broadcast_to(system.cell if cell is None else cell, (n_replicas, 3, 3))
    motion = kinetics.Motion(
        position=jnp.asarray(position),
        momentum=_momentum(system, temperature, seed, replica_id, velocity),
        cell=jnp.asarray(cell, jnp.float64),
    )
    return EnsembleState(
        motion=motion,
        integrators=choice.init(integrators or tuple(TABLE), motion),
        energy=jnp.zeros(n_replicas),
        force=jnp.zeros_like(motion.position),
        strain_gradient=jnp.zeros_like(motion.cell),
        neighbors=neighbors.allocate(
            position,
            cell,
            cutoff,
            skin,
            capacity=capacity,
            close=close,
            compression=compression,
        ),
        hops=None if observer is None else _observers(observer, motion.position, cell),
        step=jnp.asarray(0, jnp.int32),
        bad_step=jnp.full(n_replicas, -1, jnp.int32),
        info=Info(max_temperature=jnp.zeros(n_replicas)),
    )


def _positions(
    system: System, position: np.ndarray | None, n_replicas: int
) -> Float[np.ndarray, "replicas atoms 3"]:
    """Those given, or those of the system in every replica; a copy in float64."""
    shape = (n_replicas, system.n_atoms, 3)
    if position is None:
        position = np.broadcast_to(system.position, shape)
    position = np.array(position, np.float64)
    if position.shape != shape:
        raise ValueError(
            f"position has shape {position.shape}; {n_replicas} replicas of "
            f"{system.n_atoms} atoms need {shape}."
        )
    return position


def _observers(observer, position: jax.Array, cell: np.ndarray) -> Any:
    """States of the observers of all replicas, stacked."""
    each = [observer(own, cell[r]) for r, own in enumerate(position)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def _momentum(system, temperature, seed, replica_id, velocity) -> jax.Array:
    """One replica after the other: sums over atoms would round otherwise in a batch."""
    mass = jnp.asarray(system.mass, jnp.float64)
    if velocity is not None:
        momentum = mass[None, :, None] * jnp.asarray(velocity, jnp.float64)
        return jnp.stack([kinetics.without_drift(own, mass) for own in momentum])
    key = _keys(seed, replica_id, kinetics.INITIAL_MOMENTUM)
    kt = units.KB * jnp.asarray(temperature, jnp.float64)
    each = zip(key, kt, strict=True)
    return jnp.stack([kinetics.maxwell_boltzmann(k, mass, own) for k, own in each])


def _keys(seed: int, replica_id: np.ndarray, purpose: int) -> jax.Array:
    keys = jax.vmap(kinetics.replica_key, (None, 0, None))
    return keys(seed, jnp.asarray(replica_id, jnp.uint32), purpose)
