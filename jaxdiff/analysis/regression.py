"""Regression with a logarithmic link on counts or on positive values of known variance.

Observations y have the mean μ = exp(o + X b) and the variance φ μ^p / w: Poisson counts for
p = 1 and w = φ = 1, values of constant relative error 1/√w for p = 2. Only these two
moments are used (quasi-likelihood, doi:10.1093/biomet/61.3.439).
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import stats

_STEPS, _HALVINGS = 500, 60
"""Far from the minimum a step changes the logarithm of a mean by 1."""

_CHANCE = 0.3
"""How often a dispersion is taken for real that is none."""

_FAR = 1e3
"""Deviance per observation above which a start is not worth starting from."""


class NotIdentifiableError(ValueError):
    """The data do not determine the parameters."""


@dataclasses.dataclass(frozen=True, eq=False)
class LogLinear:
    """Observations and the linear model of the logarithm of their means.

    - `design`: X. `offset`: o, ln of the exposures. `weight`: w. `power`: p, 1 or 2.
    """

    design: Float[np.ndarray, "rows terms"]
    value: Float[np.ndarray, " rows"]
    offset: Float[np.ndarray, " rows"]
    weight: Float[np.ndarray, " rows"]
    power: int = 1

    def mean(self, coefficient: Float[np.ndarray, " terms"]) -> Float[np.ndarray, " rows"]:
        """exp(o + X b)."""
        return np.exp(self.offset + self.design @ coefficient)

    def deviance(
        self, mean: Float[np.ndarray, "*batch rows"]
    ) -> Float[np.ndarray, "*batch"]:
        r"""Twice the loss of quasi-likelihood against a perfect fit, for φ = 1.

        $2\sum w\,[y\ln(y/\mu) - y + \mu]$ for p = 1, $2\sum w\,[y/\mu - 1 - \ln(y/\mu)]$
        for p = 2.
        """
        y = self.value
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            if self.power == 1:
                part = (
                    np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / mean), 0) - y + mean
                )
            else:
                part = y / mean - 1 - np.log(y / mean)
            total = 2 * (self.weight * part).sum(axis=-1)
        return np.where(np.isnan(total), np.inf, total)

    def without(self, column: int, at: float) -> "LogLinear":
        """The model with one coefficient held at a value."""
        return dataclasses.replace(
            self,
            design=self.design[:, [i for i in range(self.design.shape[1]) if i != column]],
            offset=self.offset + self.design[:, column] * at,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """Minimum of the deviance; `information` is Fisher's, for φ = 1."""

    coefficient: Float[np.ndarray, " terms"]
    mean: Float[np.ndarray, " rows"]
    deviance: float
    information: Float[np.ndarray, "terms terms"]

    @property
    def covariance(self) -> Float[np.ndarray, "terms terms"]:
        """Inverse of the information."""
        return np.linalg.inv(self.information)


def solve(model: LogLinear, start: Float[np.ndarray, " terms"] | None = None) -> Solution:
    """Newton's method with step halving; the deviance is convex for p = 1 and p = 2."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return _newton(model, _start(model) if start is None else start)


def _newton(model: LogLinear, coefficient: Float[np.ndarray, " terms"]) -> Solution:
    mean = model.mean(coefficient)
    loss = float(model.deviance(mean))
    if loss > _FAR * len(mean):
        coefficient = _start(model)
        mean = model.mean(coefficient)
        loss = float(model.deviance(mean))
    for _ in range(_STEPS):
        step = _step(model, mean)
        if not np.isfinite(step).all():
            break
        trial, new = mean, math.inf
        for _ in range(_HALVINGS):
            trial = model.mean(coefficient + step)
            new = float(model.deviance(trial))
            if new <= loss + 1e-9 * (1 + abs(loss)):
                break
            step = step / 2
        coefficient, mean, loss = coefficient + step, trial, new
        if np.abs(step).max() < 1e-7:  # the next would be its square
            x, weight = model.design, model.weight * mean ** (2 - model.power)
            return Solution(coefficient, mean, loss, (x.T * weight) @ x)
    raise NotIdentifiableError(
        f"The likelihood of {len(model.value)} observations has no maximum within {_STEPS} "
        f"Newton steps; the last coefficients are {coefficient}. Add hops at another "
        "temperature."
    )


def _step(
    model: LogLinear, mean: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " terms"]:
    """Newton's step; NaN where the curvature is singular or not finite."""
    x, w, p = model.design, model.weight, model.power
    residual = w * (model.value - mean) * mean ** (1 - p)
    curvature = w * (mean if p == 1 else model.value / mean)
    try:
        return np.linalg.solve((x.T * curvature) @ x, x.T @ residual)
    except np.linalg.LinAlgError:
        return np.full(x.shape[1], np.nan)


def _start(model: LogLinear) -> Float[np.ndarray, " terms"]:
    """Least squares through the logarithms, half a count added to each count."""
    y = model.value + (0.5 if model.power == 1 else 0.0)
    root = np.sqrt(model.weight * y) if model.power == 1 else np.sqrt(model.weight)
    target = np.log(y) - model.offset
    return np.linalg.lstsq(model.design * root[:, None], target * root, rcond=None)[0]


