"""Everything that is computed from one run: per temperature, over all, and the checks."""

import dataclasses
import math

import numpy as np

from jaxdiff import units
from jaxdiff.analysis.arrhenius import ArrheniusFit, NotIdentifiableError, fit_arrhenius
from jaxdiff.analysis.checks import Check, check_run, energy_drift, mean_temperature
from jaxdiff.analysis.defects import CLASSES
from jaxdiff.analysis.diffusion import (
    correlated,
    correlation_factor,
    defect_diffusivity,
    mean_squared_jump,
    tracer_diffusivity,
)
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.rates import Dispersion, dispersion_index, hop_rate
from jaxdiff.analysis.series import Series, pool


@dataclasses.dataclass(frozen=True)
class TemperatureRow:
    """Results of the replicas at one temperature.

    - `correlated_defect_diffusivity`: `defect_diffusivity` times `correlation_factor`.
    - `tracer_diffusivity`: with the literature's correlation factors by class;
      `tracer_diffusivity_uncorrelated`: with f = 1. Both for `n_mobile` cations.
    """

    temperature_kelvin: float
    n_replicas: int
    exposure_ps: float
    hops: int
    events_by_class: dict[str, int]
    rate: Estimate
    dispersion: Dispersion
    defect_diffusivity: Estimate
    correlation_factor: Estimate
    correlated_defect_diffusivity: Estimate
    tracer_diffusivity: Estimate
    tracer_diffusivity_uncorrelated: Estimate
    undefined_fraction: float
    mean_temperature: Estimate
    energy_drift: Estimate


@dataclasses.dataclass(frozen=True)
class Study:
    """Results of one run; `not_identifiable` says why the fits are missing, if they are.

    - `diffusion_fit`: of D_def (f = 1), cm^2/s; `rate_fit`: of the hop rate, 1/ps.
    - `correlation_factor`: of all temperatures together.
    """

    rows: tuple[TemperatureRow, ...]
    total_hops: int
    exposure_ps: float
    n_mobile: int
    correlation_factor: Estimate
    dispersion: Dispersion
    diffusion_fit: ArrheniusFit | None
    rate_fit: ArrheniusFit | None
    not_identifiable: str | None
    checks: tuple[Check, ...]


def summarize(series: Series) -> Study:
    """Rates, diffusivities, activation energies and checks of one run."""
    dispersion = dispersion_index(series.hop_count, series.exposure_ps, series.temperature)
    phi = max(dispersion.index, 1.0) if math.isfinite(dispersion.index) else 1.0
    everything = pool(series, np.ones(len(series.temperature), bool), phi)
    temperatures = [t for t in np.unique(series.temperature) if _exposed(series, t)]
    rate_fit, diffusion_fit, reason = _fits(series)
    return Study(
        rows=tuple(_row(series, t, phi) for t in temperatures),
        total_hops=everything.hops,
        exposure_ps=everything.exposure_ps,
        n_mobile=series.n_mobile,
        correlation_factor=correlation_factor(everything),
        dispersion=dispersion,
        diffusion_fit=diffusion_fit,
        rate_fit=rate_fit,
        not_identifiable=reason,
        checks=check_run(series, dispersion),
    )


def _exposed(series: Series, temperature: float) -> bool:
    return bool(series.exposure_ps[series.temperature == temperature].sum() > 0)


def _row(series: Series, temperature: float, phi: float) -> TemperatureRow:
    replica = series.temperature == temperature
    totals = pool(series, replica, phi)
    frames = int(series.frames["frames"][replica].sum())
    defect, factor = defect_diffusivity(totals), correlation_factor(totals)
    events = np.bincount(totals.kind, minlength=len(CLASSES)).tolist()
    return TemperatureRow(
        temperature_kelvin=float(temperature),
        n_replicas=int(replica.sum()),
        exposure_ps=totals.exposure_ps,
        hops=totals.hops,
        events_by_class=dict(zip(CLASSES, events, strict=True)),
        rate=hop_rate(totals.hops, totals.exposure_ps, dispersion=phi),
        dispersion=dispersion_index(series.hop_count[replica], series.exposure_ps[replica]),
        defect_diffusivity=defect,
        correlation_factor=factor,
        correlated_defect_diffusivity=correlated(defect, factor),
        tracer_diffusivity=tracer_diffusivity(totals, correlation=True),
        tracer_diffusivity_uncorrelated=tracer_diffusivity(totals, correlation=False),
        undefined_fraction=float(series.frames["undefined"][replica].sum()) / frames,
        mean_temperature=mean_temperature(series, replica),
        energy_drift=energy_drift(series, replica),
    )


def _fits(series: Series) -> tuple[ArrheniusFit | None, ArrheniusFit | None, str | None]:
    """Fits of the rate and of D_def to the replicas, or the reason why there are none."""
    jump = np.full(len(series.temperature), mean_squared_jump(_all(series)))
    for temperature in np.unique(series.temperature):
        replica = series.temperature == temperature
        totals = pool(series, replica)
        if totals.hops:
            jump[replica] = mean_squared_jump(totals)
    data = (series.temperature, series.hop_count, series.exposure_ps)
    try:
        rate = fit_arrhenius(*data)
        diffusion = fit_arrhenius(
            *data, scale=jump / 6 * units.CM2_PER_S, prefactor_unit="cm^2/s"
        )
    except NotIdentifiableError as error:
        return None, None, str(error)
    return rate, diffusion, None


def _all(series: Series):
    return pool(series, np.ones(len(series.temperature), bool))
