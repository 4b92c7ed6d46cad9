"""Mean squared displacements of a run, and diffusivities from them.

Site-projected paths are those of the events: no vibrations, no drift. The lags of the fits
begin after a few residences, so that jumps that are undone at once have been undone: this
makes the slope a check of the count of hops, which has no such memory.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.defects import CLASSES, SQUARED_JUMP, SQUARED_STEPS, VACANCY
from jaxdiff.analysis.gls import GlsFit, fit_msd, log_spaced_lags
from jaxdiff.analysis.msd import (
    at_lags,
    cation_walkers,
    mean_squared_displacement,
    site_paths,
)
from jaxdiff.analysis.series import HopTotals, Series

_SAMPLES, _TRACER_SAMPLES = 8000, 1000  # of a path: finer ones change nothing
_CURVE_LAGS = 40
_RESIDENCES, _TRACER_RESIDENCES = 2, 5  # before the first lag of a fit
_WHOLE = 0.9  # least part of the longest exposure that a replica of a fit must have


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean over replicas of a mean squared displacement, Å^2, at times in ps."""

    time_ps: Float[np.ndarray, " lags"]
    msd: Float[np.ndarray, " lags"]


@dataclasses.dataclass(frozen=True)
class Slope:
    """A curve and the straight line fitted to it from `first_ps` on.

    - `replica`: rows of the series that it is the mean of, in the order of the fit.
    """

    curve: Curve
    fit: GlsFit
    first_ps: float
    last_ps: float
    replica: Int[np.ndarray, " used"]


def usable(
    series: Series, replica: Bool[np.ndarray, " replicas"]
) -> tuple[Int[np.ndarray, " used"], int]:
    """Replicas followed for nearly all of the time, and the frames that all have."""
    exposure = np.where(replica, series.frames["exposure"], 0)
    used = np.flatnonzero(exposure >= max(_WHOLE * exposure.max(initial=0), 1))
    return used, int(exposure[used].min()) if len(used) else 0


