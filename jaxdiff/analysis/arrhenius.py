"""Arrhenius parameters by Poisson regression on hop counts.

A straight line through ln k weighs a temperature with 3 hops like one with 300 and cannot
take one with none; the likelihood of the counts does both properly.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Real
from scipy.stats import chi2

from jaxdiff import units
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.profile import coefficient, region
from jaxdiff.analysis.regression import (
    LogLinear,
    Noise,
    NotIdentifiableError,
    Solution,
    estimated_noise,
    known_noise,
    solve,
    within_noise,
)

__all__ = [
    "ArrheniusFit",
    "Contour",
    "NotIdentifiableError",
    "Prediction",
    "fit_arrhenius",
    "fit_arrhenius_values",
]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Rate or diffusivity that a fit gives at one temperature.

    - `extrapolated`: the temperature is outside those of the data. The interval then holds
      only if the line goes on: one mechanism, no change of phase or of lattice constant.
    """

    temperature_kelvin: float
    estimate: Estimate
    extrapolated: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Contour:
    """Edge of the joint region of Ea (eV) and ln A; closed, first point = last point.

    - `level`: probability that the region holds both true values.
    """

    activation_energy: Float[np.ndarray, " points"]
    log_prefactor: Float[np.ndarray, " points"]
    level: float


@dataclasses.dataclass(frozen=True)
class ArrheniusFit:
    """k = A exp(-Ea / kT), or D likewise.

    - `activation_energy`: eV; its interval is that of the modified likelihood root, right
      with few hops too. `log_prefactor`: ln A, A in `prefactor_unit`.
    - `middle`: ln k or ln D at `middle_temperature_kelvin`, where 1/T is the mean over the
      hops: known best there and independently of Ea, the second number worth reporting.
    - `covariance`: of (ln A, Ea), with the dispersion.
    - `dispersion`: quasi-Poisson scale of the variance, at least 1. `noise`: the same as
      estimated, with its degrees of freedom, from which intervals are made.
    - `linearity_p_value`: probability of a worse straight line; NaN for two temperatures.
    - `model`: the data by temperature, of (ln A, Ea).
    """

    activation_energy: Estimate
    log_prefactor: Estimate
    middle: Estimate
    middle_temperature_kelvin: float
    prefactor_unit: str
    covariance: tuple[tuple[float, float], tuple[float, float]]
    dispersion: float
    noise: Noise
    linearity_p_value: float
    n_temperatures: int
    model: LogLinear = dataclasses.field(repr=False)

    @property
    def correlation(self) -> float:
        """Of the errors of Ea and ln A; near 1, as the data are far from 1/T = 0."""
        (a, b), (_, d) = self.covariance
        return b / math.sqrt(a * d)

    @property
    def temperature_range_kelvin(self) -> tuple[float, float]:
        """Lowest and highest temperature of the data."""
        x = -self.model.design[:, 1]
        return float(1 / (units.KB * x.max())), float(1 / (units.KB * x.min()))

    def predict(
        self, temperature: Float[np.ndarray, " points"]
    ) -> tuple[
        Float[np.ndarray, " points"],
        Float[np.ndarray, " points"],
        Float[np.ndarray, " points"],
    ]:
        """Value and pointwise 95 % band at `temperature` (K), in `prefactor_unit`."""
        design = np.stack([np.ones_like(temperature), -inverse_kt(temperature)], axis=1)
        center = design @ [self.log_prefactor.value, self.activation_energy.value]
        variance = np.einsum("pi,ij,pj->p", design, np.asarray(self.covariance), design)
        half = self.noise.quantile() * np.sqrt(np.maximum(variance, 0))
        return np.exp(center), np.exp(center - half), np.exp(center + half)

    def at(self, temperature: float) -> Prediction:
        """Value at one temperature (K) with its interval from the likelihood.

        Assumes that one Arrhenius line holds from the data to `temperature`; no error of
        that is included, only that of the two parameters. See `curvature.fit_curvature`.
        """
        n, x = self.activation_energy.n_effective, _inverse(temperature)
        logarithm = _logarithm(self.model, x, self.noise, n, self.prefactor_unit)
        value, error = math.exp(logarithm.value), logarithm.standard_error
        with np.errstate(over="ignore"):
            low, high = np.exp(logarithm.interval).tolist()
        estimate = Estimate(
            value=value,
            standard_error=value * error,
            interval=(low, high),
            n_effective=error**-2,
            unit=self.prefactor_unit,
        )
        coldest, hottest = self.temperature_range_kelvin
        inside = coldest * (1 - 1e-9) <= temperature <= hottest * (1 + 1e-9)
        return Prediction(float(temperature), estimate, not inside)

    def contour(self, level: float = 0.95, points: int = 181) -> Contour:
        """Joint region of Ea and ln A from the likelihood; a tilted, bent ellipse.

        It holds both true values with probability `level`; the two 95 % intervals
        together do not.
        """
        center = _inverse(self.middle_temperature_kelvin)
        model = _centered(self.model, center)
        edge = region(model, solve(model), self.noise, level, points)
        return Contour(edge[:, 1], edge[:, 0] + center * edge[:, 1], level)


