"""From the top of a path that has several ways down to the saddle beside it.

The force along the lowest mode is turned round, so that all else goes down to a point with
that one way down (Henkelman and Jónsson, doi:10.1063/1.480097); here the mode is Lanczos's.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.models.contract import Model
from jaxdiff.objectives.relax import Relaxed, descend, largest_norm, minimum_on
from jaxdiff.objectives.saddle import Modes, lowest_modes, polish
from jaxdiff.objectives.surface import Surface, evaluate, hessian_product

PUSH = 0.1
"""Å: how far the atom that moves most is pushed along a mode."""

_TURNS, _STEPS = 40, 10  # of the mode; force calls between two of them
_NEAR = 0.05  # eV/Å: forces from where Newton's method arrives


def pushed(
    position: Float[Array, "atoms 3"],
    modes: Modes,
    mass: Float[Array, " atoms"],
    number: int,
    sign: int = 1,
) -> Float[Array, "atoms 3"]:
    """The position, moved along one of its modes by `PUSH`."""
    return position + sign * PUSH * _direction(modes, mass, number, np.inf)


def saddle_beside(
    model: Model,
    surface: Surface,
    top: Relaxed,
    modes: Modes,
    largest_force: float,
    sign: int = 1,
) -> tuple[Relaxed, Modes]:
    """The saddle with one way down that lies down the second mode of `top`.

    - `largest_force`: at the saddle, eV/Å. `sign`: of the way along the mode.

    Raises `ValueError` where there is none.
    """
    product = partial(hessian_product, surface, model)
    here = pushed(top.position, modes, surface.mass, 1, sign)
    for _ in range(_TURNS):
        lowest = lowest_modes(product, here, surface.mass)
        along = jnp.asarray(_direction(lowest, surface.mass, 0, 2))
        here, force = _turned(surface, model, here, along)
        if lowest.n_negative < 2 and float(largest_norm(force)) < _NEAR:
            break
    force = partial(evaluate, surface, model)
    saddle = polish(force, product, here, largest_force=largest_force)
    found = lowest_modes(product, saddle.position, surface.mass)
    if found.n_negative != 1:
        raise ValueError("no saddle lies beside the top of the path")
    return saddle, found


def ways_down(
    model: Model,
    surface: Surface,
    saddle: Relaxed,
    modes: Modes,
    largest_force: float,
    max_steps: int,
) -> tuple[Relaxed, Relaxed]:
    """The minima that both ways down from a saddle lead to.

    Raises `ValueError` where a way has not ended after so many steps.
    """
    both = (pushed(saddle.position, modes, surface.mass, 0, sign) for sign in (1, -1))
    first, second = (
        minimum_on(surface, model, place, largest_force, max_steps) for place in both
    )
    if not (first.converged and second.converged):
        raise ValueError("the ways down from the saddle beside the top do not end")
    return first, second


def _direction(
    modes: Modes, mass: Float[Array, " atoms"], number: int, order: float
) -> Float[np.ndarray, "atoms 3"]:
    """Displacements of a mode; their norm, or that of the largest (`order` inf), is 1."""
    moved = modes.vector[number] / np.sqrt(np.asarray(mass))[:, None]
    return moved / np.linalg.norm(np.linalg.norm(moved, axis=1), order)


@jax.jit
def _turned(surface, model, position, along):
    """Some steps down in all directions but one, which goes up."""

    def force(x):
        own = surface.energy_and_force(model, x)[1]
        return own - 2 * jnp.vdot(own, along) * along

    found, _ = descend(force, position, 0.0, _STEPS)
    return found, force(found)