def collective_slope(
    series: Series, replica: Bool[np.ndarray, " replicas"], totals: HopTotals
) -> Slope | None:
    """D_def from the displacement summed over all cations, per defect of the composition.

    None where no replica has a path of 8 frames at least.
    """
    used, n_frames = usable(series, replica)
    n_defects = abs(series.n_mobile - series.n_anion)
    if n_frames < 8 or n_defects == 0:
        return None
    events = series.events
    step = np.zeros((len(events.kind), 3))
    quarter = series.event_quarter[events.move_event, None]
    np.add.at(step, events.move_event, events.move_step * quarter)
    stride = max(1, n_frames // _SAMPLES)
    n_samples = (n_frames - 1) // stride + 1
    path = _paths(series, used, np.arange(len(step)), step, events.replica, stride)
    path = path[:n_samples]
    first = _first_lag(totals, _RESIDENCES, stride * series.frame_ps, n_samples)
    lag = log_spaced_lags(n_samples, first=first)
    moment = _moment(totals, totals.squared_jump, SQUARED_JUMP)
    fit = fit_msd(
        at_lags(path, lag).T / n_defects,
        lag,
        n_frames=n_samples,
        frame_ps=stride * series.frame_ps,
        moment_ratio=moment / n_defects,
    )
    shown = log_spaced_lags(n_samples, last=n_samples - 1, n_lags=_CURVE_LAGS)
    curve = Curve(
        shown * stride * series.frame_ps, at_lags(path, shown).mean(1) / n_defects
    )
    dt = stride * series.frame_ps
    return Slope(curve, fit, float(lag[0] * dt), float(lag[-1] * dt), used)


def tracer_slope(
    series: Series, replica: Bool[np.ndarray, " replicas"], totals: HopTotals
) -> Slope | None:
    """D* from the mean over the cations; their memory goes into an intercept."""
    used, n_frames = usable(series, replica)
    if n_frames < 32:
        return None
    stride = max(1, n_frames // _TRACER_SAMPLES)
    n_samples, dt = (n_frames - 1) // stride + 1, stride * series.frame_ps
    first = _first_lag(totals, _TRACER_RESIDENCES, dt, n_samples)
    lag = log_spaced_lags(n_samples, first=first)
    shown = log_spaced_lags(n_samples, last=n_samples - 1, n_lags=_CURVE_LAGS)
    every = np.union1d(lag, shown)
    msd = np.stack([_tracer(series, r, n_samples, stride, every) for r in used])
    moment = _moment(totals, totals.squared_steps, SQUARED_STEPS)
    fit = fit_msd(
        msd[:, np.searchsorted(every, lag)],
        lag,
        n_frames=n_samples,
        frame_ps=dt,
        moment_ratio=moment,
        intercept="memory",
        n_walkers=series.n_mobile,
    )
    curve = Curve(shown * dt, msd[:, np.searchsorted(every, shown)].mean(0))
    return Slope(curve, fit, float(lag[0] * dt), float(lag[-1] * dt), used)


def continuous_curves(
    series: Series, replica: Bool[np.ndarray, " replicas"]
) -> tuple[Curve, Curve] | None:
    """Tracer and collective curves of whole frames, relative to the mean anion.

    Over the replicas that went on for nearly all of the time, like `usable`. None without
    at least 4 frames at equal distances.
    """
    kept = np.where(replica, series.n_kept, 0)
    used = np.flatnonzero(kept >= max(_WHOLE * kept.max(initial=0), 1))
    time = series.position_time_ps[: kept[used].min() if len(used) else 0]
    if len(time) < 4 or not np.allclose(np.diff(time), time[1] - time[0], rtol=1e-6):
        return None
    tracer, collective = [], []
    for r in used:
        position = series.position[r, : len(time)].astype(float)
        drift = position[:, ~series.is_mobile].mean(axis=1, keepdims=True)
        cation = position[:, series.is_mobile] - drift
        tracer.append(mean_squared_displacement(cation).mean(axis=1))
        collective.append(
            mean_squared_displacement(cation.sum(axis=1, keepdims=True))[:, 0]
        )
    lag = (time - time[0])[1:]
    return Curve(lag, np.mean(tracer, 0)[1:]), Curve(lag, np.mean(collective, 0)[1:])


def _paths(
    series: Series,
    used: Int[np.ndarray, " used"],
    event: Int[np.ndarray, " steps"],
    step: Float[np.ndarray, "steps 3"],
    replica: Int[np.ndarray, " steps"],
    stride: int,
) -> Float[np.ndarray, "frames used 3"]:
    """Paths of replicas, each from the first frame with a known defect."""
    column = np.full(len(series.temperature), -1)
    column[used] = np.arange(len(used))
    start = series.frames["frames"] - series.frames["exposure"]
    mine = column[replica] >= 0
    frame = series.events.frame[event] - start[replica]
    longest = int(series.frames["exposure"][used].max())
    dt = stride * series.frame_ps
    return site_paths(
        frame[mine] * series.frame_ps,
        column[replica[mine]],
        step[mine],
        n_walkers=len(used),
        n_frames=(longest - 1) // stride + 1,
        frame_ps=dt,
    )


def _tracer(
    series: Series, replica: int, n_samples: int, stride: int, lag: np.ndarray
) -> Float[np.ndarray, " lags"]:
    """Mean over the cations of one replica."""
    events = series.events
    mine = events.replica[events.move_event] == replica
    event = events.move_event[mine]
    if len(event) == 0:
        return np.zeros(len(lag))
    walker, known = cation_walkers(
        np.zeros(len(event), int), events.move_cation[mine][:, None], series.n_mobile
    )
    start = int(series.frames["frames"][replica] - series.frames["exposure"][replica])
    path = site_paths(
        (events.frame[event] - start) * series.frame_ps,
        walker[:, 0],
        events.move_step[mine] * (series.lattice_constant[replica] / 4),
        n_walkers=len(known),
        n_frames=n_samples,
        frame_ps=stride * series.frame_ps,
    )
    return at_lags(path, lag).sum(axis=1) / series.n_mobile


def _first_lag(totals: HopTotals, residences: int, dt: float, n_samples: int) -> int:
    """A few mean residences, but not more than a quarter of the path."""
    mean = totals.exposure_ps / max(totals.hops, 1)
    return int(np.clip(round(residences * mean / dt), 1, max(n_samples // 4, 1)))


def _moment(
    totals: HopTotals, square: Float[np.ndarray, " events"], simple: tuple[int, ...]
) -> float:
    """<l⁴>/<l²> of the events, Å^2; without any, the largest of the simple hops."""
    if square.any():
        return float((square**2).sum() / square.sum())
    vacancy = CLASSES.index("vacancy")
    known = simple[vacancy:] if totals.sign == VACANCY else simple[:vacancy]
    return max(known) * (totals.lattice_constant / 4) ** 2
