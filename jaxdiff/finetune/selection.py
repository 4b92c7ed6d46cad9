"""Which configurations to label: the most different ones, or those that models dispute."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

_FRAMES_AT_ONCE = 16  # of which distances are in memory at the same time


@struct.dataclass
class Environments:
    """Descriptors of the environments of each frame, padded to one number of places.

    - `feature` [frames, places, features], float64. A frame that stands for itself as a
      whole, by its mean descriptor, has one place.
    - `present` [frames, places]: false marks padding; each frame has one at least.
    """

    feature: Float[Any, "frames places features"]
    present: Bool[Any, "frames places"]


@dataclasses.dataclass(frozen=True)
class Choice:
    """Frames in the order in which they were chosen.

    - `index` [chosen]: into the frames.
    - `value` [chosen]: the distance or the deviation of each when it was chosen; NaN for
      one that was chosen as a start.
    - `left`: the largest value among the frames that could still have been chosen; 0 if
      there are none.
    """

    index: Int[np.ndarray, " chosen"]
    value: Float[np.ndarray, " chosen"]
    left: float


def stack_environments(
    frames: Sequence[Float[np.ndarray, "_environments features"]],
) -> Environments:
    """Descriptors of each frame, as many rows as it has environments, as one array."""
    places = max(len(feature) for feature in frames)
    stacked = np.zeros((len(frames), places, frames[0].shape[1]))
    present = np.zeros((len(frames), places), bool)
    for row, feature in enumerate(frames):
        if len(feature) == 0:
            raise ValueError(f"frame {row} has no environment; each must have one.")
        stacked[row, : len(feature)] = feature
        present[row, : len(feature)] = True
    return Environments(stacked, present)


def take_frames(pool: Environments, index: Int[np.ndarray, " chosen"]) -> Environments:
    """Only some of the frames."""
    return Environments(pool.feature[index], pool.present[index])


def farthest_points(
    pool: Environments, count: int, given: Environments | None = None
) -> Choice:
    r"""Farthest-point sampling: each frame the farthest from all chosen before it.

    $$ d(A) = \max_{a \in A}\; \min_{b \in \text{chosen}} |x_a - x_b| $$

    over the environments a of frame A and all environments b of the frames chosen or
    given (Gonzalez, doi:10.1016/0304-3975(85)90224-5: the largest distance left is at most
    twice the least possible with so many frames, for frames of one environment). Equal
    distances: the earlier frame. Distances are Euclidean, in float64.

    - `count`: how many to choose, at most all.
    - `given`: frames that are chosen already. Without them the first is the frame whose
      mean descriptor is farthest from the mean of those of all frames; its value is NaN.
    """
    n_frames = len(pool.feature)
    _check_count(count, n_frames)
    with jax.enable_x64(True):
        pool = jax.tree.map(jnp.asarray, pool)
        if given is None:
            order, value, left = _sample_from_mean(pool, count)
        else:
            order, value, left = _sample_given(
                pool, jax.tree.map(jnp.asarray, given), count
            )
        return Choice(np.asarray(order), np.asarray(value), float(left))


def _check_count(count: int, n_frames: int) -> None:
    if not 1 <= count <= n_frames:
        raise ValueError(
            f"{count} frames cannot be chosen from {n_frames}; ask for 1 to {n_frames}."
        )


@functools.partial(jax.jit, static_argnames="count")
def _sample_from_mean(pool: Environments, count: int):
    number = jnp.sum(pool.present, axis=1, keepdims=True)
    mean = jnp.sum(pool.feature, axis=1) / number
    apart = jnp.sum((mean - jnp.mean(mean, axis=0, keepdims=True)) ** 2, axis=-1)
    start = jnp.argmax(apart).astype(jnp.int32)
    order = jnp.zeros(count, jnp.int32).at[0].set(start)
    value = jnp.full(count, jnp.nan, pool.feature.dtype)
    nearest = _distance(pool, pool, start)
    return _continue(pool, order, value, nearest, 1)


@functools.partial(jax.jit, static_argnames="count")
def _sample_given(pool: Environments, given: Environments, count: int):
    def nearer(row, nearest):
        return jnp.minimum(nearest, _distance(pool, given, row))

    far = jnp.full(pool.present.shape, jnp.inf, pool.feature.dtype)
    nearest = jax.lax.fori_loop(0, len(given.present), nearer, far)
    order, value = jnp.zeros(count, jnp.int32), jnp.zeros(count, pool.feature.dtype)
    return _continue(pool, order, value, nearest, 0)


def _continue(pool, order, value, nearest, done):
    """Choose the rest of `order`, the first `done` of which are chosen."""
    taken = jnp.zeros(len(pool.present), bool).at[order[:done]].set(True)

    def score(nearest, taken):
        farthest = jnp.max(jnp.where(pool.present, nearest, 0.0), axis=1)
        return jnp.where(taken, -1.0, farthest)

    def choose(step, carry):
        order, value, nearest, taken = carry
        distance = score(nearest, taken)
        row = jnp.argmax(distance).astype(jnp.int32)
        return (
            order.at[step].set(row),
            value.at[step].set(distance[row]),
            jnp.minimum(nearest, _distance(pool, pool, row)),
            taken.at[row].set(True),
        )

    carry = (order, value, nearest, taken)
    order, value, nearest, taken = jax.lax.fori_loop(done, len(order), choose, carry)
    return order, value, jnp.maximum(jnp.max(score(nearest, taken)), 0.0)


def _distance(
    pool: Environments, other: Environments, row: Int[Array, ""]
) -> Float[Array, "frames places"]:
    """From every environment to the nearest one of frame `row` of `other`."""
    target, present = other.feature[row], other.present[row]
    square = jnp.where(present, jnp.sum(target**2, axis=-1), jnp.inf)

    def of_frame(feature):
        nearest = jnp.argmin(square[None] - 2 * feature @ target.T, axis=1)
        # the difference itself: of two equal environments it is exactly zero
        return jnp.sqrt(jnp.sum((feature - target[nearest]) ** 2, axis=-1))

    return jax.lax.map(of_frame, pool.feature, batch_size=_FRAMES_AT_ONCE)


def force_deviation(
    forces: Float[np.ndarray, "models atoms 3"],
) -> Float[np.ndarray, " atoms"]:
    r"""How much models disagree on the force on each atom, eV/Å.

    $$ \epsilon_i = \sqrt{\langle |F_i - \langle F_i \rangle|^2 \rangle} $$

    with averages over the models, divided by their number. Its maximum over the atoms is
    the model deviation of DP-GEN (doi:10.1016/j.cpc.2020.107206).
    """
    apart = forces - forces.mean(axis=0)
    return np.sqrt((apart**2).sum(axis=-1).mean(axis=0))


def highest_within(
    deviation: Float[np.ndarray, " frames"], count: int, lowest: float, highest: float
) -> Choice:
    """The frames of largest deviation among those from `lowest` to `highest`.

    Fewer than `count` where fewer lie within; equal ones in their order.
    """
    _check_count(count, len(deviation))
    within = np.flatnonzero((deviation >= lowest) & (deviation <= highest))
    if len(within) == 0:
        raise ValueError(
            f"none of {len(deviation)} frames has a deviation from {lowest:g} to "
            f"{highest:g} eV/Å; they go from {deviation.min():.3g} to "
            f"{deviation.max():.3g} eV/Å. Move the bounds."
        )
    order = within[np.argsort(-deviation[within], kind="stable")]
    left = deviation[order[count:]].max(initial=0.0)
    return Choice(order[:count], deviation[order[:count]], float(left))


def choose_by_type(
    kinds: Sequence[str],
    quota: Mapping[str, int],
    choose: Callable[[Int[np.ndarray, " frames"], int], Choice],
) -> Choice:
    """A number of frames of each kind, each kind by itself; one kind after another.

    - `kinds`: of every frame; those without a quota are left out.
    - `choose`: from the rows of some frames and a number to a choice among these.
    """
    kind_of = np.array(kinds)
    chosen = []
    for kind, count in quota.items():
        rows = np.flatnonzero(kind_of == kind)
        if not 1 <= count <= len(rows):
            raise ValueError(
                f"{count} frames of config_type {kind} were asked for, of which there are "
                f"{len(rows)}; the frames have {_census(kinds)}."
            )
        one = choose(rows, count)
        chosen.append(dataclasses.replace(one, index=rows[one.index]))
    return Choice(
        np.concatenate([one.index for one in chosen]),
        np.concatenate([one.value for one in chosen]),
        max(one.left for one in chosen),
    )


def _census(kinds: Sequence[str]) -> str:
    names = sorted(set(kinds))
    return ", ".join(f"{name}: {sum(kind == name for kind in kinds)}" for name in names)
