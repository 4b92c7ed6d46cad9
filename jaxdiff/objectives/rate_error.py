"""The model's own error of rates and of their activation energy, from its last layer.

The energy is linear in the last weights w, U = f . w, so that in transition-state theory
(`jaxdiff.objectives.transition`)

    d ln k / dw = -( <f>_TS - <f>_R ) / kT = g ,    s^2(ln k) = g . covariance . g ,

and an activation energy from several temperatures is a sum of ln k. What the posterior does
not see, `jaxdiff.objectives.last_layer` says.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxdiff import units
from jaxdiff.objectives.last_layer import LastLayer

N_BLOCKS = 10
"""Of frames that follow each other, for the noise of their mean feature."""


@dataclasses.dataclass(frozen=True)
class RateError:
    """Standard errors that come from the model.

    - `temperature` [T], K; `log_rate` [T], of ln k and so of ln D.
    - `activation_ev`: of Ea, eV; not a number of one temperature.
    - `log_rate_with_noise`, `activation_with_noise_ev`: the same with what the noise of the
      frames adds to them, and so too large. Where that is more than half of the square, it
      cannot be taken off, and the error without it is not a number.
    """

    temperature: Float[np.ndarray, " temperatures"]
    log_rate: Float[np.ndarray, " temperatures"]
    activation_ev: float
    log_rate_with_noise: Float[np.ndarray, " temperatures"]
    activation_with_noise_ev: float


def rate_error(
    posterior: LastLayer,
    temperature: Sequence[float],
    transition: Sequence[Float[np.ndarray, "_crossings features"]],
    reactant: Sequence[Float[np.ndarray, "_frames features"]],
) -> RateError:
    """Of features (`energy_feature`) at crossings and of other frames, by temperature.

    The noise of the mean features, by blocks, adds to the errors, and is taken off.
    """
    kt = units.KB * np.asarray(temperature, float)
    slopes, noise = [], []
    for own, crossing, other in zip(kt, transition, reactant, strict=True):
        first, second = (_mean(x, posterior) for x in (crossing, other))
        slopes.append(-(first[0] - second[0]) / own)
        noise.append((first[1] + second[1]) / own**2)
    slope, extra = np.stack(slopes), np.array(noise)
    covariance = slope @ posterior.covariance @ slope.T
    square = np.diag(covariance)
    line, of_line = np.full(len(kt), np.nan), np.nan
    if len(kt) > 1:
        away = 1 / kt - np.mean(1 / kt)
        line = -away / (away @ away)  # Ea = line . ln k
        of_line = line @ covariance @ line
    return RateError(
        np.asarray(temperature, float),
        _without(square, extra),
        float(_without(np.array([of_line]), np.array([line**2 @ extra]))[0]),
        np.sqrt(square),
        float(np.sqrt(of_line)),
    )


def _without(square: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The root of a square less its noise, where most of it is left."""
    return np.sqrt(np.where(noise <= square / 2, square - noise, np.nan))


def _mean(
    features: Float[np.ndarray, "frames features"], posterior: LastLayer
) -> tuple[Float[np.ndarray, " features"], float]:
    """The mean feature, and what its noise adds to the square of an error, eV^2."""
    if len(features) < 2 * N_BLOCKS:
        raise ValueError(
            f"{len(features)} frames in {N_BLOCKS} blocks; give twice as many frames as "
            "blocks, or more."
        )
    blocks = np.stack([x.mean(axis=0) for x in np.array_split(features, N_BLOCKS)])
    away = blocks - blocks.mean(axis=0)
    square = np.einsum("bf,fg,bg->", away, posterior.covariance, away)
    return features.mean(axis=0), float(square / (N_BLOCKS * (N_BLOCKS - 1)))
