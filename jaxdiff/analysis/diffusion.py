"""Diffusivities from hop counts: of the defect, and of the cations as tracers.

The two differ by the number of cations and must not be mixed. With one interstitial among
N cations, hops at the total rate Γ, defect jumps l and cation steps s,

    D_def = Γ <l²> f / 6                 of the interstitial; independent of N
    D*    = Γ <Σ s²> f_tracer / (6 N)    of a cation chosen at random; N is reported with it

The Haven ratio N D* / D_def is 1/3 for collinear interstitialcy hops: a cation pushed on
is likely to come back, the defect is not.
"""

import math

import numpy as np

from jaxdiff import units
from jaxdiff.analysis.estimate import Estimate, normal, unknown
from jaxdiff.analysis.rates import compound_poisson
from jaxdiff.analysis.series import HopTotals
from jaxdiff.observables.counts import CLASSES, SQUARED_JUMP, SQUARED_STEPS

TRACER_CORRELATION = (2 / 3, 32 / 33, 0.9643, 1.0, 1.0)
"""Correlation factors of tracers by class of hop, for a defect without memory and one
mechanism at work (doi:10.1039/TF9585401498). None is known for "other": 1 is assumed."""

_UNIT = "cm^2/s"


def defect_diffusivity(totals: HopTotals) -> Estimate:
    """D_def = Σ |l|² / (6 t), cm^2/s: successive jumps taken as uncorrelated (f = 1).

    Without hops the interval is bounded with the longest jump, the collinear one.
    """
    square = _square_unit(totals)
    known = np.array(SQUARED_JUMP) * square
    weights = _event_weights(totals, known, totals.squared_displacement, 0)
    total, squares = _sums(weights)
    estimate = compound_poisson(
        total,
        squares,
        6 * totals.exposure_ps,
        "Å^2/ps",
        dispersion=totals.dispersion,
        weight_if_none=float(known.max()),
    )
    return estimate.scaled(units.CM2_PER_S, _UNIT)


def correlation_factor(totals: HopTotals) -> Estimate:
    """f = 1 + 2 <cos> of successive jumps of the defect; NaN below two pairs.

    Leading term of the series over all later jumps; exact where memory is weak. 1 means
    none, below 1 that jumps tend to be undone (or counted back and forth).
    """
    n = totals.cosine_count
    if n < 2:
        return unknown("1")
    mean = totals.cosine_sum / n
    variance = max(totals.cosine_squared_sum / n - mean**2, 0.0) * n / (n - 1)
    return normal(1 + 2 * mean, 2 * math.sqrt(variance / n), n, "1")


def correlated(diffusivity: Estimate, factor: Estimate) -> Estimate:
    """D_def times the measured correlation factor; errors in quadrature, interval ≥ 0."""
    if not (diffusivity.value > 0 and math.isfinite(factor.value)):
        return unknown(diffusivity.unit)
    value = diffusivity.value * factor.value
    error = math.hypot(
        factor.value * diffusivity.standard_error, diffusivity.value * factor.standard_error
    )
    n = min(diffusivity.n_effective, factor.n_effective)
    estimate = normal(value, error, n, diffusivity.unit)
    low, high = estimate.interval
    return Estimate(value, error, (max(low, 0.0), max(high, 0.0)), n, diffusivity.unit)


def tracer_diffusivity(totals: HopTotals, *, correlation: bool) -> Estimate:
    """D* = Σ |s|² f / (6 N t) of the N cations of the cell, cm^2/s.

    With `correlation` each class of hop gets its factor of `TRACER_CORRELATION`; without,
    f = 1, an upper estimate. Neither includes a memory of the defect itself.
    """
    square = _square_unit(totals)
    known = np.array(SQUARED_STEPS) * square
    weights = _event_weights(totals, known, totals.squared_steps, totals.exchanges)
    factor = np.array(TRACER_CORRELATION) if correlation else np.ones(len(CLASSES))
    total, squares = _sums([(n, w * f) for (n, w), f in zip(weights, factor, strict=True)])
    estimate = compound_poisson(
        total,
        squares,
        6 * totals.n_mobile * totals.exposure_ps,
        "Å^2/ps",
        dispersion=totals.dispersion,
        weight_if_none=float((known * factor[:-1]).max()),
    )
    return estimate.scaled(units.CM2_PER_S, _UNIT)


def mean_squared_jump(totals: HopTotals) -> float:
    """<l²> of the hops counted, Å^2; of a collinear jump if there are none."""
    if totals.hops == 0:
        return SQUARED_JUMP[0] * _square_unit(totals)
    return totals.squared_displacement / totals.hops


def _square_unit(totals: HopTotals) -> float:
    return (totals.lattice_constant / 4) ** 2


def _event_weights(
    totals: HopTotals, known: np.ndarray, total: float, extra: int
) -> list[tuple[int, float]]:
    """Number of events and weight of each, by class; "other" gets what remains, Å^2."""
    *counts, n_other = (int(n) for n in totals.hops_by_class)
    n_other += extra
    rest = total - float(np.dot(counts, known))
    if rest < -1e-6 * total or (n_other == 0 and rest > 1e-6 * total):
        raise ValueError(
            f"squared displacements sum to {total:.6g} Å^2, but the hops by class to "
            f"{total - rest:.6g} Å^2: the counters disagree. The series is damaged, or its "
            f"lattice constant, {totals.lattice_constant} Å, is not that of its units."
        )
    other = max(rest, 0.0) / n_other if n_other else 0.0
    return [*zip(counts, known.tolist(), strict=True), (n_other, other)]


def _sums(weights: list[tuple[int, float]]) -> tuple[float, float]:
    return sum(n * w for n, w in weights), sum(n * w**2 for n, w in weights)
