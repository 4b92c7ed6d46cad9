"""Is the run fit to be believed? Each check says what it saw and what it allows."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import stats

from jaxdiff.analysis.configurational import Configurational, configurational
from jaxdiff.analysis.estimate import NORMAL_95, Estimate, normal, unknown
from jaxdiff.analysis.rates import Dispersion
from jaxdiff.analysis.series import Series
from jaxdiff.analysis.settling import Settling
from jaxdiff.analysis.traces import Traces
from jaxdiff.io.provenance import units_of
from jaxdiff.io.series import FINISHED

UNDEFINED_LIMIT = 0.03
"""Largest fraction of frames without a valid defect that are not in transit."""

TRANSIT_LIMIT = 0.1
"""Largest fraction of frames in transit: hops are events between long residences."""

DISPERSION_LIMIT = 0.01
"""Smallest p-value of the counts being Poisson over replicas."""

TEMPERATURE_LIMIT = 0.005
"""Largest error of the mean temperature, as a fraction, if beyond `TEMPERATURE_CHANCE`."""

TEMPERATURE_CHANCE = 0.0027
"""How often a mean temperature may be further off by chance: 3 known standard errors."""

DRIFT_LIMIT = 10.0
"""Largest drift of the conserved energy, meV per atom and ns. At 0.01 meV/ps per atom a
thermostat of 0.1 ps is off by 0.01 K."""

_BLOCKS = 5  # per replica, for the error of time averages
_NAMED = 5  # replicas that stopped, in the text of a check


@dataclasses.dataclass(frozen=True)
class Check:
    """One check; `passed` is None when it could not be made; `advice` if it failed."""

    name: str
    passed: bool | None
    detail: str
    advice: str = ""


def smallest_of(n: int) -> str:
    """What is said of the smallest p-value at n temperatures, times n (Bonferroni)."""
    return f", the smallest of {n} temperatures (corrected for their number)" * (n > 1)


def mean_temperature(series: Traces, replica: Bool[np.ndarray, " replicas"]) -> Estimate:
    """Mean kinetic temperature, K, of the rows until each of the replicas stopped.

    Its error is from the means of blocks of time, weighted by their lengths.
    """
    blocks = [
        block
        for trace in series.kinetic_temperature[replica]
        for block in np.array_split(trace[np.isfinite(trace)], _BLOCKS)
        if len(block)
    ]
    means = np.array([block.mean() for block in blocks])
    return _weighted_mean(means, np.array([len(block) for block in blocks]), "K")


def energy_drift(series: Traces, replica: Bool[np.ndarray, " replicas"]) -> Estimate:
    """Mean slope of the conserved energy, meV per atom and ns; error over replicas.

    Of the rows until each replica stopped; a replica counts by Σ(t - ⟨t⟩)², the inverse
    variance of its slope if rows had independent errors. The error of one alone is from its
    rows, as if they had.
    """
    slopes, weights, scatter = [], [], []
    for energy in series.conserved_energy[replica]:
        seen = np.isfinite(energy)
        if seen.sum() >= 3:
            time = series.time_ps[seen] - series.time_ps[seen].mean()
            weights.append(time @ time)
            from_mean = energy[seen] - energy[seen].mean()
            slopes.append(time @ from_mean / weights[-1])
            scatter.append(((from_mean - slopes[-1] * time) ** 2).sum() / (seen.sum() - 2))
    scale = 1e6 / (series.n_mobile + series.n_anion)  # eV/ps to meV/ns per atom
    slope, weight = np.array(slopes) * scale, np.array(weights)
    if len(slope) == 1:
        error = scale * math.sqrt(scatter[0] / weight[0])
        return normal(float(slope[0]), error, 1, "meV/atom/ns")
    return _weighted_mean(slope, weight, "meV/atom/ns")


def _weighted_mean(
    value: Float[np.ndarray, " parts"], weight: Real[np.ndarray, " parts"], unit: str
) -> Estimate:
    """Σwx/Σw, its error from the scatter; that of a plain mean where weights are equal."""
    n = len(value)
    if n == 0:
        return unknown(unit)
    share = weight / weight.sum()
    mean = float(share @ value)
    if n == 1:
        return normal(mean, math.nan, 1, unit)
    square = float(share**2 @ (value - mean) ** 2) * n / (n - 1)
    return normal(mean, math.sqrt(square), n, unit)


def check_run(series: Series, dispersion: Dispersion) -> tuple[Check, ...]:
    """All checks of one run."""
    error = _momentum_error(series)
    return (
        _status(series),
        _replicas(series),
        _undefined(series),
        _transits(series),
        _host(series),
        check_poisson(dispersion),
        *(_temperature(series, t, error) for t in np.unique(series.temperature).tolist()),
        check_settling(series.settling),
        check_configurational(configurational(series)),
        _drift(series),
        _log(series),
    )


def check_traces(series: Traces) -> tuple[Check, ...]:
    """Those that need no sites: complete, at its temperatures, energy conserved."""
    error = _momentum_error(series)
    return (
        _status(series),
        _replicas(series),
        *(_temperature(series, t, error) for t in np.unique(series.temperature).tolist()),
        check_settling(series.settling),
        check_configurational(configurational(series)),
        _drift(series),
    )


def _status(series: Traces) -> Check:
    done = series.status in FINISHED
    return Check(
        "run complete",
        done,
        f"status is {series.status!r}",
        "Resume the run: these results are of a part of it.",
    )


def _replicas(series: Traces) -> Check:
    who, n = np.flatnonzero(series.stopped), len(series.temperature)
    if len(who) == 0:
        return Check("replicas", True, f"none of {n} stopped early")
    named = [
        f"replica {r} ({series.temperature[r]:.0f} K) {_when(float(series.diverged_ps[r]))}"
        for r in who[:_NAMED].tolist()
    ]
    if len(who) > _NAMED:
        named.append(f"and {len(who) - _NAMED} more")
    return Check(
        "replicas",
        False,
        f"{len(who)} of {n} diverged and were stopped: {'; '.join(named)}",
        "Their data up to that time are used, which is unbiased only if the divergence had "
        "nothing to do with a hop: look at their last frames in final.extxyz; then shorten "
        "timestep_fs, lower the temperature, or train the model on such frames.",
    )


def _when(diverged_ps: float) -> str:
    return f"at {diverged_ps:.4g} ps" if diverged_ps > 0 else "in equilibration"


def _undefined(series: Series) -> Check:
    frames = series.frames["frames"].sum()
    if frames == 0:
        return Check("undefined frames", False, "no frame was observed", "Run longer.")
    undefined = series.frames["undefined"].sum() - series.frames["transit"].sum()
    frenkel = series.frames["frenkel"].sum() / frames
    passed = bool(undefined / frames < UNDEFINED_LIMIT)
    detail = (
        f"{undefined / frames:.2%} neither settled nor in transit (limit "
        f"{UNDEFINED_LIMIT:.0%}); {frenkel:.2%} with a Frenkel pair"
    )
    return Check(
        "undefined frames",
        passed,
        detail,
        f"The mobile atoms are not on the sites of {series.network.title}, or "
        "core_radius_angstrom is too small or too large for their motion: relax a frame "
        "and look where the defect is.",
    )


def _transits(series: Series) -> Check:
    frames = max(int(series.frames["frames"].sum()), 1)
    fraction = series.frames["transit"].sum() / frames
    passed = bool(fraction < TRANSIT_LIMIT)
    detail = (
        f"{fraction:.2%} of frames in transit between sites (limit {TRANSIT_LIMIT:.0%})"
    )
    return Check(
        "hops are rare events",
        passed,
        detail,
        "Residence times are too short to count hops: run at lower temperatures.",
    )


def _host(series: Series) -> Check:
    frames = max(int(series.frames["frames"].sum()), 1)
    fraction = series.frames["anion_displaced"].sum() / frames
    return Check(
        "host sublattice",
        bool(fraction < UNDEFINED_LIMIT),
        f"{fraction:.2%} of frames with a host atom off its site "
        f"(limit {UNDEFINED_LIMIT:.0%})",
        "Host atoms leave their sites, so the crystal melts or breaks up: look at the "
        "final frames, and lower the temperature.",
    )


def check_poisson(dispersion: Dispersion) -> Check:
    """Do the counts of the replicas of a temperature scatter as Poisson's do?"""
    if dispersion.degrees_of_freedom == 0:
        return Check(
            "hops are Poisson", None, "no temperature has hops in several replicas"
        )
    return Check(
        "hops are Poisson",
        bool(dispersion.p_value > DISPERSION_LIMIT),
        f"variance / mean of the hop counts over replicas {dispersion.index:.2f} (Poisson: "
        f"1), p = {dispersion.p_value:.2g} (limit {DISPERSION_LIMIT})",
        "Replicas have different rates, or hops come in bursts: look at the hops of each "
        "replica. The intervals have been widened accordingly.",
    )


