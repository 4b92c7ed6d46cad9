"""The compiled part of a run: many steps of all replicas, one program for all of it.

Replicas go through it in groups, one group after the other; with several devices each has
its share of the groups. On a CPU a group is one replica: its arrays stay in the cache, and
no sum depends on what runs beside it. On an accelerator a group is as many replicas as
its memory holds.

A step: thermostat and drift for every replica; new neighbour lists for those replicas that
have moved by half the skin; forces of the new positions with the lists of those positions;
the rest of the step. Every `steps_per_frame` steps a frame is observed. The number of steps
and the thermostat are arguments, so that equilibration, production and a short last chunk
run the same program, compiled once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdiff import neighbors
from jaxdiff.md import thermostats
from jaxdiff.md.ensemble import Conditions, EnsembleState
from jaxdiff.md.sharing import share_out

EnergyAndForce = Callable[
    [Any, Float[Array, "atoms 3"], Float[Array, "3 3"], neighbors.Neighbors],
    tuple[Float[Array, ""], Float[Array, "atoms 3"], Float[Array, "3 3"]],
]
"""(params, position, cell, neighbors of one replica) -> energy, eV, force, eV/Å, and the
derivative of the energy over strain, eV."""

Observe = Callable[[Any, Float[Array, "atoms 3"], Int[Array, ""]], Any]
"""(state of the observer, position of one replica, frame number) -> its next state."""

RunChunk = Callable[
    [Any, Conditions, EnsembleState, Int[Array, ""], Int[Array, ""]],
    tuple[EnsembleState, "Series"],
]
"""(params, conditions, state, n_steps, thermostat) -> state after n_steps, and frames."""


@flax.struct.dataclass
class Series:
    """Numbers of the frames of one chunk [F, R]; rows past the last frame are zero.

    - `temperature`, K; `potential_energy`, `conserved_energy`, eV; `pressure`, eV/Å^3;
      `volume`, Å^3. Not numbers where a replica has diverged.
    """

    temperature: Any
    potential_energy: Any
    conserved_energy: Any
    pressure: Any
    volume: Any


@flax.struct.dataclass
class Plan:
    """What the program is compiled for; all static.

    - `cutoff`, `skin`, Å: of the neighbour lists.
    - `steps_per_frame`: steps between observations.
    - `frames_per_chunk`: the most frames that one chunk holds.
    - `group_size`: replicas that are computed at once, a divisor of those of each device.
    """

    cutoff: float = flax.struct.field(pytree_node=False)
    skin: float = flax.struct.field(pytree_node=False)
    steps_per_frame: int = flax.struct.field(pytree_node=False)
    frames_per_chunk: int = flax.struct.field(pytree_node=False)
    group_size: int = flax.struct.field(pytree_node=False, default=1)

    def __post_init__(self) -> None:
        """Refuse empty frames, chunks and groups."""
        if min(self.steps_per_frame, self.frames_per_chunk, self.group_size) < 1:
            raise ValueError(
                f"steps_per_frame={self.steps_per_frame}, frames_per_chunk="
                f"{self.frames_per_chunk} and group_size={self.group_size} must be at "
                "least 1."
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

    - `devices`: those of JAX to share the replicas between; none or one: all replicas on
      the default device.
    """

    def run_chunk(params, conditions, state, n_steps, thermostat):
        n_replicas, size = state.n_replicas, plan.group_size
        if n_replicas % size:
            raise ValueError(
                f"{n_replicas} replicas of a device cannot be divided into groups of "
                f"{size}; use a divisor of {n_replicas}."
            )
        group = _Group(plan, energy_and_force, observe, params, thermostat)

        def advance_group(g, carry):
            state, series = carry
            first = g * size
            own = _rows(state, first, size, state.step)
            # the barriers keep the program of a group the same, whatever surrounds it
            given = _rows(conditions, first, size, None), own
            mine, own = jax.lax.optimization_barrier(given)
            result = group.advance(mine, own, n_steps)
            own, frames = jax.lax.optimization_barrier(result)
            state = _write(state, own, first)
            series = jax.tree.map(
                lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, first, 1),
                series,
                frames,
            )
            return state, series

        # a count unknown to the compiler: a loop of one turn would be taken apart
        n_groups = jax.lax.optimization_barrier(jnp.asarray(n_replicas // size, jnp.int32))
        state, series = jax.lax.fori_loop(
            0, n_groups, advance_group, (state, _no_frames(plan, state))
        )
        return replace(state, step=state.step + n_steps), series

    return jax.jit(run_chunk) if len(devices) < 2 else share_out(run_chunk, devices)


def _no_frames(plan: Plan, state: EnsembleState) -> Series:
    """Room for the frames of a chunk."""
    empty = jnp.zeros((plan.frames_per_chunk, state.n_replicas), state.energy.dtype)
    return Series(empty, empty, empty, empty, empty)


def _rows(tree: Any, first, size: int, step) -> Any:
    """The part of a state or of conditions that belongs to some replicas."""
    if isinstance(tree, Conditions):
        one = replace(tree, kt=_slice(tree.kt, first, size))
        return replace(one, key=_slice(tree.key, first, size))
    own = jax.tree.map(lambda x: _slice(x, first, size), replace(tree, step=None))
    return replace(own, step=step)


def _slice(array, first, size: int):
    return jax.lax.dynamic_slice_in_dim(array, first, size, 0)


def _write(state: EnsembleState, own: EnsembleState, first) -> EnsembleState:
    """The state with the rows of a group; its own step, which is that of the chunk."""
    written = jax.tree.map(
        lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, first, 0),
        replace(state, step=None),
        replace(own, step=None),
    )
    return replace(written, step=state.step)


def evaluate(
    run_chunk: RunChunk, params: Any, conditions: Conditions, state: EnsembleState
) -> EnsembleState:
    """The state with the energy and the force of its positions.

    One step of length zero of the run's own program, so that nothing else is compiled.
    """
    bath = replace(conditions.bath, timestep=jnp.zeros_like(conditions.bath.timestep))
    one, nve = (jnp.asarray(n, jnp.int32) for n in (1, thermostats.NVE))
    still, _ = run_chunk(params, replace(conditions, bath=bath), state, one, nve)
    return replace(
        state,
        energy=still.energy,
        force=still.force,
        strain_gradient=still.strain_gradient,
        bad_step=still.bad_step,
        max_temperature=still.max_temperature,
    )


@dataclass(frozen=True)
class _Group:
    """The program of the replicas that are computed at once."""

    plan: Plan
    energy_and_force: EnergyAndForce
    observe: Observe | None
    params: Any
    thermostat: Any

    def advance(
        self, conditions: Conditions, state: EnsembleState, n_steps
    ) -> tuple[EnsembleState, Series]:
        """The group after `n_steps` steps, and its frames."""
        plan, stride = self.plan, self.plan.steps_per_frame
        first, last = state.step, state.step + n_steps

        def one_step(step, state):
            return self.step(conditions, step, state)

        def one_frame(frame, carry):
            start, series = carry
            begin = jnp.maximum((frame - 1) * stride, first)
            stop = jnp.where(jnp.any(start.bad_step < 0), frame * stride, begin)
            new = jax.lax.fori_loop(begin, jnp.minimum(stop, last), one_step, start)
            new = _as_before(new.bad_step >= 0, start, new)
            row = frame - first // stride - 1
            return jax.lax.cond(
                frame * stride <= last,
                lambda state, series: (
                    self.observed(state, frame),
                    self.record(conditions, state, series, row),
                ),
                lambda state, series: (state, series),
                new,
                series,
            )

        frames = (first // stride + 1, (last + stride - 1) // stride + 1)
        return jax.lax.fori_loop(*frames, one_frame, (state, _no_frames(plan, state)))

    def step(self, conditions: Conditions, step, state: EnsembleState) -> EnsembleState:
        """One step of the group; a replica that has diverged is kept as it is."""
        bath, mass, kt = conditions.bath, conditions.mass, conditions.kt
        key = jax.vmap(jax.random.fold_in, (0, None))(conditions.key, step)
        motion = self.each(thermostats.before_force, (None, None, 0, 0, 0, None, 0, 0))(
            self.thermostat, bath, state.motion, state.force, state.strain_gradient,
            mass, kt, key,
        )  # fmt: skip
        lists = neighbors.refresh(
            motion.position, motion.cell, state.neighbors, self.plan.cutoff, self.plan.skin
        )
        energy, force, strain_gradient = self.each(self.energy_and_force, (None, 0, 0, 0))(
            self.params, motion.position, motion.cell, lists
        )
        motion = self.each(thermostats.after_force, (None, None, 0, 0, None, 0, 0))(
            self.thermostat, bath, motion, force, mass, kt, key
        )
        temperature = self.temperature(motion, mass)
        sound = jnp.isfinite(energy) & jnp.all(jnp.isfinite(force), axis=(1, 2))
        sound = sound & (temperature <= conditions.max_temperature)
        sound = sound & jax.vmap(neighbors.is_covered)(motion.cell, lists)
        crowded = self.each(neighbors.is_crowded, (0, 0, 0, None))(
            motion.position, motion.cell, lists, self.plan.cutoff
        )
        alive = state.bad_step < 0
        overflow = jnp.where(
            alive & sound, lists.overflow | crowded, state.neighbors.overflow
        )
        new = replace(
            state,
            motion=motion,
            energy=energy,
            force=force,
            strain_gradient=strain_gradient,
            neighbors=replace(lists, overflow=overflow),
            max_temperature=jnp.fmax(state.max_temperature, temperature),
        )
        new = _as_before(~(alive & sound), state, new)
        return replace(new, bad_step=jnp.where(alive & ~sound, step + 1, state.bad_step))

    def observed(self, state: EnsembleState, frame) -> EnsembleState:
        """The state after the observer has seen a frame of the replicas that go on."""
        if self.observe is None:
            return state
        hops = self.each(self.observe, (0, 0, None))(
            state.hops, state.motion.position, frame
        )
        return replace(state, hops=_select(state.bad_step >= 0, state.hops, hops))

    def record(self, conditions, state: EnsembleState, series: Series, row) -> Series:
        """The series with the numbers of this frame."""
        mass, motion = conditions.mass, state.motion
        conserved = self.each(thermostats.conserved_energy, (None, None, 0, 0, None, 0))(
            self.thermostat, conditions.bath, motion, state.energy, mass, conditions.kt
        )
        pressure = self.each(thermostats.pressure, (0, 0, None))
        numbers = Series(
            temperature=self.temperature(motion, mass),
            potential_energy=state.energy,
            conserved_energy=conserved,
            pressure=pressure(motion, state.strain_gradient, mass),
            volume=self.each(neighbors.volume, (0,))(motion.cell),
        )
        bad = state.bad_step >= 0
        return jax.tree.map(
            lambda column, x: column.at[row].set(jnp.where(bad, jnp.nan, x)),
            series,
            numbers,
        )

    def temperature(self, motion: thermostats.Motion, mass) -> Float[Array, " replicas"]:
        """Kinetic temperature of each replica, K."""
        return self.each(thermostats.kinetic_temperature, (0, None))(motion.momentum, mass)

    def each(self, function: Callable, axes: tuple[int | None, ...]) -> Callable:
        """The function, of one replica, for all of a group; plain where that is one."""
        if self.plan.group_size > 1:
            return jax.vmap(function, axes)

        def of_one(*arguments):
            own = [
                x if axis is None else jax.tree.map(lambda leaf: leaf[0], x)
                for x, axis in zip(arguments, axes, strict=True)
            ]
            return jax.tree.map(lambda leaf: leaf[None], function(*own))

        return of_one


def _as_before(which, old: EnsembleState, new: EnsembleState) -> EnsembleState:
    """The new state, but where `which` [R] the motion and its energy are the old ones."""
    names = ("motion", "energy", "force", "strain_gradient")
    return replace(
        new, **{n: _select(which, getattr(old, n), getattr(new, n)) for n in names}
    )


def _select(which, first: Any, second: Any) -> Any:
    """`first` where `which` [R], else `second`; leaves with a leading axis R."""

    def choose(x, y):
        shape = (-1, *[1] * (x.ndim - 1))
        return jnp.where(jnp.broadcast_to(which.reshape(shape), x.shape), x, y)

    return jax.tree.map(choose, first, second)