@dataclasses.dataclass(frozen=True)
class Noise:
    """How much wider than assumed observations scatter, and how well that is known.

    Limits are those of the assumed variance or those of the estimated dispersion with its
    t or F distribution, whichever is wider: hops do not scatter less than Poisson, and a
    low estimate from few rows must not narrow an interval. Coverage was measured: at least
    95 % for φ = 1 and 2 with 5, 15 and 40 rows, where φ = max(1, estimate) with the normal
    distribution gives 92 % and with the t distribution 100 %.

    - `estimate`: Pearson's χ² per degree of freedom.
    - `degrees_of_freedom`: behind `estimate`; infinite for a known dispersion.
    """

    estimate: float
    degrees_of_freedom: float

    @property
    def scale(self) -> float:
        """φ of variances, at least 1."""
        return max(1.0, self.estimate)

    def quantile(self, level: float = 0.95) -> float:
        """Half-width of a two-sided interval, in standard errors √(φ · variance)."""
        normal = float(stats.norm.isf((1 - level) / 2))
        if self.degrees_of_freedom == 0:
            return normal
        if math.isinf(self.degrees_of_freedom):
            return normal * math.sqrt(max(1.0, self.estimate) / self.scale)
        student = float(stats.t.isf((1 - level) / 2, self.degrees_of_freedom))
        return max(normal, student * math.sqrt(self.estimate)) / math.sqrt(self.scale)

    def tail(self, root: float) -> float:
        """One-sided probability of a larger value in standard errors √(φ · variance)."""
        root = root * math.sqrt(self.scale)
        assumed = float(stats.norm.sf(root))
        if self.degrees_of_freedom == 0 or self.estimate == 0:
            return assumed
        root = root / math.sqrt(self.estimate)
        if math.isinf(self.degrees_of_freedom):
            return max(assumed, float(stats.norm.sf(root)))
        return max(assumed, float(stats.t.sf(root, self.degrees_of_freedom)))

    def p_value(self, deviance: float, terms: int) -> float:
        """Probability that `terms` superfluous terms lower the deviance by more."""
        deviance = max(deviance, 0.0)
        assumed = float(stats.chi2.sf(deviance, terms))
        if self.degrees_of_freedom == 0 or self.estimate == 0:
            return assumed
        deviance = deviance / self.estimate
        if math.isinf(self.degrees_of_freedom):
            return max(assumed, float(stats.chi2.sf(deviance, terms)))
        f = float(stats.f.sf(deviance / terms, terms, self.degrees_of_freedom))
        return max(assumed, f)

    def limit(self, level: float, terms: int) -> float:
        """Deviance above the minimum that bounds a joint region of `terms` parameters."""
        assumed = float(stats.chi2.ppf(level, terms))
        if self.degrees_of_freedom == 0:
            return assumed
        if math.isinf(self.degrees_of_freedom):
            return assumed * self.scale
        f = float(stats.f.ppf(level, terms, self.degrees_of_freedom))
        return max(assumed, self.estimate * terms * f)


def evident(noise: Noise) -> Noise:
    """The noise if hops without any would show more in less than `_CHANCE`; else none.

    The wider of two limits alone covers 98 % with three degrees of freedom, so 93 to 97 %.
    """
    dof = noise.degrees_of_freedom
    if not 0 < dof < math.inf or stats.chi2.sf(noise.estimate * dof, dof) < _CHANCE:
        return noise
    return known_noise(1)


def known_noise(dispersion: float) -> Noise:
    """The dispersion is given, not estimated; 1 for Poisson."""
    if not (dispersion >= 1 and math.isfinite(dispersion)):
        raise ValueError(
            f"dispersion={dispersion} must be at least 1, the value of independent hops; "
            "leave it out to have it estimated."
        )
    return Noise(float(dispersion), math.inf)


def estimated_noise(
    count: Float[np.ndarray, " rows"], mean: Float[np.ndarray, " rows"], terms: int
) -> Noise:
    """Pearson's dispersion, corrected for small counts (doi:10.1093/biomet/asr083)."""
    dof = len(count) - terms
    if dof <= 0:
        return Noise(1.0, 0)
    pearson = float(((count - mean) ** 2 / mean).sum()) / dof
    return Noise(pearson / max(1 + float(((count - mean) / mean).mean()), 1e-3), dof)


def within_noise(model: LogLinear) -> Noise:
    """Dispersion of counts between rows of equal design, whatever the shape of the line.

    Groups without a count or with one row say nothing; none left: Poisson is taken.
    """
    _, group = np.unique(model.design, axis=0, return_inverse=True)
    exposure = np.exp(model.offset)
    n, t = np.bincount(group, model.value), np.bincount(group, exposure)
    used = (n[group] > 0) & (np.bincount(group)[group] > 1)
    mean = (exposure * n[group] / t[group])[used]
    return estimated_noise(model.value[used], mean, len(np.unique(group[used])))
