"""Everything that is computed from one run: per temperature, over all, and the checks."""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Int

from jaxdiff import units
from jaxdiff.analysis.activation import Activation, activation
from jaxdiff.analysis.arrhenius import ArrheniusFit
from jaxdiff.analysis.bootstrap import ratio_bootstrap
from jaxdiff.analysis.checks import Check, check_run, energy_drift, mean_temperature
from jaxdiff.analysis.configurational import configurational_temperature
from jaxdiff.analysis.consistency import agreement_z, check_estimates
from jaxdiff.analysis.correlation import (
    haven_ratio,
    measured_tracer_diffusivity,
    tracer_correlation,
)
from jaxdiff.analysis.diffusion import (
    defect_diffusivity,
    tracer_diffusivity,
)
from jaxdiff.analysis.displacement import (
    Curve,
    Slope,
    collective_slope,
    continuous_curves,
    tracer_slope,
)
from jaxdiff.analysis.estimate import Estimate, unknown
from jaxdiff.analysis.memory import Memory, between_walkers, no_memory
from jaxdiff.analysis.rates import Dispersion, dispersion_index, hop_rate
from jaxdiff.analysis.regression import Noise
from jaxdiff.analysis.residence import (
    Exponentiality,
    Survival,
    exponentiality,
    mean_residence,
    survival,
)
from jaxdiff.analysis.series import Series, pool
from jaxdiff.analysis.stationarity import Stationarity, stationarity
from jaxdiff.analysis.walkers import Walkers, follow

_SEED = 0  # of resampling: a report can be written again


@dataclasses.dataclass(frozen=True)
class TemperatureRow:
    """Results of the replicas at one temperature; diffusivities in cm^2/s.

    - `n_stopped`: of the replicas, before the end, as they diverged.
    - `lattice_constant_angstrom`: in which the jumps are measured; see `HopTotals`.
    - `residence`: mean time between hops, censored. `exponential`: test of no memory.
      `survival`: Kaplan-Meier, of residences that a hop began.
    - `defect_diffusivity`: by hops, f = 1; `correlated_defect_diffusivity`: times the
      measured `correlation_factor`, of `memory_order` hops; `defect_diffusivity_gls`: from
      the displacement of all cations, memory or not; `defect_diffusivity_replicas`: by
      hops, f = 1, error from the scatter of the replicas.
    - `agreement_z`: GLS less the headline, in standard errors of the difference.
    - `tracer_diffusivity`: with the measured correlation of the cations;
      `tracer_diffusivity_by_class`: with the literature's factors of each class alone;
      `tracer_diffusivity_uncorrelated`: with f = 1; `tracer_diffusivity_msd`: from the mean
      squared displacement. All for `n_mobile` cations.
    - `haven_ratio`, `tracer_correlation`: from the order of the hops.
    - `mean_temperature`: of the momenta, K; `configurational_temperature`: of the
      positions at the end.
    - `slope`, `tracer`: curves and fits; `continuous`: tracer and collective curves of
      whole frames, where there are any.
    """

    temperature_kelvin: float
    lattice_constant_angstrom: float
    n_replicas: int
    n_stopped: int
    exposure_ps: float
    hops: int
    events_by_class: dict[str, int]
    rate: Estimate
    dispersion: Dispersion
    residence: Estimate
    exponential: Exponentiality
    survival: Survival
    stationarity: Stationarity
    defect_diffusivity: Estimate
    defect_diffusivity_replicas: Estimate
    defect_diffusivity_gls: Estimate
    agreement_z: float
    correlation_factor: Estimate
    memory_order: int
    correlated_defect_diffusivity: Estimate
    tracer_diffusivity: Estimate
    tracer_diffusivity_by_class: Estimate
    tracer_diffusivity_uncorrelated: Estimate
    tracer_diffusivity_msd: Estimate
    tracer_correlation: Estimate
    haven_ratio: Estimate
    undefined_fraction: float
    mean_temperature: Estimate
    configurational_temperature: Estimate
    energy_drift: Estimate
    slope: Slope | None
    tracer: Slope | None
    continuous: tuple[Curve, Curve] | None

    @property
    def headline_diffusivity(self) -> Estimate:
        """D_def with the measured factor where that is known; else with f = 1."""
        known = math.isfinite(self.correlated_defect_diffusivity.value)
        return self.correlated_defect_diffusivity if known else self.defect_diffusivity


