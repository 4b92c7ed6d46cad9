"""The compiled part of a run: many steps of all replicas, one program for all of it.

With several devices each runs that program for its share of the replicas.

A step: thermostat and drift for every replica; new neighbour lists for those replicas that
have moved by half the skin; forces of the new positions with the lists of those positions;
the rest of the step. Every `steps_per_frame` steps a frame is observed. The number of steps
and the thermostat are arguments, so that equilibration, production and a short last chunk
run the same program, compiled once.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxdiff import neighbors
from jaxdiff.md import thermostats
from jaxdiff.md.ensemble import Conditions, EnsembleState

EnergyAndForce = Callable[
    [Any, Float[Array, "atoms 3"], Float[Array, "3 3"], neighbors.Neighbors],
    tuple[Float[Array, ""], Float[Array, "atoms 3"]],
]
"""(params, position, cell, neighbors of one replica) -> energy, eV, and force, eV/Å."""

Observe = Callable[[Any, Float[Array, "atoms 3"], Int[Array, ""]], Any]
"""(state of the observer, position of one replica, frame number) -> its next state."""

RunChunk = Callable[
    [Any, Conditions, EnsembleState, Int[Array, ""], Int[Array, ""]],
    tuple[EnsembleState, "Series"],
]
"""(params, conditions, state, n_steps, thermostat) -> state after n_steps, and frames."""


@flax.struct.dataclass
class Series:
    """Numbers of the frames of one chunk; rows past the last frame are zero.

    - `temperature`, K; `potential_energy`, `conserved_energy`, eV: [F, R].
    """

    temperature: Any
    potential_energy: Any
    conserved_energy: Any


@flax.struct.dataclass
class Plan:
    """What the program is compiled for; all static.

    - `cutoff`, `skin`, Å: of the neighbour lists.
    - `steps_per_frame`: steps between observations.
    - `frames_per_chunk`: the most frames that one chunk holds.
    """

    cutoff: float = flax.struct.field(pytree_node=False)
    skin: float = flax.struct.field(pytree_node=False)
    steps_per_frame: int = flax.struct.field(pytree_node=False)
    frames_per_chunk: int = flax.struct.field(pytree_node=False)

    def __post_init__(self) -> None:
        """Refuse empty frames and chunks."""
        if min(self.steps_per_frame, self.frames_per_chunk) < 1:
            raise ValueError(
                f"steps_per_frame={self.steps_per_frame} and frames_per_chunk="
                f"{self.frames_per_chunk} must be at least 1."
            )

    @property
    def steps_per_chunk(self) -> int:
        """The most steps that one chunk makes."""
        return self.steps_per_frame * self.frames_per_chunk


def make_chunk(
    plan: Plan,
    energy_and_force: EnergyAndForce,
    observe: Observe | None = None,
    devices: Sequence[Any] = (),
) -> RunChunk:
    """The compiled function that advances an ensemble; make it once per run.

    `n_steps` may be anything up to `plan.steps_per_chunk`. Frames are observed after
    steps that are multiples of `steps_per_frame`, counted from the start of the run.

    - `devices`: those of JAX to share the replicas between, the same number for each;
      none or one: all replicas on the default device. The program is compiled for their
      number: sums over atoms may round otherwise.
    """

    stride = plan.steps_per_frame

    def run_chunk(params, conditions, state, n_steps, thermostat):
        first, last = state.step, state.step + n_steps
        empty = jnp.zeros((plan.frames_per_chunk, state.n_replicas), state.energy.dtype)

        def one_step(_, state):
            return _step(plan, energy_and_force, params, conditions, thermostat, state)

        def one_frame(frame, carry):
            state, series = carry
            stop = jnp.minimum(frame * stride, last)
            state = jax.lax.fori_loop(state.step, stop, one_step, state)
            row = frame - first // stride - 1
            return jax.lax.cond(
                frame * stride <= last,
                lambda state, series: (
                    _observe(observe, state, frame),
                    _record(conditions, thermostat, state, series, row),
                ),
                lambda state, series: (state, series),
                state,
                series,
            )

        frames = (first // stride + 1, (last + stride - 1) // stride + 1)
        return jax.lax.fori_loop(*frames, one_frame, (state, Series(empty, empty, empty)))

    return jax.jit(run_chunk) if len(devices) < 2 else _shared_out(run_chunk, devices)


def _shared_out(run_chunk: RunChunk, devices: Sequence[Any]) -> RunChunk:
    """The same program on every device, each with its replicas; they need no messages."""
    mesh = Mesh(np.array(devices), ("replicas",))
    all_of_it: Any = PartitionSpec()
    own: Any = PartitionSpec("replicas")
    conditions = Conditions(all_of_it, all_of_it, kt=own, bath=all_of_it, key=own)
    state = EnsembleState(own, own, own, own, own, all_of_it, own, own)
    given = (all_of_it, conditions, state, all_of_it, all_of_it)
    program = jax.jit(
        jax.shard_map(
            run_chunk,
            mesh=mesh,
            in_specs=given,
            out_specs=(state, PartitionSpec(None, "replicas")),
            check_vma=False,
        )
    )
    placed = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec),
        given,
        is_leaf=lambda x: isinstance(x, PartitionSpec),
    )

    def run_placed(*arguments):
        # arrays that come from elsewhere would make it compile once more
        return program(*jax.device_put(arguments, placed))

    return run_placed


def evaluate(
    run_chunk: RunChunk, params: Any, conditions: Conditions, state: EnsembleState
) -> EnsembleState:
    """The state with the energy and the force of its positions.

    One step of length zero of the run's own program, so that nothing else is compiled.
    """
    bath = replace(conditions.bath, timestep=jnp.zeros_like(conditions.bath.timestep))
    one, nve = (jnp.asarray(n, jnp.int32) for n in (1, thermostats.NVE))
    still, _ = run_chunk(params, replace(conditions, bath=bath), state, one, nve)
    return replace(state, energy=still.energy, force=still.force, bad_step=still.bad_step)


def _step(
    plan: Plan,
    energy_and_force: EnergyAndForce,
    params: Any,
    conditions: Conditions,
    thermostat: Int[Array, ""],
    state: EnsembleState,
) -> EnsembleState:
    bath, mass, kt, cell = conditions.bath, conditions.mass, conditions.kt, conditions.cell
    key = jax.vmap(jax.random.fold_in, (0, None))(conditions.key, state.step)
    motion = jax.vmap(thermostats.before_force, (None, None, 0, 0, None, 0, 0))(
        thermostat, bath, state.motion, state.force, mass, kt, key
    )
    lists = neighbors.refresh(
        motion.position, cell, state.neighbors, plan.cutoff, plan.skin
    )
    energy, force = _all_forces(energy_and_force, params, motion.position, cell, lists)
    motion = jax.vmap(thermostats.after_force, (None, None, 0, 0, None, 0))(
        thermostat, bath, motion, force, mass, kt
    )
    temperature = _temperature(motion, mass)
    finite = jnp.isfinite(energy) & jnp.all(jnp.isfinite(force), axis=(1, 2))
    bad = ~finite | ~jnp.isfinite(temperature)
    return replace(
        state,
        motion=motion,
        energy=energy,
        force=force,
        neighbors=lists,
        step=state.step + 1,
        bad_step=jnp.where(bad & (state.bad_step < 0), state.step + 1, state.bad_step),
        max_temperature=jnp.fmax(state.max_temperature, temperature),
    )


def _all_forces(energy_and_force: EnergyAndForce, params, position, cell, lists):
    """Energy [R] and force [R, N, 3]: at once on an accelerator, in turn on a CPU.

    In turn, the arrays of one replica stay in the cache.
    """

    def one(replica):
        return energy_and_force(params, replica[0], cell, replica[1])

    every = jax.lax.map if jax.default_backend() == "cpu" else _vmapped
    return every(one, (position, lists))


def _vmapped(one, replicas):
    return jax.vmap(one)(replicas)


def _observe(observe: Observe | None, state: EnsembleState, frame) -> EnsembleState:
    if observe is None:
        return state
    hops = jax.vmap(observe, (0, 0, None))(state.hops, state.motion.position, frame)
    return replace(state, hops=hops)


def _record(conditions, thermostat, state: EnsembleState, series: Series, row) -> Series:
    conserved = jax.vmap(thermostats.conserved_energy, (None, None, 0, 0, None, 0))(
        thermostat,
        conditions.bath,
        state.motion,
        state.energy,
        conditions.mass,
        conditions.kt,
    )
    temperature = _temperature(state.motion, conditions.mass)
    return Series(
        temperature=series.temperature.at[row].set(temperature),
        potential_energy=series.potential_energy.at[row].set(state.energy),
        conserved_energy=series.conserved_energy.at[row].set(conserved),
    )


def _temperature(motion: thermostats.Motion, mass) -> Float[Array, " replicas"]:
    return jax.vmap(thermostats.kinetic_temperature, (0, None))(motion.momentum, mass)
