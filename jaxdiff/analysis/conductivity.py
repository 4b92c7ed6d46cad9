r"""Ionic conductivity from the motion of charge, and its Arrhenius line.

$$ \sigma = \frac{n z^2e^2}{k_BT}D^\sigma, \qquad
   \sigma_{NE} = \frac{n z^2e^2}{k_BT}D^* = H_R\,\sigma, $$

with n mobile ions of charge z per volume: σ from their collective displacement, beside it
that of Nernst and Einstein, who take them as independent. Lines are fitted to ln D, so
those of ln(σT) are the same.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxdiff import units
from jaxdiff.analysis.activation import ROOM_TEMPERATURE
from jaxdiff.analysis.arrhenius import (
    NotIdentifiableError,
    fit_arrhenius_values,
)
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.transport import Transport

_COULOMB = 1.602176634e-19
_PER_CM3 = 1e24  # of Å^-3

LEAST_WORTH = 1.0
"""Observations behind a diffusivity, (value/error)², below which it is only bounded."""


@dataclasses.dataclass(frozen=True)
class Activated:
    """The line through diffusivities of several temperatures, and what it gives at 300 K.

    - `activation_energy`, eV; `log_prefactor`, ln(cm²/s). `room_diffusivity`, cm²/s, and
      `room_conductivity`, S/cm: at `ROOM_TEMPERATURE`; `extrapolated`: if that is outside
      of the temperatures.
    - `linearity_p_value`: of a straight line; NaN for two temperatures.
    - `left_out`, K: temperatures at which D is only bounded. Ea may come out low by them.
    """

    activation_energy: Estimate
    log_prefactor: Estimate
    room_diffusivity: Estimate
    room_conductivity: Estimate
    extrapolated: bool
    linearity_p_value: float
    left_out: tuple[float, ...]


def conductivity(
    diffusivity: Estimate, charge: float, density: float, kelvin: float
) -> Estimate:
    """S/cm, of a diffusivity, cm²/s.

    - `charge`, elementary charges; `density`, 1/Å^3, of mobile ions.
    """
    volt = units.KB * kelvin  # kT/e
    factor = density * _PER_CM3 * charge**2 * _COULOMB / volt
    return diffusivity.scaled(factor, "S/cm")


def of_row(row: Transport, charge: float) -> tuple[Estimate, Estimate]:
    """σ by the motion of charge, and by Nernst and Einstein, S/cm."""
    density, kelvin = row.density, row.temperature_kelvin
    return (
        conductivity(row.charge.mean, charge, density, kelvin),
        conductivity(row.tracer.mean, charge, density, kelvin),
    )


def activated(
    rows: Sequence[Transport], diffusivity: Sequence[Estimate], charge: float
) -> tuple[Activated | None, str]:
    """The line, or why there is none.

    The density at 300 K is taken to be that of the coldest temperature.
    """
    known = [d.n_effective >= LEAST_WORTH for d in diffusivity]
    kelvin = np.array([row.temperature_kelvin for row in rows])
    value = np.array([d.value for d in diffusivity])
    error = np.array([d.standard_error for d in diffusivity])
    try:
        fit = fit_arrhenius_values(
            kelvin[known], value[known], error[known], variance="relative"
        )
    except NotIdentifiableError as problem:
        return None, str(problem)
    room, coldest = fit.at(ROOM_TEMPERATURE), rows[int(kelvin.argmin())]
    density = coldest.density
    line = Activated(
        activation_energy=fit.activation_energy,
        log_prefactor=fit.log_prefactor,
        room_diffusivity=room.estimate,
        room_conductivity=conductivity(room.estimate, charge, density, ROOM_TEMPERATURE),
        extrapolated=room.extrapolated,
        linearity_p_value=fit.linearity_p_value,
        left_out=tuple(kelvin[~np.array(known)].tolist()),
    )
    return line, ""
