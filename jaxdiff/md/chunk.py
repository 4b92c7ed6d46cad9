"""The compiled part of a run: many steps of all replicas, one program for all of it.

Replicas go through it in groups, one group after the other; with several devices each has
its share of the groups. On a CPU a group is one replica: its arrays stay in the cache, and
no sum depends on what runs beside it. On an accelerator a group is as many replicas as
its memory holds.

A step: every replica up to its new positions; new neighbour lists for those replicas that
have moved by half the skin; forces of the new positions with the lists of those positions;
the rest of the step. Every `steps_per_frame` steps a frame is observed. The number of steps
and the integrator are arguments, so that equilibration, production and a short last chunk
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
from jaxdiff.md import kinetics
from jaxdiff.md.ensemble import Conditions, EnsembleState, Info
from jaxdiff.md.integrators.choice import Choice
from jaxdiff.md.plan import Plan
from jaxdiff.md.program import Program
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
"""(params, conditions, state, n_steps, `Plan.number` of the integrator) -> state after
n_steps, and frames."""


@flax.struct.dataclass
class Series:
    """Numbers of the frames of one chunk [F, R]; rows past the last frame are zero.

    - `kinetic_temperature`, K; `potential_energy`, `conserved_energy`, eV; `pressure`,
      eV/Å^3; `volume`, Å^3. Not numbers where a replica has diverged.
    """

    kinetic_temperature: Float[Any, "*frames replicas"]
    potential_energy: Float[Any, "*frames replicas"]
    conserved_energy: Float[Any, "*frames replicas"]
    pressure: Float[Any, "*frames replicas"]
    volume: Float[Any, "*frames replicas"]


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

    def run_chunk(params, conditions, state, n_steps, integrator):
        n_replicas, size = state.n_replicas, plan.group_size
        if set(state.integrators) != set(plan.integrators):
            raise ValueError(
                f"the state is for {', '.join(state.integrators)}, the program for "
                f"{', '.join(plan.integrators)}; give `initialize` the integrators of the "
                "plan."
            )
        if n_replicas % size:
            raise ValueError(
                f"{n_replicas} replicas of a device cannot be divided into groups of "
                f"{size}; use a divisor of {n_replicas}."
            )
        chosen = Choice(plan.integrators, integrator)
        group = _Group(plan, energy_and_force, observe, params, chosen)

        def advance_group(g, carry):
            state, series = carry
            first = g * size
            own = _rows(state, first, size)
            # the barriers keep the program of a group the same, whatever surrounds it
            given = _rows(conditions, first, size), own
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

    return Program(run_chunk) if len(devices) < 2 else share_out(run_chunk, devices)


def _no_frames(plan: Plan, state: EnsembleState) -> Series:
    """Room for the frames of a chunk."""
    empty = jnp.zeros((plan.frames_per_chunk, state.n_replicas), state.energy.dtype)
    return Series(empty, empty, empty, empty, empty)


def _rows(tree: Any, first, size: int) -> Any:
    """The part of a state or of conditions that belongs to some replicas."""
    if isinstance(tree, Conditions):
        kt, key = (_slice(x, first, size) for x in (tree.kt, tree.key))
        return replace(tree, kt=kt, key=key)
    return tree.of_replicas(lambda x: _slice(x, first, size))


def _slice(array, first, size: int):
    return jax.lax.dynamic_slice_in_dim(array, first, size, 0)


def _write(state: EnsembleState, own: EnsembleState, first) -> EnsembleState:
    """The state with the rows of a group; its own step, which is that of the chunk."""
    return state.of_replicas(
        lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, first, 0), own
    )


def evaluate(
    run_chunk: RunChunk, params: Any, conditions: Conditions, state: EnsembleState
) -> EnsembleState:
    """The state with the energy and the force of its positions.

    One step of length zero of the run's own program, so that nothing else is compiled.
    """
    bath = replace(conditions.bath, timestep=jnp.zeros_like(conditions.bath.timestep))
    one, nve = jnp.asarray(1, jnp.int32), jnp.asarray(0, jnp.int32)
    still, _ = run_chunk(params, replace(conditions, bath=bath), state, one, nve)
    return replace(
        state,
        energy=still.energy,
        force=still.force,
        strain_gradient=still.strain_gradient,
        bad_step=still.bad_step,
        info=still.info,
    )


@dataclass(frozen=True)
class _Group:
    """The program of the replicas that are computed at once."""

    plan: Plan
    energy_and_force: EnergyAndForce
    observe: Observe | None
    params: Any
    integrator: Choice

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
        given, axes = (bath, mass, kt, key), (None, None, 0, 0)
        motion, own = self.each(self.integrator.before_force, (*axes, 0, 0, 0, 0))(
            *given, state.motion, state.integrators, state.force, state.strain_gradient
        )
        lists = neighbors.refresh(
            motion.position, motion.cell, state.neighbors, self.plan.cutoff, self.plan.skin
        )
        energy, force, strain_gradient = self.each(self.energy_and_force, (None, 0, 0, 0))(
            self.params, motion.position, motion.cell, lists
        )
        motion, own = self.each(self.integrator.after_force, (*axes, 0, 0, 0))(
            *given, motion, own, force
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
            integrators=own,
            energy=energy,
            force=force,
            strain_gradient=strain_gradient,
            neighbors=replace(lists, overflow=overflow),
            info=Info(jnp.fmax(state.info.max_temperature, temperature)),
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
        conserved = self.each(self.integrator.conserved, (None, None, 0, 0, 0, 0, 0))(
            conditions.bath, mass, conditions.kt, conditions.key, motion,
            state.integrators, state.energy,
        )  # fmt: skip
        pressure = self.each(kinetics.pressure, (0, 0, None))
        numbers = Series(
            kinetic_temperature=self.temperature(motion, mass),
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

    def temperature(self, motion: kinetics.Motion, mass) -> Float[Array, " replicas"]:
        """Kinetic temperature of each replica, K."""
        return self.each(kinetics.kinetic_temperature, (0, None))(motion.momentum, mass)

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
    names = ("motion", "integrators", "energy", "force", "strain_gradient")
    return replace(
        new, **{n: _select(which, getattr(old, n), getattr(new, n)) for n in names}
    )


def _select(which, first: Any, second: Any) -> Any:
    """`first` where `which` [R], else `second`; leaves with a leading axis R."""

    def choose(x, y):
        shape = (-1, *[1] * (x.ndim - 1))
        return jnp.where(jnp.broadcast_to(which.reshape(shape), x.shape), x, y)

    return jax.tree.map(choose, first, second)