def fit_arrhenius(
    temperature: Float[np.ndarray, " rows"],
    count: Real[np.ndarray, " rows"],
    exposure: Float[np.ndarray, " rows"],
    *,
    scale: Float[np.ndarray, " rows"] | float = 1.0,
    prefactor_unit: str = "1/ps",
    dispersion: float | None = None,
) -> ArrheniusFit:
    r"""Maximum likelihood of $n_r \sim \mathrm{Poisson}(t_r s_r^{-1} A e^{-E_a/kT_r})$.

    Rows are replicas (then the dispersion between them enters) or temperatures. Newton's
    method on the log link with 1/kT centred on the hops; $\mathrm{Var}\,E_a =
    \phi/\sum n_r (x_r-\bar x)^2$. The dispersion is Pearson's, corrected for small counts
    (doi:10.1093/biomet/asr083).

    - `temperature`, K; `exposure`, ps. Rows without hops count, rows without exposure not.
    - `scale`: s, what one hop per unit time is worth in `prefactor_unit`; 1 for rates,
      ⟨l^2⟩/6 for diffusivities, so that hops are the weights there too.
    - `dispersion`: φ if known, e.g. 1 for hops known to be independent; else estimated.
      Sums by temperature say little about it and their intervals are wide: pass replicas.
    """
    temperature, n, t, scale = np.broadcast_arrays(temperature, count, exposure, scale)
    used = t > 0
    x, n, t = inverse_kt(temperature[used]), n[used].astype(float), (t / scale)[used]
    check_identifiable(x, n)
    kelvin, row = np.unique(x, return_inverse=True)
    model = _line(kelvin, np.bincount(row, n), np.bincount(row, t))
    center = float((n * x).sum() / n.sum())
    best = solve(_centered(model, center))
    rows = _centered(_line(x, n, t), center)
    if dispersion is None:
        noise, within = (
            estimated_noise(n, rows.mean(best.coefficient), 2),
            within_noise(rows),
        )
    else:
        noise = within = known_noise(dispersion)
    dof = len(kelvin) - 2
    p_value = within.p_value(best.deviance, dof) if dof else math.nan
    return _fit(model, center, best, noise, p_value, prefactor_unit)


def fit_arrhenius_values(
    temperature: Float[np.ndarray, " rows"],
    value: Float[np.ndarray, " rows"],
    standard_error: Float[np.ndarray, " rows"],
    *,
    variance: Literal["events", "relative"] = "events",
    noise: Noise | None = None,
    prefactor_unit: str = "cm^2/s",
) -> ArrheniusFit:
    r"""The same fit from diffusivities or rates with known standard errors.

    The relative error that weighs a value is that of the fitted line, not that of the value
    as it happened to come out, which would give low values too little weight:

    - "events": $\sigma^2\propto D$, an error by counting. Each value stands for
      $(D/\sigma)^2$ hops in an exposure. For errors estimated as 1/√(hops behind it).
    - "relative": $\sigma/D$ is known before, e.g. from the number of independent
      trajectories of a mean squared displacement; hops are many in each.

    Variances are taken as known, but for `noise` (φ = 1 without): `linearity_p_value` is
    that of Pearson's χ², and small if the errors are too small or the line is bent. Values
    ≤ 0 are refused.
    """
    d, error = np.asarray(value, float), np.asarray(standard_error, float)
    temperature, d, error = np.broadcast_arrays(temperature, d, error)
    x = inverse_kt(temperature)
    _check_values(x, d, error)
    effective = (d / error) ** 2
    if variance == "events":
        model = _line(x, effective, effective / d)
    elif variance == "relative":
        model = dataclasses.replace(_line(x, d, np.ones_like(d)), weight=effective, power=2)
    else:
        raise ValueError(f"variance={variance!r} is not known; use 'events' or 'relative'.")
    center = float((effective * x).sum() / effective.sum())
    best = solve(_centered(model, center))
    noise = noise or known_noise(1)
    residual = (model.value - best.mean) ** 2 * model.weight / best.mean**model.power
    dof = len(x) - 2
    p_value = float(chi2.sf(residual.sum() / noise.scale, dof)) if dof else math.nan
    return _fit(model, center, best, noise, p_value, prefactor_unit)


