"""Activation energies of one run by two estimators, and what follows from them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2

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
from jaxdiff.analysis.estimate import NORMAL_95, Estimate
from jaxdiff.analysis.memory import Memory
from jaxdiff.analysis.planning import Plan
from jaxdiff.analysis.regression import Noise, known_noise
from jaxdiff.analysis.series import Series, pool

ROOM_TEMPERATURE = 300.0
"""At which every fit is read, K; flagged where it is outside the temperatures run."""

HALF_WIDTH = 0.01
"""Of the 95 % interval of Ea that the plan aims at, eV."""

_CHANCE = 0.1  # of a scatter about the line that counts, by chance alone


@dataclasses.dataclass(frozen=True)
class Activation:
    """Fits over all temperatures; None where the data do not determine them.

    - `diffusion`: of D_def by hop counts, f = 1, cm^2/s; `correlated`: of D_def with the
      measured factor, at the temperatures where it is known; `rate`: of the hop rate, 1/ps.
    - `gls`: of D_def by displacements, at the temperatures where these are long enough.
    - of the headline: `curvature` of ln D in 1/kT; `room`, D_def at `ROOM_TEMPERATURE`;
      `plan`, the same design, run until the interval of Ea is ± `HALF_WIDTH`.
    - `not_identifiable`, `correlated_missing`, `gls_missing`, `curvature_missing`: why
      there is none.
    """

    diffusion: ArrheniusFit | None
    correlated: ArrheniusFit | None
    rate: ArrheniusFit | None
    gls: ArrheniusFit | None
    curvature: Curvature | None
    room: Prediction | None
    plan: Plan | None
    not_identifiable: str | None
    correlated_missing: str | None
    gls_missing: str | None
    curvature_missing: str | None

    @property
    def headline(self) -> ArrheniusFit | None:
        """With the measured factor wherever that is known; else with f = 1.

        Not only where f is seen to differ from 1: of intervals chosen by such a test as few
        as 67 % hold the truth, where the memory is just too weak to be seen.
        """
        return self.correlated or self.diffusion


def activation(
    series: Series,
    gls: Sequence[tuple[float, Estimate]],
    memory: Mapping[float, Memory],
    noise: Noise,
) -> Activation:
    """All fits of a run.

    - `gls`: temperatures (K) and D_def from displacements. `memory`: by temperature, where
      it is known; `noise`: dispersion of its scores between defects.
    """
    count, scale = effective_hops(series)
    data = (series.temperature, count, series.exposure_ps)
    known = [(t, m.diffusivity(known_noise(1))) for t, m in memory.items()]
    (gls_fit, gls_missing), (correlated, missing) = _values(gls), _values(known, noise)
    try:
        rate = fit_arrhenius(series.temperature, series.hop_count, series.exposure_ps)
        fit = fit_arrhenius(*data, scale=scale, prefactor_unit="cm^2/s")
    except NotIdentifiableError as error:
        reason = str(error)
        return Activation(
            *(None, None, None, gls_fit, None, None, None),
            *(reason, reason, gls_missing, None),
        )
    curvature, bent = None, None
    try:
        if correlated:
            curvature = fit_curvature(*_as_counts(known), dispersion=noise.scale)
        else:
            curvature = fit_curvature(*data, scale=scale)
    except NotIdentifiableError as error:
        bent = str(error)
    headline = correlated or fit
    return Activation(
        diffusion=fit,
        correlated=correlated,
        rate=rate,
        gls=gls_fit,
        curvature=curvature,
        room=headline.at(ROOM_TEMPERATURE),
        plan=_plan(series, headline, rate),
        not_identifiable=None,
        correlated_missing=missing,
        gls_missing=gls_missing,
        curvature_missing=bent,
    )


def effective_hops(
    series: Series,
) -> tuple[Float[np.ndarray, " replicas"], Float[np.ndarray, " replicas"]]:
    """Hops of equal jumps whose number scatters as Σl² does; D_def by their rate.

    Jumps of several lengths scatter more than their number: Σl² of a replica stands for
    Σl² ⟨l²⟩/⟨l⁴⟩ hops of l² = ⟨l⁴⟩/⟨l²⟩, moments of its temperature. The second result is
    that by 6, cm^2/s times ps.
    """
    square = np.where(series.events.hops(series.sign), series.events.squared_jump, 0.0)
    square = square * series.event_unit**2
    replica, n = series.events.replica, len(series.temperature)
    total, fourth = (np.bincount(replica, square**power, n) for power in (1, 2))
    moment = jump_scale(series) / units.CM2_PER_S * 6
    for temperature in np.unique(series.temperature):
        mine = series.temperature == temperature
        if total[mine].any():
            moment[mine] = fourth[mine].sum() / total[mine].sum()
    return total / moment, moment / 6 * units.CM2_PER_S


def jump_scale(series: Series) -> Float[np.ndarray, " replicas"]:
    """⟨l²⟩/6 of the temperature of each replica, cm^2/s times ps: D_def by hop rate.

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


