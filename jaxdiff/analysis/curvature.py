"""Is ln k straight in 1/kT? A quadratic term, its error and its significance."""

import dataclasses

import numpy as np
from jaxtyping import Float, Real

from jaxdiff.analysis.arrhenius import inverse_kt
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.profile import coefficient, signed_root
from jaxdiff.analysis.regression import (
    LogLinear,
    NotIdentifiableError,
    known_noise,
    solve,
    within_noise,
)


@dataclasses.dataclass(frozen=True)
class Curvature:
    r"""$\ln k = a - E_a(x-\bar x) + \tfrac12 c\,(x-\bar x)^2$ with x = 1/kT.

    - `coefficient`: c, eV^2; positive where Ea rises with temperature.
    - `activation_energy_change`: the same as c times the range of 1/kT, eV: the slope at
      the hottest temperature less that at the coldest.
    - `p_value`: probability of a larger |c| of either sign if the line is straight.
    """

    coefficient: Estimate
    activation_energy_change: Estimate
    p_value: float


def fit_curvature(
    temperature: Float[np.ndarray, " rows"],
    count: Real[np.ndarray, " rows"],
    exposure: Float[np.ndarray, " rows"],
    *,
    scale: Float[np.ndarray, " rows"] | float = 1.0,
    dispersion: float | None = None,
) -> Curvature:
    """Poisson regression with a quadratic term; arguments as in `fit_arrhenius`.

    The dispersion is that between replicas of one temperature, which a bent line cannot
    raise; with one row per temperature hops are taken as Poisson. The p-value is that of
    the modified likelihood root.
    """
    temperature, n, t, scale = np.broadcast_arrays(temperature, count, exposure, scale)
    used = t > 0
    x, n, t = inverse_kt(temperature[used]), n[used].astype(float), (t / scale)[used]
    hopping = len(np.unique(x[n > 0]))
    if hopping < 3:
        raise NotIdentifiableError(
            f"A curvature needs hops at three temperatures at least, got {hopping}. Run "
            "longer, or another temperature."
        )
    z = x - (n * x).sum() / n.sum()
    design = np.stack([np.ones_like(z), -z, z**2 / 2], axis=1)
    model = LogLinear(design, n, np.log(t), np.ones_like(n))
    noise = within_noise(model) if dispersion is None else known_noise(dispersion)
    best = solve(model)
    value = coefficient(model, best, 2, noise, float(n.sum()), "eV^2")
    root = signed_root(model, best, 2, 0.0, noise.scale)
    return Curvature(
        coefficient=value,
        activation_energy_change=value.scaled(float(np.ptp(x)), "eV"),
        p_value=2 * noise.tail(abs(root)),
    )
