"""Activation energies of one run by two estimators, and what follows from them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxdiff import units
from jaxdiff.analysis.arrhenius import (
    ArrheniusFit,
    NotIdentifiableError,
    Prediction,
    fit_arrhenius,
    fit_arrhenius_values,
)
from jaxdiff.analysis.curvature import Curvature, fit_curvature
from jaxdiff.analysis.diffusion import mean_squared_jump
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.planning import Plan, extend
from jaxdiff.analysis.series import Series, pool

ROOM_TEMPERATURE = 300.0
"""At which every fit is read, K; flagged where it is outside the temperatures run."""

HALF_WIDTH = 0.01
"""Of the 95 % interval of Ea that the plan aims at, eV."""


@dataclasses.dataclass(frozen=True)
class Activation:
    """Fits over all temperatures; None where the data do not determine them.

    - `diffusion`: of D_def (f = 1) by hop counts, cm^2/s; `rate`: of the hop rate, 1/ps.
    - `gls`: of D_def by generalised least squares, at the temperatures with hops.
    - `curvature`: of ln D in 1/kT. `room`: D_def at `ROOM_TEMPERATURE`.
    - `plan`: the same design, run until the interval of Ea is ± `HALF_WIDTH`.
    - `not_identifiable`, `gls_missing`, `curvature_missing`: why there is none.
    """

    diffusion: ArrheniusFit | None
    rate: ArrheniusFit | None
    gls: ArrheniusFit | None
    curvature: Curvature | None
    room: Prediction | None
    plan: Plan | None
    not_identifiable: str | None
    gls_missing: str | None
    curvature_missing: str | None


def activation(series: Series, gls: Sequence[tuple[float, Estimate]]) -> Activation:
    """All fits of a run; `gls`: temperatures (K) and D_def from displacements."""
    data = (series.temperature, series.hop_count, series.exposure_ps)
    scale = jump_scale(series)
    gls_fit, gls_missing = _gls(gls)
    try:
        rate = fit_arrhenius(*data)
        fit = fit_arrhenius(*data, scale=scale, prefactor_unit="cm^2/s")
    except NotIdentifiableError as error:
        reason = str(error)
        return Activation(None, None, gls_fit, None, None, None, reason, gls_missing, None)
    curvature, bent = None, None
    try:
        curvature = fit_curvature(*data, scale=scale)
    except NotIdentifiableError as error:
        bent = str(error)
    exposure = series.exposure_ps
    plan = extend(fit, series.temperature, exposure, HALF_WIDTH, scale=scale)
    return Activation(
        diffusion=fit,
        rate=rate,
        gls=gls_fit,
        curvature=curvature,
        room=fit.at(ROOM_TEMPERATURE),
        plan=plan,
        not_identifiable=None,
        gls_missing=gls_missing,
        curvature_missing=bent,
    )


def jump_scale(series: Series) -> Float[np.ndarray, " replicas"]:
    """<l²>/6 of the temperature of each replica, cm^2/s times ps: D_def by hop rate.

    Without hops there, that of all temperatures, at the lattice constant of the replica.
    """
    in_units_of_a = dataclasses.replace(
        series, lattice_constant=np.ones(len(series.temperature))
    )
    every = pool(in_units_of_a, np.ones(len(series.temperature), bool))
    jump = mean_squared_jump(every) * series.lattice_constant**2
    for temperature in np.unique(series.temperature):
        replica = series.temperature == temperature
        totals = pool(series, replica)
        if totals.hops:
            jump[replica] = mean_squared_jump(totals)
    return jump / 6 * units.CM2_PER_S


def _gls(
    values: Sequence[tuple[float, Estimate]],
) -> tuple[ArrheniusFit | None, str | None]:
    use = [(t, d) for t, d in values if d.value > 0 and d.standard_error > 0]
    try:
        fit = fit_arrhenius_values(
            np.array([t for t, _ in use]),
            np.array([d.value for _, d in use]),
            np.array([d.standard_error for _, d in use]),
        )
    except NotIdentifiableError as error:
        return None, str(error)
    return fit, None
