"""Moments of displacements at several lags, and straight lines through them."""

import math

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from jaxdiff import units
from jaxdiff.analysis.gls import GlsFit
from jaxdiff.analysis.tensor import PAIRS


def second_moments(
    position: Float[np.ndarray, "frames walkers 3"], lag: Int[np.ndarray, " lags"]
) -> Float[np.ndarray, "lags walkers 6"]:
    """Mean over time origins of the products of components `PAIRS` of a displacement."""
    result = np.empty((len(lag), position.shape[1], len(PAIRS)))
    for row, m in enumerate(lag.tolist()):
        step = (position[m:] - position[:-m]).astype(float)
        for column, (a, b) in enumerate(PAIRS):
            result[row, :, column] = (step[..., a] * step[..., b]).mean(axis=0)
    return result


def moment_ratio(position: Float[np.ndarray, "frames walkers 3"], lag: int) -> float:
    """⟨l⁴⟩/⟨l²⟩ of the jumps, Å^2, from the fourth cumulant of displacements; at least 0.

    Where atoms differ in how fast they move that counts too.
    """
    square = ((position[lag:] - position[:-lag]).astype(float) ** 2).sum(axis=2)
    mean = float(square.mean())
    excess = float((square**2).mean()) - 5 / 3 * mean**2
    return max(excess / mean, 0.0) if mean > 0 else 0.0


def togetherness(position: Float[np.ndarray, "frames walkers 3"], lag: int) -> float:
    """Variance of the mean squared step over that of independent atoms; at least 1.

    Over windows of `lag` frames that do not overlap.
    """
    step = np.diff(position[::lag].astype(float), axis=0)
    square = (step**2).sum(axis=2)
    n_windows, n_atoms = square.shape
    if n_windows < 3 or n_atoms < 2:
        return 1.0
    alone = square.var(axis=1, ddof=1).mean() / n_atoms
    seen = square.mean(axis=1).var(ddof=1)
    return max(1.0, float(seen / alone)) if alone > 0 else 1.0


def line_weights(
    fit: GlsFit, time: Float[np.ndarray, " lags"]
) -> Float[np.ndarray, " lags"]:
    """Of the lags in D of one direction, cm^2/s for Å^2; those of the fit."""
    design = np.stack([time, np.ones_like(time)], axis=1)
    scaled = np.linalg.solve(fit.covariance, design) if fit.covariance.any() else design
    return np.linalg.solve(design.T @ scaled, scaled.T)[0] / 2 * units.CM2_PER_S


def exponent_of(
    msd: Float[np.ndarray, " lags"],
    covariance: Float[np.ndarray, "lags lags"],
    lag: Int[np.ndarray, " lags"],
) -> tuple[float, float]:
    """d ln MSD / d ln t by a straight line through all lags, and its standard error."""
    if not (msd > 0).all():
        return math.nan, math.nan
    design = np.stack([np.log(lag), np.ones(len(lag))], axis=1)
    weight = np.linalg.pinv(design)[0]
    relative = weight / msd
    return float(weight @ np.log(msd)), math.sqrt(float(relative @ covariance @ relative))


def straightness(
    msd: Float[np.ndarray, " lags"],
    covariance: Float[np.ndarray, "lags lags"],
    lag: Int[np.ndarray, " lags"],
    n_atoms: int,
) -> float:
    """p-value of no curvature: of a parabola through the lags, by Student's t."""
    x = lag / lag[-1]
    design = np.stack([np.ones(len(x)), x, x**2], axis=1)
    curvature = np.linalg.pinv(design)[2]
    error = math.sqrt(float(curvature @ covariance @ curvature))
    if not error > 0:
        return math.nan
    return 2 * float(stats.t.sf(abs(float(curvature @ msd)) / error, max(n_atoms - 1, 1)))
