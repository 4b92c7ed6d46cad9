"""Do the estimates of a run agree with one another and with what they assume?"""

import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import chi2

from jaxdiff.analysis.activation import Activation
from jaxdiff.analysis.checks import Check, smallest_of
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.memory import PAIRS_PER_ORDER
from jaxdiff.analysis.stationarity import Stationarity

P_LIMIT = 0.01
"""Smallest p-value that passes."""


def check_estimates(
    factor: Mapping[float, Estimate],
    no_memory: float,
    agreement: Mapping[float, float],
    exponential: Mapping[float, float],
    stationary: Stationarity | None,
    activation: Activation,
) -> tuple[Check, ...]:
    """Checks of estimators; correlation factors, z-scores and p-values by temperature, K.

    - `no_memory`: p of the factor 1 at all temperatures.
    """
    return (
        _memory(factor, no_memory),
        _agreement(agreement),
        _stationary(stationary),
        _exponential(exponential),
        _curvature(activation),
    )


def _memory(factor: Mapping[float, Estimate], p: float) -> Check:
    name = "jumps without memory"
    known = {t: f for t, f in factor.items() if math.isfinite(f.value)}
    if not known:
        few = f"fewer than {PAIRS_PER_ORDER} pairs of hops at every temperature"
        return Check(name, None, few)
    seen = ", ".join(f"{f.value:.2f} at {t:.0f} K" for t, f in known.items())
    return Check(
        name,
        p > P_LIMIT,
        f"f of the defect {seen}; p = {p:.2g} for f = 1",
        "Jumps depend on the previous one. The headline includes f; rates, and D with f = "
        "1, also count jumps that are undone. If they are undone at once, look at the "
        "sites and at dwell_strides.",
    )


def _agreement(z: Mapping[float, float]) -> Check:
    name = "two estimators agree"
    known = {t: v for t, v in z.items() if math.isfinite(v)}
    if not known:
        return Check(name, None, "no temperature has hops for both estimators")
    square = sum(v * v for v in known.values())
    p = float(chi2.sf(square, len(known)))
    scores = ", ".join(f"{v:+.1f} at {t:.0f} K" for t, v in known.items())
    return Check(
        name,
        p > P_LIMIT,
        "D from displacements minus D of the headline, in standard errors: "
        f"{scores}; p = {p:.2g}",
        "Jumps have a memory that f does not describe, or hops are miscounted: trust "
        "neither value, and look at the mean squared displacements.",
    )


def _stationary(seen: Stationarity | None) -> Check:
    name = "stationary"
    if seen is None or not math.isfinite(seen.p_value) or seen.count.sum() == 0:
        return Check(name, None, "no hops to compare between blocks of time")
    expected = ", ".join(f"{e:.0f}" for e in seen.expected)
    return Check(
        name,
        seen.p_value > P_LIMIT,
        f"hops in the quarters of the time: {', '.join(map(str, seen.count))} (expected "
        f"{expected}), p = {seen.p_value:.2g}",
        "The rate changes with time: equilibrate longer and leave the beginning out.",
    )


def _exponential(p_value: Mapping[float, float]) -> Check:
    name = "residences exponential"
    known = {t: p for t, p in p_value.items() if math.isfinite(p)}
    if not known:
        return Check(name, None, "no temperature has two hops")
    worst = min(known, key=lambda t: known[t])
    p = min(1.0, known[worst] * len(known))
    return Check(
        name,
        p > P_LIMIT,
        f"p = {p:.2g} at {worst:.0f} K{smallest_of(len(known))}",
        "Residence times are not exponential: look at the survival curves, and raise "
        "dwell_strides if there are too many short ones. D does not depend on it, the "
        "interval of the rate does.",
    )


def _curvature(activation: Activation) -> Check:
    name = "Arrhenius curvature"
    bent = activation.curvature
    if bent is None:
        reason = activation.curvature_missing or activation.not_identifiable
        return Check(name, None, reason or "not determined")
    change = bent.activation_energy_change
    return Check(
        name,
        bool(np.isfinite(bent.p_value) and bent.p_value > P_LIMIT),
        f"Ea changes by {change} from the coldest to the hottest temperature, p = "
        f"{bent.p_value:.2g}",
        "ln D is not straight in 1/T: do not extrapolate, and fit fewer temperatures.",
    )


def agreement_z(hops: Estimate, gls: Estimate, dispersion: float = 1.0) -> float:
    """D by displacements less D by hops, in standard errors of the difference.

    By hops is the efficient estimator, so the variance of the difference is the difference
    of the variances (doi:10.2307/1913827). The error of GLS is
    taken at the D of the count: at its own, a low value would look precise. It grows with D
    between √D (few hops) and D (many), here as D^(3/4). NaN where one of them is zero.
    """
    if not (hops.value > 0 and gls.value > 0):
        return math.nan
    error = gls.standard_error * (hops.value / gls.value) ** 0.75
    other = error**2 * dispersion
    variance = max(other - hops.standard_error**2, 0.1 * other)
    return (gls.value - hops.value) / math.sqrt(variance) if variance > 0 else math.nan