@dataclasses.dataclass(frozen=True)
class Study:
    """Results of one run; `not_identifiable` says why the fits are missing, if they are.

    - `correlation_factor`, `tracer_correlation`, `haven_ratio`, `stationarity`: of all
      temperatures together. `no_memory_p_value`: of f = 1 at all of them.
    """

    rows: tuple[TemperatureRow, ...]
    total_hops: int
    exposure_ps: float
    n_mobile: int
    sign: int
    correlation_factor: Estimate
    no_memory_p_value: float
    tracer_correlation: Estimate
    haven_ratio: Estimate
    dispersion: Dispersion
    stationarity: Stationarity | None
    activation: Activation
    checks: tuple[Check, ...]

    @property
    def diffusion_fit(self) -> ArrheniusFit | None:
        """Of D_def, the headline, cm^2/s."""
        return self.activation.headline

    @property
    def not_identifiable(self) -> str | None:
        """Why there is no fit."""
        return self.activation.not_identifiable


def summarize(series: Series) -> Study:
    """Rates, diffusivities, activation energies and checks of one run."""
    dispersion = dispersion_index(series.hop_count, series.exposure_ps, series.temperature)
    everyone = np.ones(len(series.temperature), bool)
    everything, walkers = pool(series, everyone), follow(series)
    tracers, haven = _correlations(series, everyone, walkers)
    temperatures = [t for t in np.unique(series.temperature) if _exposed(series, t)]
    memory = memories(series, walkers)
    noise = between_walkers(list(memory.values()))
    constant = series.lattice_constant[walkers.hop_replica, None]
    together = dataclasses.replace(walkers, jump=walkers.jump / constant).memory()
    rows = tuple(
        _row(series, walkers, t, dispersion.noise, memory.get(t), noise)
        for t in temperatures
    )
    values = [(r.temperature_kelvin, r.defect_diffusivity_gls) for r in rows]
    overall = activation(series, values, memory, noise)
    stationary = _stationarity(walkers)
    p_value = no_memory(list(memory.values()))
    return Study(
        rows=rows,
        total_hops=everything.hops,
        exposure_ps=everything.exposure_ps,
        n_mobile=series.n_mobile,
        sign=series.sign,
        correlation_factor=together.factor if together else unknown("1"),
        no_memory_p_value=p_value,
        tracer_correlation=tracers,
        haven_ratio=haven,
        dispersion=dispersion,
        stationarity=stationary,
        activation=overall,
        checks=(
            *check_run(series, dispersion),
            *check_estimates(
                {r.temperature_kelvin: r.correlation_factor for r in rows},
                p_value,
                {r.temperature_kelvin: r.agreement_z for r in rows},
                {r.temperature_kelvin: r.exponential.p_value for r in rows},
                stationary,
                overall,
            ),
        ),
    )


def memories(series: Series, walkers: Walkers) -> dict[float, Memory]:
    """Memory of the hops by temperature, K, where there are enough of them."""
    found = {
        float(t): walkers.select(series.temperature == t).memory()
        for t in np.unique(series.temperature)
    }
    return {t: memory for t, memory in found.items() if memory}


def _exposed(series: Series, temperature: float) -> bool:
    return bool(series.exposure_ps[series.temperature == temperature].sum() > 0)


