"""The host's part of a run: chunk after chunk, each checked before it counts."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from jaxdiff import neighbors, units
from jaxdiff.md.chunk import RunChunk, Series
from jaxdiff.md.ensemble import HELD, Conditions, EnsembleState
from jaxdiff.md.integrators import choice
from jaxdiff.md.plan import Plan

CAPACITY_GROWTH = 1.25

RanOver = Callable[[Any, Any], bool]
"""(states of the observers before and after a chunk) -> whether their logs ran over."""


@dataclass(frozen=True)
class Part:
    """An accepted chunk.

    - `state`: after the chunk. `series`: of its frames, on the host.
    - `step` [F]: steps made at each frame. `n_steps`: of this chunk.
    - `wall_s`: time it took, compilation and replays included. `n_replays`: of those.
    - `diverged`: replicas that stopped in this chunk, by number.
    """

    state: EnsembleState
    series: Series
    step: np.ndarray
    n_steps: int
    wall_s: float
    n_replays: int
    diverged: tuple[int, ...]


def advance(
    run_chunk: RunChunk,
    plan: Plan,
    params: Any,
    conditions: Conditions,
    state: EnsembleState,
    *,
    n_steps: int,
    integrator: str,
    boundary: int = 0,
    seconds: float = float("inf"),
    ran_over: RanOver | None = None,
) -> Iterator[Part]:
    """Make exactly `n_steps` steps; yield each chunk once it is known to be sound.

    A chunk in which a neighbour list overflowed is thrown away and run again from its
    start with a larger list; one in which the observers' logs ran over, in halves. A
    replica that is not finite, or too hot, stays as it was at its last good frame and costs
    nothing from then on (`why` says when); the others go on. How long chunks are leaves no
    trace in what comes out.

    - `integrator`: by name, one of `plan.integrators`.
    - `boundary`: chunks end at every multiple of so many steps; 0: anywhere.
    - `seconds`: about how long a chunk may take.
    - `ran_over`: whether the observers lost something between two of their states.
    """
    if n_steps < 0:
        raise ValueError(f"n_steps={n_steps}; it must be 0 or more.")
    left, frame_s = n_steps, None
    while left > 0:
        steps = min(left, _chunk_steps(plan, int(state.step), boundary, seconds, frame_s))
        given = (run_chunk, plan, params, conditions, state)
        part = _advance_once(*given, steps, integrator)
        while ran_over and len(part.step) > 1 and ran_over(state.hops, part.state.hops):
            steps = int(part.step[len(part.step) // 2 - 1]) - int(state.step)
            part = _advance_once(*given, steps, integrator)
        if part.n_replays == 0 and len(part.step):  # and not the first, which compiles
            frame_s = part.wall_s / len(part.step) if left < n_steps else frame_s
        state, left = part.state, left - steps
        yield part


def _chunk_steps(plan: Plan, step: int, boundary: int, seconds: float, frame_s) -> int:
    """Steps of the next chunk: one frame until its time is known."""
    frames = plan.frames_per_chunk
    if np.isfinite(seconds):
        known = 1 if frame_s is None else max(1, int(seconds / max(frame_s, 1e-9)))
        frames = min(frames, known)
    stride = plan.steps_per_frame
    steps = frames * stride - step % stride
    return min(steps, boundary - step % boundary) if boundary else steps


def _advance_once(
    run_chunk: RunChunk,
    plan: Plan,
    params,
    conditions,
    state,
    n_steps: int,
    integrator: str,
) -> Part:
    start = time.perf_counter()
    arguments = jnp.asarray(n_steps, jnp.int32), plan.number(integrator)
    new, series = run_chunk(params, conditions, state, *arguments)
    n_replays = 0
    while np.any(jax.device_get(new.neighbors.overflow)):
        n_replays += 1
        state = with_capacity(state, CAPACITY_GROWTH)
        new, series = run_chunk(params, conditions, state, *arguments)
    first, stride = int(state.step), plan.steps_per_frame
    frames = np.arange(first // stride + 1, (first + n_steps) // stride + 1)
    rows = jax.tree.map(lambda x: np.asarray(x)[: len(frames)], jax.device_get(series))
    stopped = np.asarray(new.diverged) & ~np.asarray(state.diverged)
    return Part(
        state=new,
        series=rows,
        step=frames * stride,
        n_steps=n_steps,
        wall_s=time.perf_counter() - start,
        n_replays=n_replays,
        diverged=tuple(np.flatnonzero(stopped).tolist()),
    )


def why(state: EnsembleState, conditions: Conditions, replica: int) -> str:
    """When and why a replica diverged, in words; after `restart` also before it."""
    time_ps = int(state.bad_step[replica]) * float(conditions.bath.timestep)
    target = float(conditions.kt[replica]) / units.KB
    hottest = float(state.info.max_temperature[replica])
    limit = float(conditions.max_temperature)
    what = (
        f"its temperature reached {hottest:.0f} K, above {limit:.0f} K"
        if hottest > limit
        else "its energy, force or momentum was not finite, or its cell too small"
    )
    before = int(state.bad_step[replica]) == 0  # a step of its own phase is 1 or more
    where = f"{time_ps / units.PICOSECOND:.4f} ps"
    when = "a step of equilibration" if before else where
    return f"replica {replica} ({target:.0f} K) diverged at {when}: {what}"


def with_capacity(state: EnsembleState, factor: float) -> EnsembleState:
    """The same state with `factor` times the places in its lists, or a few more.

    First those for pairs within the cutoff, as long as lists have more: they are the
    ones that are scarce.
    """
    step, lists = neighbors.places_multiple(), state.neighbors
    if lists.close is not None and lists.close < lists.capacity:
        close = min(step * math.ceil((lists.close + 1) / step), lists.capacity)
        return replace(state, neighbors=replace(lists, close=close))
    capacity = step * math.ceil((lists.capacity * factor + 1) / step)
    return replace(state, neighbors=neighbors.grow(lists, capacity))


def hold(state: EnsembleState, which: Bool[np.ndarray, " replicas"]) -> EnsembleState:
    """The state with some replicas kept as they are until `restart`, at no cost on a CPU.

    - `which` [R]; those that have diverged stay so.
    """
    held = jnp.where(jnp.asarray(which) & ~state.diverged, HELD, state.bad_step)
    return replace(state, bad_step=held.astype(state.bad_step.dtype))


def restart(state: EnsembleState, hops: Any = None) -> EnsembleState:
    """The state as the start of another phase: steps and flags at zero, baths at rest.

    A replica that has diverged stays so, and keeps what tells why; one held goes on.

    - `hops`: state of the observer to go on with.
    """
    stopped = state.diverged
    return replace(
        state,
        integrators=choice.init(tuple(state.integrators), state.motion),
        hops=hops,
        step=jnp.zeros_like(state.step),
        bad_step=jnp.where(stopped, 0, -1).astype(state.bad_step.dtype),
        info=jax.tree.map(lambda x: jnp.where(stopped, x, jnp.zeros_like(x)), state.info),
    )
