"""Minima of an energy surface, by FIRE; under vmap, of many at once."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax_md import minimize as jax_md_minimize
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.models.contract import Model
from jaxdiff.objectives.surface import EnergyAndForce, Surface

MAX_MOVE = 0.2
"""Longest step of all coordinates together, Å."""


@struct.dataclass
class Relaxed:
    """Where a search ended; a leading axis of searches under vmap.

    - `position` [atoms, 3], Å; `energy`, eV; `force` [atoms, 3], eV/Å.
    - `largest_force`: of the atoms, eV/Å; `steps`: force calls.
    - `converged`: whether `largest_force` is what was asked for.
    """

    position: Float[Array, "*batch atoms 3"]
    energy: Float[Array, "*batch"]
    force: Float[Array, "*batch atoms 3"]
    largest_force: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def largest_norm(force: Float[Array, "*lead 3"]) -> Float[Array, ""]:
    """Length of the longest vector."""
    return jnp.sqrt(jnp.max(jnp.sum(force**2, axis=-1)))


def descend(
    force: Callable[[Float[Array, "*lead 3"]], Float[Array, "*lead 3"]],
    position: Float[Array, "*lead 3"],
    largest_force: Float[Array, ""] | float,
    max_steps: Int[Array, ""] | int,
) -> tuple[Float[Array, "*lead 3"], Int[Array, ""]]:
    """Follow a force field by FIRE (doi:10.1103/PhysRevLett.97.170201) to where it ends.

    `force` need not be the gradient of anything: a band's is not. One optimiser state
    serves all coordinates. Returns positions and force calls; a force that is not a number
    ends the search. The force field is compiled once: the search begins at rest and without
    a force, so that its first step finds that of `position`.
    """

    def shift(position, step):
        length = jnp.sqrt(jnp.sum(step**2))
        return position + step * jnp.minimum(1.0, MAX_MOVE / jnp.maximum(length, 1e-12))

    times = {"dt_start": 0.1, "dt_max": 0.4}
    begin, _ = jax_md_minimize.fire_descent(jnp.zeros_like, shift, **times)
    _, step = jax_md_minimize.fire_descent(force, shift, **times)

    def unfinished(carry):
        state, n_steps = carry
        is_far = (largest_norm(state.force) > largest_force) | (n_steps == 0)
        return is_far & (n_steps < max_steps)

    def advance(carry):
        state, n_steps = carry
        return step(state), n_steps + 1

    start = begin(position), jnp.asarray(0, jnp.int32)
    state, n_steps = jax.lax.while_loop(unfinished, advance, start)
    return state.position, n_steps


def minimize(
    energy_and_force: EnergyAndForce,
    position: Float[Array, "atoms 3"],
    *,
    largest_force: Float[Array, ""] | float = 0.01,
    max_steps: Int[Array, ""] | int = 500,
) -> Relaxed:
    """The minimum that steepest descent with inertia reaches from `position`."""
    compiled = jax.jit(energy_and_force)  # traced once
    found, n_steps = descend(lambda x: compiled(x)[1], position, largest_force, max_steps)
    return relaxed(compiled, found, n_steps + 1, largest_force)


@jax.jit
def minimum_on(
    surface: Surface,
    model: Model,
    position: Float[Array, "atoms 3"],
    largest_force: Float[Array, ""] | float,
    max_steps: Int[Array, ""] | int,
) -> Relaxed:
    """`minimize` on a surface, compiled once for all models of one shape."""
    return minimize(
        partial(surface.energy_and_force, model),
        position,
        largest_force=largest_force,
        max_steps=max_steps,
    )


def relaxed(
    energy_and_force: EnergyAndForce,
    position: Float[Array, "atoms 3"],
    steps: Int[Array, ""] | int,
    largest_force: Float[Array, ""] | float,
) -> Relaxed:
    """Energy and forces at the end of a search."""
    energy, force = energy_and_force(position)
    largest = largest_norm(force)
    return Relaxed(
        position=position,
        energy=energy,
        force=force,
        largest_force=largest,
        steps=jnp.asarray(steps, jnp.int32),
        converged=largest <= largest_force,
    )