def _fit(
    model: LogLinear,
    center: float,
    best: Solution,
    noise: Noise,
    linearity_p_value: float,
    unit: str,
) -> ArrheniusFit:
    """All numbers of the fit `best`, whose 1/kT are centred on `center`."""
    shift = np.array([[1.0, center], [0.0, 1.0]])  # ln A = centred + Ea x̄
    covariance = noise.scale * shift @ best.covariance @ shift.T
    n = float((model.weight * model.value ** (2 - model.power)).sum())
    return ArrheniusFit(
        activation_energy=coefficient(_centered(model, center), best, 1, noise, n, "eV"),
        log_prefactor=_logarithm(model, 0.0, noise, n, unit),
        middle=_logarithm(model, center, noise, n, unit),
        middle_temperature_kelvin=1 / (units.KB * center),
        prefactor_unit=unit,
        covariance=_pairs(covariance),
        dispersion=noise.scale,
        noise=noise,
        linearity_p_value=linearity_p_value,
        n_temperatures=len(np.unique(model.design[:, 1])),
        model=model,
    )


def _logarithm(model: LogLinear, x: float, noise: Noise, n: float, unit: str) -> Estimate:
    """ln k or ln D where 1/kT is x."""
    model = _centered(model, x)
    return coefficient(model, solve(model), 0, noise, n, f"ln({unit})")


def _line(
    x: Float[np.ndarray, " rows"], n: Float[np.ndarray, " rows"], t: np.ndarray
) -> LogLinear:
    """ln rate = ln A - Ea x."""
    design = np.stack([np.ones_like(x), -x], axis=1)
    return LogLinear(design=design, value=n, offset=np.log(t), weight=np.ones_like(x))


def _centered(model: LogLinear, center: float) -> LogLinear:
    """The same line with its intercept at x = `center`."""
    return dataclasses.replace(model, design=model.design + [0.0, center])


def _pairs(matrix: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = matrix.tolist()
    return (a, b), (c, d)


def inverse_kt(temperature: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """1/kT, 1/eV."""
    if np.any(np.asarray(temperature) <= 0):
        raise ValueError(f"temperatures must be positive kelvins, got {temperature}.")
    return 1 / (units.KB * np.asarray(temperature, dtype=float))


def _inverse(temperature: float) -> float:
    return float(inverse_kt(np.array([temperature]))[0])


def _check_values(
    x: Float[np.ndarray, " rows"],
    value: Float[np.ndarray, " rows"],
    error: Float[np.ndarray, " rows"],
) -> None:
    if not (np.isfinite(value).all() and (value > 0).all()):
        raise ValueError(
            f"values must be positive and finite, got {value}: a value of zero has no "
            "relative error. Fit hop counts with fit_arrhenius, which takes zeros; "
            "leaving zeros out makes Ea too low."
        )
    if not (np.isfinite(error).all() and (error > 0).all()):
        raise ValueError(f"standard errors must be positive and finite, got {error}.")
    if len(np.unique(x)) < 2:
        raise NotIdentifiableError(
            "An activation energy needs values at two temperatures at least, got "
            f"{len(np.unique(x))}. Run another temperature."
        )


def check_identifiable(
    x: Float[np.ndarray, " rows"], n: Float[np.ndarray, " rows"]
) -> None:
    """The likelihood has a maximum iff the mean 1/kT of the hops is inside the range."""
    if len(np.unique(x)) < 2:
        raise NotIdentifiableError(
            "An activation energy needs at least two temperatures with a known defect, and "
            f"there is {'only one' if len(x) else 'none'}. Run another temperature."
        )
    if n.sum() == 0:
        raise NotIdentifiableError(
            f"No hop at any of {len(np.unique(x))} temperatures: only upper bounds of the "
            "rates are known. Run longer, with more replicas, or hotter."
        )
    mean = (n * x).sum() / n.sum()
    if np.isclose(mean, [x.min(), x.max()], rtol=1e-12, atol=0).any():
        kelvin = 1 / (units.KB * mean)
        raise NotIdentifiableError(
            f"{f'All {n.sum():g} hops are' if n.sum() > 1 else 'The only hop is'} at "
            f"{kelvin:.0f} K, one end of the range: the data only bound the activation "
            "energy from one side. Run longer at the other "
            f"temperature{'' if len(np.unique(x)) == 2 else 's'}."
        )
