"""The host's part of a run: chunk after chunk, each checked before it counts."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import neighbors, units
from jaxdiff.md.chunk import Plan, RunChunk, Series
from jaxdiff.md.ensemble import Conditions, EnsembleState

CAPACITY_GROWTH = 1.25


@dataclass(frozen=True)
class Part:
    """An accepted chunk.

    - `state`: after the chunk. `series`: of its frames, on the host.
    - `step` [F]: steps made at each frame. `n_steps`: of this chunk.
    - `wall_s`: time it took, compilation and replays included. `n_replays`: of those.
    """

    state: EnsembleState
    series: Series
    step: np.ndarray
    n_steps: int
    wall_s: float
    n_replays: int


class SimulationDiverged(RuntimeError):
    """Dynamics left the range in which the numbers mean anything.

    - `replica`: the first that did; `time_ps`: when. `part`: its chunk, whose frames end
      before that moment; its state is the one after the last good chunk.
    """

    def __init__(self, message: str, replica: int, time_ps: float, part: Part) -> None:
        """Keep what is known beside the message."""
        super().__init__(message)
        self.replica, self.time_ps, self.part = replica, time_ps, part


def advance(
    run_chunk: RunChunk,
    plan: Plan,
    params: Any,
    conditions: Conditions,
    state: EnsembleState,
    *,
    n_steps: int,
    thermostat: int,
    max_temperature: float = 20_000.0,
) -> Iterator[Part]:
    """Make exactly `n_steps` steps; yield each chunk once it is known to be sound.

    A chunk in which a neighbour list overflowed is thrown away and run again from its
    start with a larger list. A replica that is not finite, or hotter than
    `max_temperature` (K), ends the run with `SimulationDiverged`.
    """
    if n_steps < 0:
        raise ValueError(f"n_steps={n_steps}; it must be 0 or more.")
    left = n_steps
    while left > 0:
        start, steps = time.perf_counter(), min(left, plan.steps_per_chunk)
        arguments = jnp.asarray(steps, jnp.int32), jnp.asarray(thermostat, jnp.int32)
        new, series = run_chunk(params, conditions, state, *arguments)
        n_replays = 0
        while np.any(jax.device_get(new.neighbors.overflow)):
            n_replays += 1
            state = with_capacity(state, CAPACITY_GROWTH)
            new, series = run_chunk(params, conditions, state, *arguments)
        part = _part(plan, state, new, series, steps, n_replays, start)
        _check(part, state, conditions, max_temperature)
        yield part
        state, left = new, left - steps


def with_capacity(state: EnsembleState, factor: float) -> EnsembleState:
    """The same state with `factor` times the places in its neighbour lists."""
    capacity = int(np.ceil(state.neighbors.capacity * factor))
    return replace(
        state,
        neighbors=neighbors.grow(
            state.neighbors, max(capacity, state.neighbors.capacity + 1)
        ),
    )


def restart(state: EnsembleState, hops: Any = None) -> EnsembleState:
    """The state as the start of another phase: steps and flags at zero, chains at rest.

    - `hops`: state of the observer to go on with.
    """
    motion = replace(
        state.motion,
        chain_position=jnp.zeros_like(state.motion.chain_position),
        chain_momentum=jnp.zeros_like(state.motion.chain_momentum),
    )
    return replace(
        state,
        motion=motion,
        hops=hops,
        step=jnp.zeros_like(state.step),
        bad_step=jnp.full_like(state.bad_step, -1),
        max_temperature=jnp.zeros_like(state.max_temperature),
    )


def _part(plan, old, new, series, n_steps, n_replays, start) -> Part:
    first, stride = int(old.step), plan.steps_per_frame
    frames = np.arange(first // stride + 1, (first + n_steps) // stride + 1)
    rows = jax.tree.map(lambda x: np.asarray(x)[: len(frames)], jax.device_get(series))
    wall_s = time.perf_counter() - start
    return Part(new, rows, frames * stride, n_steps, wall_s, n_replays)


def _check(part: Part, old: EnsembleState, conditions: Conditions, limit: float) -> None:
    bad_step = np.asarray(part.state.bad_step)
    hot = np.asarray(part.state.max_temperature)
    if (bad_step < 0).all() and (hot <= limit).all():
        return
    first_frame_hot = np.where(
        (part.series.temperature > limit).any(axis=0),
        (part.series.temperature > limit).argmax(axis=0),
        len(part.step),
    )
    end = int(old.step) + part.n_steps
    hot_step = np.append(part.step, end)[first_frame_hot]
    step = np.where(bad_step >= 0, bad_step, np.where(hot > limit, hot_step, end + 1))
    replica = int(step.argmin())
    time_ps = int(step[replica]) * float(conditions.bath.timestep) / units.PICOSECOND
    what = (
        "its energy, force or momentum is not finite"
        if bad_step[replica] >= 0
        else f"its temperature reached {hot[replica]:.0f} K, above {limit:.0f} K"
    )
    target = float(conditions.kt[replica]) / units.KB
    good = part.step < step[replica]
    sound = replace(
        part,
        state=old,
        series=jax.tree.map(lambda x: x[good], part.series),
        step=part.step[good],
    )
    raise SimulationDiverged(
        f"replica {replica} ({target:.0f} K) diverged at {time_ps:.4f} ps: {what}. Use a "
        "shorter timestep, a longer equilibration from a relaxed structure, or a model "
        "that knows these configurations. Frames up to that moment are kept.",
        replica,
        time_ps,
        sound,
    )