def _values(
    values: Sequence[tuple[float, Estimate]], noise: Noise | None = None
) -> tuple[ArrheniusFit | None, str | None]:
    """The line through values, which scatter about it as much as they are seen to."""
    use = [(t, d) for t, d in values if d.value > 0 and d.standard_error > 0]
    kelvin, value = np.array([t for t, _ in use]), np.array([d.value for _, d in use])
    error = np.array([d.standard_error for _, d in use])
    noise = noise or known_noise(1)
    try:
        error = np.hypot(error, value * _misfit(kelvin, value, error, noise.scale))
        fit = fit_arrhenius_values(kelvin, value, error, noise=noise)
    except NotIdentifiableError as problem:
        return None, str(problem)
    return fit, None


def _misfit(
    kelvin: Float[np.ndarray, " temperatures"],
    value: Float[np.ndarray, " temperatures"],
    error: Float[np.ndarray, " temperatures"],
    scale: float,
) -> float:
    """Standard deviation of ln D about a straight line beyond its errors, if evident.

    By moments (doi:10.1016/0197-2456(86)90046-2), where less than `_CHANCE` of straight
    lines would show as much, else 0. A bent line counts as scatter: its mean slope is then
    that of all temperatures and not of those with the most hops.
    """
    dof = len(value) - 2
    if dof < 1:
        return 0.0
    weight = value**2 / (scale * error**2)
    design = np.stack([np.ones_like(kelvin), 1 / kelvin], axis=1)
    weighted = design * weight[:, None]
    hat = design @ np.linalg.solve(design.T @ weighted, weighted.T)
    residual = np.log(value) - hat @ np.log(value)
    square = float(weight @ residual**2)
    if chi2.sf(square, dof) > _CHANCE:
        return 0.0
    spread = float(weight.sum() - weight @ np.diag(hat))
    return math.sqrt((square - dof) / spread / scale)


def _as_counts(
    values: Sequence[tuple[float, Estimate]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Temperatures, and the hops and exposures that would have these relative errors."""
    value = np.array([d.value for _, d in values])
    count = (value / np.array([d.standard_error for _, d in values])) ** 2
    return np.array([t for t, _ in values]), count, count / value


def _plan(series: Series, headline: ArrheniusFit, rate: ArrheniusFit) -> Plan:
    """Longer by as much as the variance of Ea has to fall; hops at the fitted rates."""
    error = headline.activation_energy.standard_error
    kelvin, row = np.unique(series.temperature, return_inverse=True)
    exposure = np.bincount(row, series.exposure_ps)
    factor = max(1.0, (NORMAL_95 * error / HALF_WIDTH) ** 2)
    return Plan(
        temperature_kelvin=kelvin,
        exposure_ps=factor * exposure,
        extra_ps=(factor - 1) * exposure,
        hops=factor * exposure * rate.predict(kelvin)[0],
        half_width_ev=NORMAL_95 * error / math.sqrt(factor),
        factor=factor,
    )
