"""Intervals and joint regions from the likelihood itself, for few observations.

A symmetric interval ± 1.96 standard errors misses the truth on one side only when hops are
few: the likelihood of an activation energy is skew. The modified signed root r* of the
likelihood ratio (doi:10.1093/biomet/73.2.307) is normal to third order; both tails of its
intervals are within half a percent of 2.5 % from 10 hops on, as simulations show.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.regression import (
    LogLinear,
    Noise,
    NotIdentifiableError,
    Solution,
    solve,
)


def signed_root(
    model: LogLinear, best: Solution, column: int, at: float, scale: float
) -> float:
    r"""r* of one coefficient: about a standard normal number if `at` is its true value.

    $$ r^* = r + \frac1r\ln\frac qr,\quad r^2 = \frac{\Delta D}{\phi},\quad q^2 =
    \frac{(\hat\psi-\psi)^2\,|j(\hat\theta)|}
    {\phi\,|j_{\lambda\lambda}(\hat\theta_\psi)|} $$

    for counts, where the coefficient is canonical; r itself for values (p = 2). Positive
    where the estimate is above `at`. `scale`: the dispersion φ.
    """
    distance = float(best.coefficient[column]) - at
    held = _held(model, best, column, at)
    r = math.copysign(math.sqrt(max(held.deviance - best.deviance, 0) / scale), distance)
    if not math.isfinite(r) or model.power != 1 or abs(r) < 1e-3:
        return r
    ratio = np.linalg.det(best.information) / np.linalg.det(held.information)
    return r + math.log(distance * math.sqrt(ratio / scale) / r) / r


def _held(model: LogLinear, best: Solution, column: int, at: float) -> Solution:
    """Minimum with one coefficient held, followed from the best in steps of 5 errors."""
    rest = [i for i in range(len(best.coefficient)) if i != column]
    center = float(best.coefficient[column])
    error = math.sqrt(float(best.covariance[column, column]))
    steps = 1 + int(abs(at - center) / (5 * error))
    held, last, information = best, center, best.information
    start = best.coefficient[rest]
    for value in np.linspace(center, at, steps + 1)[1:].tolist():
        tangent = np.linalg.solve(
            information[np.ix_(rest, rest)], information[rest, column]
        )
        held = solve(model.without(column, value), start - tangent * (value - last))
        weight = model.weight * held.mean ** (2 - model.power)
        information = (model.design.T * weight) @ model.design
        start, last = held.coefficient, value
    return held


def interval(
    model: LogLinear, best: Solution, column: int, noise: Noise, level: float = 0.95
) -> tuple[float, float]:
    """Values of a coefficient that r* does not reject at `level`, two-sided.

    An end is infinite where means beyond all numbers would not be rejected, as happens with
    a dispersion estimated from one degree of freedom.
    """
    center = float(best.coefficient[column])
    error = math.sqrt(float(best.covariance[column, column]) * noise.scale)
    target = noise.quantile(level)

    @functools.cache
    def excess(at: float) -> float:
        return abs(signed_root(model, best, column, at, noise.scale)) - target

    return _edge(excess, center, -error * target), _edge(excess, center, error * target)


def coefficient(
    model: LogLinear,
    best: Solution,
    column: int,
    noise: Noise,
    n_effective: float,
    unit: str,
) -> Estimate:
    """A coefficient with its standard error and the interval of r*."""
    return Estimate(
        value=float(best.coefficient[column]),
        standard_error=math.sqrt(noise.scale * float(best.covariance[column, column])),
        interval=interval(model, best, column, noise),
        n_effective=n_effective,
        unit=unit,
    )


def _edge(excess: Callable[[float], float], center: float, step: float) -> float:
    """First sign change away from the centre, infinity if the likelihood sets none.

    - `step`: the distance expected.
    """
    inner, outer = center, center + 1.1 * step
    for _ in range(20):
        try:
            if excess(outer) > 0:
                edge = brentq(excess, inner, outer, xtol=1e-4 * abs(step))
                return float(np.asarray(edge))
        except NotIdentifiableError:
            break
        inner, outer = outer, center + 1.5 * (outer - center)
    return math.copysign(math.inf, step)


def region(
    model: LogLinear, best: Solution, noise: Noise, level: float, points: int
) -> Float[np.ndarray, "points terms"]:
    r"""Edge of the joint region of two coefficients, $D(b) - D_\min = \phi\chi^2_2$ or F.

    The deviance is convex, so that each ray from its minimum crosses the edge once.
    """
    limit = best.deviance + noise.limit(level, 2)
    angle = np.linspace(0, 2 * np.pi, points)
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ray = ray @ np.linalg.cholesky(best.covariance).T

    def inside(radius: Float[np.ndarray, " points"]) -> np.ndarray:
        b = best.coefficient + radius[:, None] * ray
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return model.deviance(np.exp(model.offset + b @ model.design.T)) < limit

    low, high = np.zeros(points), np.full(points, math.sqrt(noise.limit(level, 2)))
    while inside(high).any():
        high = np.where(inside(high), 2 * high, high)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = np.where(inside(middle), (middle, high), (low, middle))
    return best.coefficient + low[:, None] * ray
