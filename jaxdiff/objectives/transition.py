"""How a rate changes with the force field, from frames of dynamics at a temperature.

In transition-state theory a rate is the probability of the dividing surface, relative to
that of the reactant, times a flux that no potential changes. So

    d ln k / d theta = -( <dU/d theta>_TS - <dU/d theta>_R ) / kT ,

and between two models, exactly as far as the theory goes,

    ln(k' / k) = ln <exp(-dU / kT)>_TS - ln <exp(-dU / kT)>_R ,   dU = U' - U .

The averages at the dividing surface TS are over the frames in which molecular dynamics
crosses it: positions do not depend on velocities there, so those that the crossings found
are canonical (doi:10.1063/1.436049). Anharmonic motion is in, and jumps of all kinds, as
often as they occur. What is not: that the fraction of crossings which come back changes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.models.contract import Model
from jaxdiff.objectives.reweight import LEAST_FRACTION, effective_size, weights
from jaxdiff.objectives.surface import (
    Surface,
    Weights,
    energy_gradient,
    weighted_gradient,
)

_NAMES = "crossings", "reactant frames"


@dataclasses.dataclass(frozen=True)
class RateChange:
    """A change of ln k, or its derivative, and what is known of it.

    - `standard_error`: by jackknife over blocks of frames that follow each other.
    - `effective_size`: of frames at the surface and in the reactant, that count.
    """

    value: float
    standard_error: float
    effective_size: tuple[float, float]


def log_rate_slope(
    transition: Float[np.ndarray, " crossings"],
    reactant: Float[np.ndarray, " frames"],
    kt: float,
    *,
    n_blocks: int = 20,
) -> RateChange:
    """d ln k along a direction, from dU of every frame along it; eV."""

    def mean(values):
        return -np.mean(values) / kt

    transition, reactant = _checked(transition, reactant, n_blocks)
    value, error = _difference(mean, transition, reactant, n_blocks)
    return RateChange(value, error, (float(len(transition)), float(len(reactant))))


def log_rate_change(
    transition: Float[np.ndarray, " crossings"],
    reactant: Float[np.ndarray, " frames"],
    kt: float,
    *,
    n_blocks: int = 20,
    least_fraction: float = LEAST_FRACTION / 5,
) -> RateChange:
    """ln(k'/k) from U' - U of every frame, eV.

    Raises ValueError where fewer than `least_fraction` of the frames of an ensemble count:
    the models are then too far apart for these frames.
    """

    def log_mean(values):
        return jax.scipy.special.logsumexp(-jnp.asarray(values) / kt) - np.log(len(values))

    transition, reactant = _checked(transition, reactant, n_blocks)
    sizes = []
    for name, values in zip(_NAMES, (transition, reactant), strict=True):
        weight = weights(jnp.asarray(values), jnp.zeros(len(values)), kt)
        sizes.append(float(effective_size(weight)))
        if not sizes[-1] >= least_fraction * len(values):
            raise ValueError(
                f"{sizes[-1]:.1f} of {len(values)} {name} count under the new model, and "
                f"{least_fraction * len(values):.0f} must; the models differ too much at "
                "this temperature. Go there in smaller steps, with new dynamics in between."
            )
    value, error = _difference(log_mean, transition, reactant, n_blocks)
    return RateChange(value, error, (sizes[0], sizes[1]))


def _checked(
    transition: np.ndarray, reactant: np.ndarray, n_blocks: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both ensembles as numbers, enough of them for the blocks."""
    both = np.asarray(transition, float), np.asarray(reactant, float)
    for name, frames in zip(_NAMES, both, strict=True):
        if len(frames) < 2 * n_blocks:
            raise ValueError(
                f"{len(frames)} {name} in {n_blocks} blocks; give twice as many frames as "
                "blocks, or more."
            )
        if not np.all(np.isfinite(frames)):
            raise ValueError(f"an energy of the {name} is not a number; leave it out.")
    return both


def _difference(
    function: Callable[[np.ndarray], Any],
    transition: np.ndarray,
    reactant: np.ndarray,
    n_blocks: int,
) -> tuple[float, float]:
    """A function of the one ensemble minus that of the other, with its standard error."""
    values, squares = [], []
    for frames in (transition, reactant):
        blocks = np.array_split(np.arange(len(frames)), n_blocks)
        left = np.array([function(np.delete(frames, block)) for block in blocks])
        squares.append(np.sum((left - left.mean()) ** 2) * (n_blocks - 1) / n_blocks)
        values.append(float(function(frames)))
    return values[0] - values[1], float(np.sqrt(sum(squares)))


def energy_slopes(
    model: Model,
    surface: Surface,
    frames: Float[Array | np.ndarray, "frames atoms 3"],
    direction: Weights,
) -> Float[np.ndarray, " frames"]:
    """Derivative of the energy of each frame along a direction of the weights, eV."""
    return np.asarray(_slopes(model, surface, jnp.asarray(frames), direction))


@jax.jit
def _slopes(model, surface, frames, direction):
    def along(frame):
        slope, _ = energy_gradient(surface, model, frame)
        products = jax.tree.map(jnp.vdot, slope, direction)
        return sum(jax.tree.leaves(products), jnp.zeros(()))

    return jax.lax.map(along, frames)


def energies(
    model: Model, surface: Surface, frames: Float[Array | np.ndarray, "frames atoms 3"]
) -> Float[np.ndarray, " frames"]:
    """Energy of each frame, eV."""
    return np.asarray(_energies(model, surface, jnp.asarray(frames)))


@jax.jit
def _energies(model, surface, frames):
    return jax.lax.map(lambda frame: surface.energy(model, frame), frames)


def ensemble_gradient(
    model: Model,
    surface: Surface,
    transition: Float[Array | np.ndarray, "crossings atoms 3"],
    reactant: Float[Array | np.ndarray, "frames atoms 3"],
    kt: float,
) -> Weights:
    """d ln k over every weight, as `model.weights`; a frame in memory at a time."""
    parts = (transition, reactant)
    factors = [np.full(len(x), s / len(x)) for x, s in zip(parts, (-1, 1), strict=True)]
    frames = jnp.concatenate([jnp.asarray(x) for x in parts])
    return weighted_gradient(surface, model, frames, np.concatenate(factors) / kt)[0]
