"""Rates from counts: maximum likelihood, exact intervals, dispersion over replicas."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.stats import chi2, norm

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.regression import Noise, evident, known_noise


def garwood(
    count: float | int | Real[np.ndarray, "*shape"], level: float = 0.95
) -> tuple[Shaped[np.ndarray, "*shape"], Shaped[np.ndarray, "*shape"]]:
    r"""Exact interval of a Poisson mean, doi:10.1093/biomet/28.3-4.437.

    $$ \left[\tfrac12\chi^2_{\alpha/2,\,2n},\ \tfrac12\chi^2_{1-\alpha/2,\,2n+2}\right] $$

    The lower bound is 0 for n = 0. Effective counts need not be integers.
    """
    n = np.asarray(count, dtype=float)
    if np.any(n < 0):
        raise ValueError(f"counts must not be negative, smallest is {n.min()}.")
    tail = (1 - level) / 2
    low = chi2.ppf(tail, 2 * np.where(n > 0, n, 1)) / 2
    return np.where(n > 0, low, 0.0), np.asarray(chi2.ppf(1 - tail, 2 * n + 2) / 2)


def compound_poisson(
    total: float | int,
    total_square: float | int,
    exposure: float,
    unit: str,
    *,
    dispersion: float | Noise = 1.0,
    weight_if_none: float = 1.0,
) -> Estimate:
    r"""Sum of the weights of random events per exposure.

    Events with weights w have $\mathrm{Var}\sum w = \phi\sum w^2$; the sum is treated as
    $n_\mathrm{eff} = (\sum w)^2/\phi\sum w^2$ equal events, whose interval is `garwood`; a
    dispersion that is estimated itself widens it as Student's distribution does.

    - `total`, `total_square`: Σw and Σw² over the events.
    - `dispersion`: φ, known, or estimated as a `Noise`; values below 1 are taken as 1.
    - `weight_if_none`: weight to bound the value with when there was no event. The
      standard error is then NaN and the interval one-sided in effect, from 0.
    """
    if not exposure > 0:
        raise ValueError(
            f"exposure={exposure} must be positive: no replica had a known defect. Check "
            "the undefined frames of the run."
        )
    noise = dispersion if isinstance(dispersion, Noise) else Noise(dispersion, math.inf)
    phi = noise.scale
    if total <= 0:
        high = float(garwood(0)[1]) * weight_if_none * phi / exposure
        return Estimate(0.0, math.nan, (0.0, high), 0.0, unit)
    n = total**2 / (phi * total_square)
    known = math.isinf(noise.degrees_of_freedom)
    level = 0.95 if known else 1 - 2 * float(norm.sf(noise.quantile()))
    low, high = (float(bound) * total / n / exposure for bound in garwood(n, level))
    error = total / math.sqrt(n) / exposure
    return Estimate(total / exposure, error, (low, high), n, unit)


def hop_rate(
    count: float | int, exposure_ps: float, *, dispersion: float | Noise = 1.0
) -> Estimate:
    """Maximum-likelihood rate n/t with its exact interval, 1/ps.

    - `exposure_ps`: all time with a known defect, also of replicas without a hop.
    - `dispersion`: `Dispersion.noise`; the variance is that many times the Poisson one.
    """
    return compound_poisson(count, count, exposure_ps, "1/ps", dispersion=dispersion)


@dataclasses.dataclass(frozen=True)
class Dispersion:
    """How much more than Poisson the counts of the replicas scatter.

    - `index`: χ² per degree of freedom; 1 for independent hops, NaN if not defined.
    - `p_value`: probability of a larger index if hops are Poisson with one rate.
    - `degrees_of_freedom`: replicas less one rate per temperature.
    """

    index: float
    p_value: float
    degrees_of_freedom: int

    @property
    def noise(self) -> Noise:
        """What widens intervals; none where it is not defined or not evident."""
        dof = self.degrees_of_freedom
        return evident(Noise(self.index, dof)) if dof else known_noise(1)


def dispersion_index(
    count: Real[np.ndarray, " replicas"],
    exposure: Float[np.ndarray, " replicas"],
    group: Shaped[np.ndarray, " replicas"] | None = None,
) -> Dispersion:
    """Pearson's χ² of counts against a common rate within each group of replicas.

    Groups (temperatures) without hops or with one replica say nothing and are left out.
    For few hops per replica the p-value is conservative.
    """
    group = np.zeros(len(count), int) if group is None else np.asarray(group)
    square, dof = 0.0, 0
    for name in np.unique(group):
        n, t = count[group == name], exposure[group == name]
        n, t = n[t > 0], t[t > 0]
        if n.sum() > 0 and len(n) > 1:
            expected = n.sum() * t / t.sum()
            square += float(((n - expected) ** 2 / expected).sum())
            dof += len(n) - 1
    if dof == 0:
        return Dispersion(math.nan, math.nan, 0)
    return Dispersion(square / dof, float(chi2.sf(square, dof)), dof)