def _momentum_error(series: Traces) -> float:
    """How much colder than asked for the momenta of a Langevin run are by its time step.

    BAOAB has positions at the target and momenta below (`md.timestep`); 0 for thermostats
    that hold the momenta, and for runs that do not say it.
    """
    first = next(iter(units_of(series.provenance)), {})
    if first.get("thermostat") != "langevin":
        return 0.0
    return float(first.get("momentum_error") or 0.0)


def _temperature(series: Traces, asked: float, error: float = 0.0) -> Check:
    target = asked * (1 - error)
    seen = mean_temperature(series, series.temperature == asked)
    name = f"temperature {asked:.0f} K"
    if not math.isfinite(seen.value):
        return Check(name, None, "no finite temperatures recorded")
    allowed = TEMPERATURE_LIMIT * target
    if math.isfinite(seen.standard_error):
        # the error is known from few blocks itself
        times = stats.t.isf(TEMPERATURE_CHANCE / 2, seen.n_effective - 1)
        allowed = max(allowed, times * seen.standard_error)
    step = f"; the time step makes momenta {error:.2%} too cold" if error else ""
    return Check(
        name,
        bool(abs(seen.value - target) <= allowed),
        f"mean {seen.value:.2f} ± {seen.standard_error:.2f} K (allowed {target:.1f} ± "
        f"{allowed:.1f} K){step}",
        "The thermostat does not hold its target: equilibrate longer, shorten timestep_fs, "
        "and quote the mean temperature.",
    )


