"""How much longer must be simulated for a wanted error of the activation energy?

Expected hops n = k t decide: Var Ea = φ / Σ n (x - x̄)² with x = 1/kT and x̄ its mean over
the hops. Rates are those of a fit or a guess, so that plans are about as good as these.
"""

import dataclasses
import itertools
import math

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from jaxdiff.analysis.arrhenius import ArrheniusFit, inverse_kt
from jaxdiff.analysis.estimate import NORMAL_95


@dataclasses.dataclass(frozen=True)
class Plan:
    """Simulation time by temperature and what it brings.

    - `exposure_ps`: replica-picoseconds in all; `extra_ps`: of these still to be run.
    - `hops`: expected in all. `half_width_ev`: of the 95 % interval of Ea expected.
    - `factor`: total time by present time; NaN for a plan from nothing.
    """

    temperature_kelvin: Float[np.ndarray, " temperatures"]
    exposure_ps: Float[np.ndarray, " temperatures"]
    extra_ps: Float[np.ndarray, " temperatures"]
    hops: Float[np.ndarray, " temperatures"]
    half_width_ev: float
    factor: float

    @property
    def share(self) -> Float[np.ndarray, " temperatures"]:
        """Of the total time, by temperature."""
        return self.exposure_ps / self.exposure_ps.sum()


def energy_error(
    temperature: Float[np.ndarray, " temperatures"],
    hops: Float[np.ndarray, " temperatures"],
    dispersion: float = 1.0,
) -> float:
    """Standard error of Ea, eV, with `hops` at each temperature (K)."""
    x, n = inverse_kt(temperature), np.asarray(hops, float)
    spread = float((n * (x - (n * x).sum() / n.sum()) ** 2).sum())
    return math.sqrt(dispersion / spread) if spread > 0 else math.inf


def extend(
    fit: ArrheniusFit,
    temperature: Float[np.ndarray, " rows"],
    exposure: Float[np.ndarray, " rows"],
    half_width: float,
    *,
    scale: Float[np.ndarray, " rows"] | float = 1.0,
) -> Plan:
    """The same design, run longer until the 95 % interval of Ea is ± `half_width` eV.

    Hops are those of the fitted line, their dispersion that of the fit (known by then).

    - `temperature`, K, and `exposure`, ps, by replica or summed, and `scale` as given to
      `fit_arrhenius`. If the target is reached already the plan is the present state.
    """
    _check_target(half_width)
    temperature, exposure, scale = np.broadcast_arrays(temperature, exposure, scale)
    kelvin, row = np.unique(temperature, return_inverse=True)
    t = np.bincount(row, exposure)
    hops = np.bincount(row, exposure / scale * fit.predict(temperature)[0])
    present = NORMAL_95 * energy_error(kelvin, hops, fit.dispersion)
    factor = max(1.0, (present / half_width) ** 2)
    return Plan(
        temperature_kelvin=kelvin,
        exposure_ps=factor * t,
        extra_ps=(factor - 1) * t,
        hops=factor * hops,
        half_width_ev=present / math.sqrt(factor),
        factor=factor,
    )


def plan_shares(
    temperature: Float[np.ndarray, " temperatures"],
    rate: Float[np.ndarray, " temperatures"],
    share: Float[np.ndarray, " temperatures"],
    half_width: float,
    *,
    dispersion: float = 1.0,
) -> Plan:
    """Time needed for ± `half_width` eV (95 %) with given shares of it by temperature.

    - `rate`: expected hop rates, 1/ps. `share`: any positive scale: ones for equal times,
      1 / `rate` for equal hops.
    """
    _check_target(half_width)
    kelvin, k = np.asarray(temperature, float), np.asarray(rate, float)
    if not (np.isfinite(k).all() and (k > 0).all()):
        raise ValueError(f"rates must be positive and finite, in 1/ps, got {k}.")
    share = np.asarray(share, float) / np.sum(share)
    unit = NORMAL_95 * energy_error(kelvin, k * share, dispersion)  # of 1 ps in all
    exposure = share * (unit / half_width) ** 2
    return Plan(kelvin, exposure, exposure, k * exposure, half_width, math.nan)


def allocate(
    temperature: Float[np.ndarray, " temperatures"],
    rate: Float[np.ndarray, " temperatures"],
    half_width: float,
    *,
    least_share: float = 0.1,
    dispersion: float = 1.0,
) -> Plan:
    r"""Shares that reach ± `half_width` eV (95 %) in the least total time.

    Two parameters need two temperatures, with times $t\propto k^{-1/2}$: the ends of the
    range, unless hops at the coldest are so rare that the next one serves better. But two
    temperatures cannot show a curvature.

    - `rate`: expected hop rates, 1/ps. `least_share`: of the time, for every temperature;
      0 for the bare optimum at two of them.
    """
    n = len(temperature)
    if n < 2 or len(np.unique(temperature)) < n:
        raise ValueError(f"temperatures must be two at least, all distinct: {temperature}.")
    if not 0 <= least_share * n < 1:
        raise ValueError(
            f"least_share={least_share} at {n} temperatures must be at least 0 and below "
            f"{1 / n:.3g}, or nothing is left to distribute."
        )

    def plan(pair: tuple[int, int], part: float) -> Plan:
        share = np.full(n, float(least_share))
        share[list(pair)] += (1 - least_share * n) * np.array([part, 1 - part])
        return plan_shares(temperature, rate, share, half_width, dispersion=dispersion)

    def best(pair: tuple[int, int]) -> Plan:
        found = minimize_scalar(
            lambda part: math.log(plan(pair, part).exposure_ps.sum()),
            bounds=(1e-6, 1 - 1e-6),
            method="bounded",
            options={"xatol": 1e-9},
        )
        return plan(pair, float(np.asarray(found.x)))

    plans = [best(pair) for pair in itertools.combinations(range(n), 2)]
    return min(plans, key=lambda each: float(each.exposure_ps.sum()))


def hops_to_resolve(
    temperature: Float[np.ndarray, " temperatures"],
    difference: float = 0.02,
    *,
    power: float = 0.8,
    dispersion: float = 1.0,
) -> float:
    r"""Hops at each temperature and of each of two models that show a difference of Ea.

    $\Delta E = (z_{0.975}+z_\mathrm{power})\,\sqrt{2}\,\sigma(E_a)$, two-sided test at 5 %,
    equal hops at every temperature (K). `difference`: eV.
    """
    if not 0.025 < power < 1:
        raise ValueError(f"power={power} must be between 0.025 and 1, e.g. 0.8.")
    if not abs(difference) > 0:
        raise ValueError(f"difference={difference} must not be zero, in eV, e.g. 0.02.")
    sigma = energy_error(temperature, np.ones(len(temperature)), dispersion)
    quantiles = NORMAL_95 + float(norm.ppf(power))
    return 2 * (quantiles * sigma / difference) ** 2


def _check_target(half_width: float) -> None:
    if not (half_width > 0 and math.isfinite(half_width)):
        raise ValueError(f"half_width={half_width} must be positive, in eV, e.g. 0.01.")
