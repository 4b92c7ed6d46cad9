"""Diffusivities from hop counts: of the defect, and of the cations as tracers.

The two differ by the number of cations and must not be mixed. With one interstitial among
N cations, hops at the total rate Γ, defect jumps l and cation steps s,

    D_def = Γ ⟨l²⟩ f / 6                 of the interstitial; independent of N
    D*    = Γ ⟨Σ s²⟩ f_tracer / (6 N)    of a cation chosen at random; N is reported with it

In rock salt the Haven ratio N D* / D_def is 1/3 for collinear interstitialcy hops: a cation
pushed on is likely to come back, the defect is not.
"""

from typing import Literal

import numpy as np

from jaxdiff import units
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.rates import compound_poisson
from jaxdiff.analysis.series import HopTotals

_UNIT = "cm^2/s"


def defect_diffusivity(totals: HopTotals) -> Estimate:
    """D_def = Σ |l|² / (6 t), cm^2/s: successive jumps taken as uncorrelated (f = 1).

    Without hops the interval is bounded with the longest jump of the network.
    """
    jumps = totals.squared_jump
    estimate = compound_poisson(
        float(jumps.sum()),
        float((jumps**2).sum()),
        6 * totals.exposure_ps,
        "Å^2/ps",
        dispersion=totals.dispersion,
        weight_if_none=longest(totals, "squared_length"),
    )
    return estimate.scaled(units.CM2_PER_S, _UNIT)


def tracer_diffusivity(totals: HopTotals, *, correlation: bool) -> Estimate:
    """D* = Σ |s|² f / (6 N t) of the N cations of the cell, cm^2/s.

    With `correlation` each class of hop gets the factor of its jump in the network;
    without, f = 1, an upper estimate. Neither includes a memory of the defect itself.
    """
    factor = np.array(totals.network.tracer_correlation)
    factor = factor if correlation else np.ones(len(factor))
    weight = totals.squared_steps * factor[totals.kind]
    estimate = compound_poisson(
        float(weight.sum()),
        float((weight**2).sum()),
        6 * totals.n_mobile * totals.exposure_ps,
        "Å^2/ps",
        dispersion=totals.dispersion,
        weight_if_none=longest(totals, "squared_steps"),
    )
    return estimate.scaled(units.CM2_PER_S, _UNIT)


def mean_squared_jump(totals: HopTotals) -> float:
    """⟨l²⟩ of the hops counted, Å^2; of the longest simple jump if there are none."""
    if totals.hops == 0:
        return longest(totals, "squared_length")
    return float(totals.squared_jump.sum()) / totals.hops


def longest(totals: HopTotals, square: Literal["squared_length", "squared_steps"]) -> float:
    """The largest of a square among the jumps of the defects of the cell, Å^2."""
    network = totals.network
    known = [getattr(jump, square) for jump in network.jumps_of(totals.sign)]
    return max(known) * (totals.lattice_constant / network.edge) ** 2
