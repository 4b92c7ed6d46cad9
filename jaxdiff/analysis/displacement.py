"""Mean squared displacements of a run, and diffusivities from them.

Site-projected paths are those of the events: no vibrations, no drift. A memory of the jumps
leaves an offset behind: the mean squared displacement becomes 6 D t plus a constant, once
jumps that are undone have been undone. So the lags of the fits begin after a few residences
and the line does not go through the origin, whether or not there is a memory: a line
through the origin is 27 % too steep where jumps are undone with a probability of 20 %.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.diffusion import longest
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
_RESIDENCES, _TRACER_RESIDENCES = 4, 5  # before the first lag of a fit
_LEAST_RESIDENCES = 2  # of the defect, where a quarter of the path is less
_WHOLE = 0.9  # least part of the longest exposure that a replica of a fit must have


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean over replicas of a mean squared displacement, Å^2, at times in ps."""

    time_ps: Float[np.ndarray, " lags"]
    msd: Float[np.ndarray, " lags"]


@dataclasses.dataclass(frozen=True)
class Slope:
    """A curve and the straight line fitted to it from `first_ps` on.

    - `fit`: None where the paths are too short for one.
    - `replica`: rows of the series that it is the mean of, in the order of the fit.
    """

    curve: Curve
    fit: GlsFit | None
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
    """D_def from the displacement summed over all mobile atoms, per defect in excess.

    None where no replica has a path of 8 frames at least; for the fit see `fit_defect`.
    """
    used, n_frames = usable(series, replica)
    n_defects = abs(series.excess)
    if n_frames < 8 or n_defects == 0:
        return None
    events = series.events
    step = np.zeros((len(events.kind), 3))
    unit = series.event_unit[events.move_event, None]
    np.add.at(step, events.move_event, events.move_step * unit)
    stride = max(1, n_frames // _SAMPLES)
    n_samples, dt = (n_frames - 1) // stride + 1, stride * series.frame_ps
    path = _paths(series, used, np.arange(len(step)), step, events.replica, stride)
    path = path[:n_samples]
    moment = _moment(totals.squared_jump) or longest(totals, "squared_length")
    residence = totals.exposure_ps / max(totals.hops, 1)
    shown = log_spaced_lags(n_samples, last=n_samples - 1, n_lags=_CURVE_LAGS)
    curve = Curve(shown * dt, at_lags(path, shown).mean(1) / n_defects)
    found = fit_defect(path, dt, residence, moment, n_defects)
    if found is None:
        return Slope(curve, None, math.nan, math.nan, used)
    lag, fit = found
    return Slope(curve, fit, float(lag[0] * dt), float(lag[-1] * dt), used)


def fit_defect(
    path: Float[np.ndarray, "frames replicas 3"],
    frame_ps: float,
    residence_ps: float,
    moment: float,
    n_defects: int = 1,
) -> tuple[Int[np.ndarray, " lags"], GlsFit] | None:
    """Lags, frames, and the line with an offset through the paths of defects, Å.

    Lags from four residences on, or from a quarter of the path, to half of it. None where
    that quarter is below two residences: offset and slope cannot be told apart there.

    - `moment`: ⟨l⁴⟩/⟨l²⟩ of the jumps, Å^2.
    """
    wanted = residence_ps / frame_ps
    first = min(round(_RESIDENCES * wanted), len(path) // 4)
    if first < max(1, _LEAST_RESIDENCES * wanted) and path.any():
        return None
    lag = log_spaced_lags(len(path), first=max(first, 1))
    fit = fit_msd(
        at_lags(path, lag).T / n_defects,
        lag,
        n_frames=len(path),
        frame_ps=frame_ps,
        moment_ratio=moment / n_defects,
        intercept="memory",
        memory_frames=wanted,
    )
    return lag, fit


def tracer_slope(
    series: Series, replica: Bool[np.ndarray, " replicas"], totals: HopTotals
) -> Slope | None:
    """D* from the mean over the cations; their memory goes into an intercept."""
    used, n_frames = usable(series, replica)
    if n_frames < 32:
        return None
    stride = max(1, n_frames // _TRACER_SAMPLES)
    n_samples, dt = (n_frames - 1) // stride + 1, stride * series.frame_ps
    lag = tracer_lags(n_samples, totals.exposure_ps / max(totals.hops, 1) / dt)
    shown = log_spaced_lags(n_samples, last=n_samples - 1, n_lags=_CURVE_LAGS)
    every = np.union1d(lag, shown)
    msd = np.stack([_tracer(series, r, n_samples, stride, every) for r in used])
    moment = _moment(totals.squared_steps) or longest(totals, "squared_steps")
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
    """Tracer and collective curves of whole frames, relative to the mean host atom.

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
        events.move_step[mine] * (series.lattice_constant[replica] / series.network.edge),
        n_walkers=len(known),
        n_frames=n_samples,
        frame_ps=stride * series.frame_ps,
    )
    return at_lags(path, lag).sum(axis=1) / series.n_mobile


def tracer_lags(n_samples: int, residence: float) -> Int[np.ndarray, " lags"]:
    """From five mean residences (frames) on, but at most from a quarter of the path."""
    wanted = round(_TRACER_RESIDENCES * residence)
    first = int(np.clip(wanted, 1, max(n_samples // 4, 1)))
    return log_spaced_lags(n_samples, first=first)


def _moment(square: Float[np.ndarray, " events"]) -> float:
    """⟨l⁴⟩/⟨l²⟩ of the events, Å^2; 0 without any."""
    return float((square**2).sum() / square.sum()) if square.any() else 0.0