def _row(
    series: Series,
    walkers: Walkers,
    kelvin: float,
    counts: Noise,
    memory: Memory | None,
    scores: Noise,
) -> TemperatureRow:
    replica = series.temperature == kelvin
    totals, mine = pool(series, replica, counts), walkers.select(replica)
    defect = defect_diffusivity(totals)
    correlated = memory.diffusivity(scores) if memory else unknown("cm^2/s")
    best = correlated if memory else defect
    by_class = tracer_diffusivity(totals, correlation=True)
    slope, tracer = (f(series, replica, totals) for f in (collective_slope, tracer_slope))
    gls = slope.fit.diffusivity if slope and slope.fit else unknown("cm^2/s")
    events = np.bincount(totals.kind, minlength=len(series.network.classes)).tolist()
    stays = mine.residences()
    tracers, haven = _correlations(series, replica, mine)
    frames = int(series.frames["frames"][replica].sum())
    return TemperatureRow(
        temperature_kelvin=float(kelvin),
        lattice_constant_angstrom=totals.lattice_constant,
        n_replicas=int(replica.sum()),
        n_stopped=int(series.stopped[replica].sum()),
        exposure_ps=totals.exposure_ps,
        hops=totals.hops,
        events_by_class=dict(zip(series.network.classes, events, strict=True)),
        rate=hop_rate(totals.hops, totals.exposure_ps, dispersion=counts),
        dispersion=dispersion_index(series.hop_count[replica], series.exposure_ps[replica]),
        residence=mean_residence(stays),
        exponential=exponentiality(
            stays, seed=_SEED, frame_ps=series.frame_ps, dwell_frames=series.dwell_frames
        ),
        survival=survival(stays),
        stationarity=stationarity(
            mine.time, mine.walker, mine.start, mine.stop, seed=_SEED
        ),
        defect_diffusivity=defect,
        defect_diffusivity_replicas=_scatter(series, replica, mine),
        defect_diffusivity_gls=gls,
        agreement_z=agreement_z(best, gls),
        correlation_factor=memory.factor if memory else unknown("1"),
        memory_order=memory.order if memory else 0,
        correlated_defect_diffusivity=correlated,
        tracer_diffusivity=_measured(series, replica, mine) if totals.hops else by_class,
        tracer_diffusivity_by_class=by_class,
        tracer_diffusivity_uncorrelated=tracer_diffusivity(totals, correlation=False),
        tracer_diffusivity_msd=_tracer_error(tracer),
        tracer_correlation=tracers,
        haven_ratio=haven,
        undefined_fraction=float(series.frames["undefined"][replica].sum()) / frames,
        mean_temperature=mean_temperature(series, replica),
        configurational_temperature=configurational_temperature(series, kelvin),
        energy_drift=energy_drift(series, replica),
        slope=slope,
        tracer=tracer,
        continuous=continuous_curves(series, replica),
    )


def _scatter(
    series: Series, replica: Bool[np.ndarray, " replicas"], walkers: Walkers
) -> Estimate:
    """D_def by hops with the error from the scatter of the replicas."""
    square = (walkers.jump**2).sum(axis=1)
    total = np.bincount(walkers.hop_replica, square, len(series.temperature))
    used = replica & (series.exposure_ps > 0)
    if used.sum() < 2 or not total.any():
        return unknown("cm^2/s")
    estimate = ratio_bootstrap(total[used], 6 * series.exposure_ps[used], seed=_SEED)
    return estimate.scaled(units.CM2_PER_S, "cm^2/s")


def _measured(
    series: Series, replica: Bool[np.ndarray, " replicas"], walkers: Walkers
) -> Estimate:
    """D* from the order of the hops, whatever their mechanisms; needs two replicas."""
    order, row = _by_replica(replica, walkers)
    if len(row) < 2:
        return unknown("cm^2/s")
    return measured_tracer_diffusivity(
        row,
        walkers.cation[order],
        walkers.step[order],
        series.exposure_ps[replica],
        n_cations=series.n_mobile,
        seed=_SEED,
    )


def _by_replica(
    replica: Bool[np.ndarray, " replicas"], walkers: Walkers
) -> tuple[Int[np.ndarray, " hops"], Int[np.ndarray, " hops"]]:
    """Order of the hops by replica and time, and their replicas, numbered anew."""
    order = np.argsort(walkers.event, kind="stable")
    return order, (np.cumsum(replica) - 1)[walkers.hop_replica][order]


def _tracer_error(tracer: Slope | None) -> Estimate:
    """D* of the curve, its error from the replicas if there are several."""
    if tracer is None or tracer.fit is None:
        return unknown("cm^2/s")
    if len(tracer.replica) < 2 or not tracer.fit.replica_diffusivity.any():
        return tracer.fit.diffusivity
    d = tracer.fit.replica_diffusivity
    if d.mean() <= 0:
        return unknown("cm^2/s")
    return tracer.fit.replica_error(_SEED)


def _correlations(
    series: Series, replica: Bool[np.ndarray, " replicas"], walkers: Walkers
) -> tuple[Estimate, Estimate]:
    """Correlation factor of the cations and Haven ratio."""
    (order, row), n = _by_replica(replica, walkers), int(replica.sum())
    cation, step, jump = walkers.cation[order], walkers.step[order], walkers.jump[order]
    if len(row) < 2:
        return unknown("1"), unknown("1")
    return (
        tracer_correlation(row, cation, step, n_replicas=n, seed=_SEED),
        haven_ratio(row, jump, cation, step, n_replicas=n, seed=_SEED),
    )


def _stationarity(walkers: Walkers) -> Stationarity | None:
    if len(walkers.start) == 0:
        return None
    return stationarity(
        walkers.time,
        walkers.walker,
        walkers.start,
        walkers.stop,
        seed=_SEED,
        group=walkers.temperature,
    )