def check_configurational(rows: Sequence[Configurational]) -> Check:
    """Are positions at the end as hot as asked for, at each temperature and over all?

    Within 3 standard errors of that and what the time step adds, or `TEMPERATURE_LIMIT`.
    """
    name = "configurational temperature"
    if not rows:
        return Check(name, None, "not recorded, or forces without curvature")
    excess = np.array([row.excess.value for row in rows])
    error = np.array([row.excess.standard_error for row in rows])
    share = error**-2 / (error**-2).sum()
    mean, own = float(share @ excess), float((error**-2).sum() ** -0.5)
    times = stats.norm.isf(TEMPERATURE_CHANCE / 2)
    seen, errors = np.append(excess, mean), np.append(error, own)
    passed = (np.abs(seen) <= np.maximum(TEMPERATURE_LIMIT, times * errors)).all()
    known = max(row.expected / row.asked - 1 for row in rows)
    by = ", ".join(
        f"{r.asked:.0f} K {e:+.1%} ± {s:.1%}"
        for r, e, s in zip(rows, excess, error, strict=True)
    )
    step = f", which includes {known:+.2%} for the time step" if known else ""
    return Check(
        name,
        bool(passed),
        f"temperature of the positions {mean:+.1%} ± {own:.1%} from the expected one{step} "
        f"({by}; allowed {TEMPERATURE_LIMIT:.1%} or 3 standard errors)",
        "Positions are not at the temperature of the thermostat: equilibrate longer, with "
        'equilibration.thermostat = "langevin", and shorten timestep_fs.',
    )


def check_settling(found: Settling | None) -> Check:
    """Was the equilibration seen to end, in more than half of the replicas?"""
    name = "equilibration"
    known = None if found is None else found.record_ps > 0
    if found is None or known is None or not known.any():
        return Check(name, None, "not recorded, or too short to see its end")
    n, seen = int(known.sum()), int(found.has_settled.sum())
    when, record = (np.median(x[known]) for x in (found.settled_ps, found.record_ps))
    return Check(
        name,
        seen > n / 2,
        f"the energy settled within half of the equilibration in {seen} of {n} replicas "
        f"(median {when:.2g} of {record:.3g} ps; more than half of the replicas must)",
        "Production began before the crystals were warm: lengthen "
        "equilibration.duration_ps, or let each replica go on until it has settled "
        "(equilibration.longest_ps).",
    )


def _drift(series: Traces) -> Check:
    drift = energy_drift(series, np.ones(len(series.temperature), bool))
    if not math.isfinite(drift.value):
        return Check("conserved energy", None, "not recorded, or fewer than 3 times")
    beyond = abs(drift.value) - DRIFT_LIMIT
    known = not 0 <= beyond <= NORMAL_95 * drift.standard_error
    return Check(
        "conserved energy",
        beyond < 0 if known else None,
        f"drift {drift.value:.2f} ± {drift.standard_error:.2g} meV per atom and ns (limit "
        f"{DRIFT_LIMIT:g}){'' if known else '; too short a run to tell'}",
        "Shorten timestep_fs, widen the skin, or run in float64.",
    )


def _log(series: Series) -> Check:
    lost = int((series.lost_frame >= 0).sum())
    return Check(
        "changes of site",
        lost == 0,
        f"{lost} of {len(series.temperature)} replicas filled the log of site changes"
        + ("; what followed is left out" if lost else ""),
        "Shorten chunk_ps and run again.",
    )
