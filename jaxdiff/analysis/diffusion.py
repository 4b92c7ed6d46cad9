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
from jaxdiff.analysis.defects import CLASSES, SQUARED_JUMP, SQUARED_STEPS, VACANCY
from jaxdiff.analysis.estimate import Estimate, normal, unknown
from jaxdiff.analysis.rates import compound_poisson
from jaxdiff.analysis.series import HopTotals

TRACER_CORRELATION = (2 / 3, 32 / 33, 0.9643, 1.0, 0.7815, 1.0, 1.0, 1.0, 1.0)
"""Correlation factors of tracers by class of event, for a defect without memory and one
mechanism at work (doi:10.1039/TF9585401498; vacancies on fcc: doi:10.1039/TF9565200786).
None is known for concerted jumps, rings and Frenkel events: 1 is assumed."""

_UNIT = "cm^2/s"


def defect_diffusivity(totals: HopTotals) -> Estimate:
    """D_def = Σ |l|² / (6 t), cm^2/s: successive jumps taken as uncorrelated (f = 1).

    Without hops the interval is bounded with the longest jump, the collinear one.
    """
    jumps = totals.squared_jump
    estimate = compound_poisson(
        float(jumps.sum()),
        float((jumps**2).sum()),
        6 * totals.exposure_ps,
        "Å^2/ps",
        dispersion=totals.dispersion,
        weight_if_none=_longest(totals, SQUARED_JUMP),
    )
    return estimate.scaled(units.CM2_PER_S, _UNIT)


def correlation_factor(totals: HopTotals) -> Estimate:
    """f = 1 + 2 <cos> of successive jumps of the defect; NaN below two pairs.

    Leading term of the series over all later jumps; exact where memory is weak. 1 means
    none, below 1 that jumps tend to be undone (or counted back and forth).
    """
    n = len(totals.cosine)
    if n < 2:
        return unknown("1")
    error = 2 * float(totals.cosine.std(ddof=1)) / math.sqrt(n)
    return normal(1 + 2 * float(totals.cosine.mean()), error, n, "1")


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
    factor = np.array(TRACER_CORRELATION) if correlation else np.ones(len(CLASSES))
    weight = totals.squared_steps * factor[totals.kind]
    estimate = compound_poisson(
        float(weight.sum()),
        float((weight**2).sum()),
        6 * totals.n_mobile * totals.exposure_ps,
        "Å^2/ps",
        dispersion=totals.dispersion,
        weight_if_none=_longest(totals, SQUARED_STEPS),
    )
    return estimate.scaled(units.CM2_PER_S, _UNIT)


def mean_squared_jump(totals: HopTotals) -> float:
    """<l²> of the hops counted, Å^2; of the longest simple jump if there are none."""
    if totals.hops == 0:
        return _longest(totals, SQUARED_JUMP)
    return float(totals.squared_jump.sum()) / totals.hops


def _longest(totals: HopTotals, squares: tuple[int, ...]) -> float:
    """Largest square among the simple hops of the defects of the cell, Å^2."""
    vacancy = CLASSES.index("vacancy")
    known = squares[vacancy:] if totals.sign == VACANCY else squares[:vacancy]
    return max(known) * (totals.lattice_constant / 4) ** 2
