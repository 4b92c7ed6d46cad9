"""The lattice constant as a polynomial of temperature, and the expansion that it means."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxdiff.analysis.estimate import Estimate, normal

CURVE_LIMIT = 0.01
"""Smallest p-value of χ² of the polynomial; below it errors are widened by χ²."""

_LINEAR_UP_TO = 3  # temperatures; more determine a parabola


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """a(T) = Σ_k c_k x^k, Å, with x = (T - center) / scale.

    - `covariance` of the coefficients, Å^2, widened by χ² per degree of freedom where
      `p_value` is below `CURVE_LIMIT`. Without degrees of freedom p is NaN.
    """

    center_kelvin: float
    scale_kelvin: float
    coefficient_angstrom: tuple[float, ...]
    covariance_angstrom2: tuple[tuple[float, ...], ...]
    chi_square: float
    degrees_of_freedom: int
    p_value: float

    def value(self, kelvin: float) -> Estimate:
        """a, Å."""
        gradient = self._powers(kelvin)
        return self._propagate(float(gradient @ self.coefficient_angstrom), gradient, "Å")

    def expansion(self, kelvin: float) -> Estimate:
        """α_L = a'/a, 1/K."""
        power, order = self._powers(kelvin), np.arange(len(self.coefficient_angstrom))
        slope = np.concatenate([[0.0], power[:-1]]) * order / self.scale_kelvin
        a, da = (float(row @ self.coefficient_angstrom) for row in (power, slope))
        return self._propagate(da / a, slope / a - da * power / a**2, "1/K")

    def _powers(self, kelvin: float) -> Float[np.ndarray, " terms"]:
        x = (kelvin - self.center_kelvin) / self.scale_kelvin
        return x ** np.arange(len(self.coefficient_angstrom))

    def _propagate(self, value: float, gradient: np.ndarray, unit: str) -> Estimate:
        error = math.sqrt(gradient @ np.array(self.covariance_angstrom2) @ gradient)
        n = self.degrees_of_freedom + len(gradient)
        return normal(value, error, n, unit)


def fit_curve(
    temperature: Float[np.ndarray, " temperatures"],
    value: Float[np.ndarray, " temperatures"],
    error: Float[np.ndarray, " temperatures"],
) -> Polynomial:
    """Weighted least squares: a straight line through 2 or 3 temperatures, else a parabola.

    - `temperature`, K; `value` and `error` of the lattice constant, Å.
    """
    n = len(temperature)
    if n < 2:
        raise ValueError(
            f"{n} temperature given; thermal expansion needs two or more. Run others."
        )
    n_terms = 2 if n <= _LINEAR_UP_TO else 3
    center, scale = float(temperature.mean()), float(np.ptp(temperature)) / 2
    x = (temperature - center) / scale
    design = x[:, None] ** np.arange(n_terms) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    coefficient = covariance @ design.T @ (value / error)
    chi_square = float(((value / error - design @ coefficient) ** 2).sum())
    dof = n - n_terms
    p_value = float(stats.chi2.sf(chi_square, dof)) if dof else math.nan
    if p_value < CURVE_LIMIT:
        covariance = covariance * chi_square / dof
    return Polynomial(
        center_kelvin=center,
        scale_kelvin=scale,
        coefficient_angstrom=tuple(coefficient.tolist()),
        covariance_angstrom2=tuple(map(tuple, covariance.tolist())),
        chi_square=chi_square,
        degrees_of_freedom=dof,
        p_value=p_value,
    )
