"""Arrhenius parameters by Poisson regression on hop counts.

A straight line through ln k weighs a temperature with 3 hops like one with 300 and cannot
take one with none; the likelihood of the counts does both properly.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Real
from scipy.stats import chi2

from jaxdiff import units
from jaxdiff.analysis.estimate import NORMAL_95, Estimate, normal


class NotIdentifiableError(ValueError):
    """The data do not determine an activation energy."""


@dataclasses.dataclass(frozen=True)
class ArrheniusFit:
    """k = A exp(-Ea / kT), or D likewise.

    - `activation_energy`: eV. `log_prefactor`: ln A, A in `prefactor_unit`.
    - `covariance`: of (ln A, Ea), with the dispersion.
    - `dispersion`: quasi-Poisson scale of the variance, at least 1.
    - `linearity_p_value`: probability of a worse straight line; NaN for two temperatures.
    """

    activation_energy: Estimate
    log_prefactor: Estimate
    prefactor_unit: str
    covariance: tuple[tuple[float, float], tuple[float, float]]
    dispersion: float
    linearity_p_value: float
    n_temperatures: int

    def predict(
        self, temperature: Float[np.ndarray, " points"]
    ) -> tuple[
        Float[np.ndarray, " points"],
        Float[np.ndarray, " points"],
        Float[np.ndarray, " points"],
    ]:
        """Value and pointwise 95 % band at `temperature` (K), in `prefactor_unit`."""
        design = np.stack([np.ones_like(temperature), -_inverse_kt(temperature)], axis=1)
        center = design @ [self.log_prefactor.value, self.activation_energy.value]
        variance = np.einsum("pi,ij,pj->p", design, np.asarray(self.covariance), design)
        half = NORMAL_95 * np.sqrt(np.maximum(variance, 0))
        return np.exp(center), np.exp(center - half), np.exp(center + half)


def fit_arrhenius(
    temperature: Float[np.ndarray, " rows"],
    count: Real[np.ndarray, " rows"],
    exposure: Float[np.ndarray, " rows"],
    *,
    scale: Float[np.ndarray, " rows"] | float = 1.0,
    prefactor_unit: str = "1/ps",
) -> ArrheniusFit:
    r"""Maximum likelihood of $n_r \sim \mathrm{Poisson}(t_r s_r^{-1} A e^{-E_a/kT_r})$.

    Rows are replicas (then the dispersion between them enters) or temperatures. Newton's
    method on the log link with 1/kT centred on the hops; $\mathrm{Var}\,E_a =
    \phi/\sum n_r (x_r-\bar x)^2$. The dispersion is Pearson's, corrected for small counts
    (doi:10.1093/biomet/asr083).

    - `temperature`, K; `exposure`, ps. Rows without hops count, rows without exposure not.
    - `scale`: s, what one hop per unit time is worth in `prefactor_unit`; 1 for rates,
      <l^2>/6 for diffusivities, so that hops are the weights there too.
    """
    temperature, n, t, scale = np.broadcast_arrays(temperature, count, exposure, scale)
    used = t > 0
    x, n, t = _inverse_kt(temperature[used]), n[used].astype(float), (t / scale)[used]
    _check_identifiable(x, n)
    center = float((n * x).sum() / n.sum())
    intercept, slope = _newton(x - center, n, np.log(t))
    mean = t * np.exp(intercept + slope * (x - center))
    dispersion = _dispersion(n, mean)
    design = np.stack([np.ones_like(x), -(x - center)], axis=1)  # of (ln A centred, Ea)
    covariance = dispersion * np.linalg.inv((design.T * mean) @ design)
    shift = np.array([[1.0, center], [0.0, 1.0]])  # ln A = centred + Ea x̄
    covariance = shift @ covariance @ shift.T
    errors = np.sqrt(np.diag(covariance))
    return ArrheniusFit(
        activation_energy=normal(-slope, float(errors[1]), float(n.sum()), "eV"),
        log_prefactor=normal(
            intercept - slope * center,
            float(errors[0]),
            float(n.sum()),
            f"ln({prefactor_unit})",
        ),
        prefactor_unit=prefactor_unit,
        covariance=_pairs(covariance),
        dispersion=dispersion,
        linearity_p_value=_linearity(x, n, mean, dispersion),
        n_temperatures=len(np.unique(x)),
    )


def _pairs(matrix: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = matrix.tolist()
    return (a, b), (c, d)


def _inverse_kt(temperature: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """1/kT, 1/eV."""
    if np.any(np.asarray(temperature) <= 0):
        raise ValueError(f"temperatures must be positive kelvins, got {temperature}.")
    return 1 / (units.KB * np.asarray(temperature, dtype=float))


def _check_identifiable(
    x: Float[np.ndarray, " rows"], n: Float[np.ndarray, " rows"]
) -> None:
    """The likelihood has a maximum iff the mean 1/kT of the hops is inside the range."""
    if len(np.unique(x)) < 2:
        raise NotIdentifiableError(
            "An activation energy needs at least two temperatures with a known defect, got "
            f"{len(np.unique(x))}. Run another temperature."
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
            f"All {n.sum():g} hops are at {kelvin:.0f} K, one end of the range: the data "
            "only bound the activation energy from one side. Run longer at the others."
        )


def _newton(
    x: Float[np.ndarray, " rows"], n: Float[np.ndarray, " rows"], offset: np.ndarray
) -> tuple[float, float]:
    """Intercept and slope of ln(rate); the negative log-likelihood is convex."""
    beta = np.array([math.log(n.sum() / np.exp(offset).sum()), 0.0])
    design = np.stack([np.ones_like(x), x], axis=1)

    def loss(beta: np.ndarray) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(design @ beta + offset).sum() - n @ (design @ beta))

    for _ in range(200):
        mean = np.exp(design @ beta + offset)
        step = np.linalg.solve((design.T * mean) @ design, design.T @ (n - mean))
        while (
            loss(beta + step) > loss(beta) + 1e-9 * n.sum() and np.abs(step).max() > 1e-12
        ):
            step = step / 2
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            return float(beta[0]), float(beta[1])
    raise NotIdentifiableError(
        f"The likelihood of {n.sum():g} hops has no maximum within 200 Newton steps; the "
        f"last ln A and slope are {beta}. Add hops at a second temperature."
    )


def _dispersion(n: Float[np.ndarray, " rows"], mean: Float[np.ndarray, " rows"]) -> float:
    if len(n) <= 2:
        return 1.0
    pearson = float(((n - mean) ** 2 / mean).sum()) / (len(n) - 2)
    return max(1.0, pearson / max(1 + float(((n - mean) / mean).mean()), 1e-3))


def _linearity(
    x: Float[np.ndarray, " rows"],
    n: Float[np.ndarray, " rows"],
    mean: Float[np.ndarray, " rows"],
    dispersion: float,
) -> float:
    """Probability of a larger deviance of the temperatures from the line."""
    _, row = np.unique(x, return_inverse=True)
    n, mean = np.bincount(row, n), np.bincount(row, mean)
    if len(n) <= 2:
        return math.nan
    logarithm = np.log(np.where(n > 0, n, 1) / np.where(n > 0, mean, 1))
    deviance = 2 * float((n * logarithm - (n - mean)).sum())
    return float(chi2.sf(max(deviance, 0) / dispersion, len(n) - 2))
