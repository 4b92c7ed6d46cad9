r"""Derivatives of averages over paths of Langevin dynamics, from the probability of paths.

For an observable A of a path that starts in the canonical ensemble,

$$ d\langle A \rangle/d\theta = \langle A [ q - (\partial_\theta U(x_0) -
   \langle\partial_\theta U(x_0)\rangle) / kT ] \rangle $$

where q is the derivative of the ln of the path's probability given its start. It has one
only where every step of the integrator has as many random numbers as coordinates and
velocities that a force moves: OBABO has, with two noises a step; BAOAB, with one noise for
both, has none. No derivative goes through the dynamics, so hops may be counted. But

$$ var(q) = t / (2 \gamma kT) \sum_i \langle |\partial_\theta F_i|^2 \rangle / m_i $$

grows with time and with the number of atoms: for small systems and short times, to check
other derivatives with. (doi:10.48550/arXiv.2207.04558, doi:10.48550/arXiv.2303.14696; the
score of OBABO and its variance are derived here and tested.)
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

Energy = Callable[[Any, Float[Array, "atoms 3"]], Float[Array, ""]]
"""(params, positions) -> energy, eV; differentiable over both."""


@struct.dataclass
class Paths:
    """Paths of independent copies, their scores, and where they began and ended.

    - `position` [copies, frames, atoms, 3], Å: every `stride` steps, without the start.
    - `score`: as params, with a leading axis of copies: q.
    - `start_slope`: the same: derivative of U at the start, eV.
    """

    position: Float[Array, "*copies frames atoms 3"]
    score: Any
    start_slope: Any


@functools.partial(jax.jit, static_argnames=("energy", "n_steps", "stride"))
def sample_paths(
    energy: Energy,
    params: Any,
    position: Float[Array, "copies atoms 3"],
    mass: Float[Array, " atoms"],
    key: Key[Array, ""],
    *,
    kt: Float[Array, ""] | float,
    friction: Float[Array, ""] | float,
    timestep: Float[Array, ""] | float,
    n_steps: int,
    stride: int = 1,
) -> Paths:
    """OBABO Langevin paths from given positions, with fresh velocities; internal units.

    `n_steps` is a multiple of `stride`. Copies have keys of their own.
    """
    keep = jnp.exp(-friction * timestep / 2)
    mass = mass[:, None]
    noise = jnp.sqrt(kt * (1 - keep**2) / mass)  # of a velocity, half a step

    def force(x):
        return -jax.grad(energy, argnums=1)(params, x)

    def score_of_kick(x, weight):
        return _slope_of_work(energy, params, x, weight)

    def one(start, key):
        def step(carry, step_key):
            x, v, score = carry
            first, second = (
                jax.random.normal(k, x.shape) for k in jax.random.split(step_key)
            )
            half = timestep / 2 / mass
            v = keep * v + noise * first + half * force(x)
            # the velocity after the kick could have come from another noise: d ln p of it
            before = score_of_kick(x, half * first / noise)
            x = x + timestep * v
            v = v + half * force(x)
            after = score_of_kick(x, keep * half * second / noise)
            v = keep * v + noise * second
            score = jax.tree.map(lambda s, a, b: s + a + b, score, before, after)
            return (x, v, score), None

        def frame(carry, number):
            keys = jax.random.split(jax.random.fold_in(key, number), stride)
            carry = jax.lax.scan(step, carry, keys)[0]
            return carry, carry[0]

        speed = jnp.sqrt(kt / mass)
        v = speed * jax.random.normal(jax.random.fold_in(key, n_steps), start.shape)
        zero = jax.tree.map(jnp.zeros_like, params)
        numbers = jnp.arange(n_steps // stride)
        (_, _, score), kept = jax.lax.scan(frame, (start, v, zero), numbers)
        return Paths(kept, score, jax.grad(energy)(params, start))

    return jax.vmap(one)(position, jax.random.split(key, len(position)))


def _slope_of_work(energy: Energy, params: Any, x: Array, weight: Array) -> Any:
    """Derivative of sum(weight * F(x)) over params."""

    def work(params):
        return -jnp.sum(jax.grad(energy, argnums=1)(params, x) * weight)

    return jax.grad(work)(params)


def score_gradient(
    observable: Float[Array, " copies"], paths: Paths, kt: float
) -> tuple[Any, Any]:
    """Derivative of the mean of an observable of each path, and its standard error.

    Both as params. The mean of the observable is taken off first: q has none.
    """
    centered = observable - jnp.mean(observable)

    def of(score, slope):
        whole = score - (slope - jnp.mean(slope, axis=0)) / kt
        each = centered.reshape(-1, *(1,) * (whole.ndim - 1)) * whole
        return jnp.mean(each, axis=0), jnp.std(each, axis=0) / jnp.sqrt(len(each))

    pairs = jax.tree.map(of, paths.score, paths.start_slope)
    return jax.tree.transpose(
        jax.tree.structure(paths.score), jax.tree.structure((0, 0)), pairs
    )
