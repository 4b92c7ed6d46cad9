"""Traces of temperature and energy."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdiff.analysis.traces import Traces
from jaxdiff.report.figures.style import (
    frame,
    key,
    place,
    round_numbers,
    say,
    sheet,
    temperature_styles,
)

_POINTS = 150  # of a trace that are drawn


def thermo(series: Traces) -> Figure | None:
    """Temperature, potential and conserved energy over time, on one sheet of two columns.

    None where a trajectory came without them.
    """
    if len(series.time_ps) == 0:
        return None
    panels = (kinetic_temperature, potential_energy, conserved_energy)
    draws = [lambda ax, panel=panel: panel(series, ax) for panel in panels]
    figure = sheet(draws, height=1.7, sharex=True)
    for axes in figure.axes[:-1]:
        axes.set_xlabel("")
    round_numbers(figure.axes[-1].xaxis)
    return figure


def kinetic_temperature(series: Traces, ax: Axes | None = None) -> Axes:
    """Of the momenta: mean and range of the replicas that went on for so long; target."""
    axes, time = place(ax), _blocks(series.time_ps)
    for target, replica, style in _by_temperature(series):
        kinetic = _blocks(series.kinetic_temperature[replica])
        name = f"{target:.0f} K"
        axes.fill_between(
            *(time, np.fmin.reduce(kinetic), np.fmax.reduce(kinetic)),
            color=style["color"],
            alpha=0.2,
            lw=0,
            gid=f"{name}, range of replicas",
        )
        axes.plot(time, _mean(kinetic), lw=1.1, label=name, **style)
        axes.axhline(target, color="k", lw=0.6, zorder=3)
    frame(axes, "time  (ps)", "T  (K)", "lines: mean of replicas; bands: their range")
    key(axes)
    return axes


def potential_energy(series: Traces, ax: Axes | None = None) -> Axes:
    """Mean of the replicas, each less its own mean, meV per atom."""
    axes, time = place(ax), _blocks(series.time_ps)
    for target, replica, style in _by_temperature(series):
        energy = _blocks(series.potential_energy[replica]) * _per_atom(series)
        change = _mean(energy - _mean(energy.T)[:, None])
        axes.plot(time, change, lw=1, label=f"{target:.0f} K", **style)
    frame(axes, "time  (ps)", "potential energy\n− mean  (meV/atom)")
    key(axes)
    return axes


def conserved_energy(series: Traces, ax: Axes | None = None) -> Axes:
    """Mean of the replicas, each less its start, meV per atom."""
    axes, time = place(ax), _blocks(series.time_ps)
    if not np.isfinite(series.conserved_energy).any():
        say(axes, "not recorded")
        return axes
    for target, replica, style in _by_temperature(series):
        energy = _blocks(series.conserved_energy[replica]) * _per_atom(series)
        change = _mean(energy - energy[:, :1])
        axes.plot(time, change, lw=1, label=f"{target:.0f} K", **style)
    frame(axes, "time  (ps)", "conserved energy\n− start  (meV/atom)")
    key(axes)
    return axes


def _by_temperature(series: Traces):
    temperatures = np.unique(series.temperature)
    styles = temperature_styles(len(temperatures))
    for target, style in zip(temperatures.tolist(), styles, strict=True):
        yield target, series.temperature == target, style


def _per_atom(series: Traces) -> float:
    return 1000 / (series.n_mobile + series.n_anion)


def _blocks(trace: np.ndarray) -> np.ndarray:
    """Means over at most `_POINTS` blocks of the last axis, of what is known."""
    n = trace.shape[-1]
    if n == 0:
        return np.full((*trace.shape[:-1], 1), np.nan)
    start = np.unique(np.linspace(0, n, min(n, _POINTS), endpoint=False).astype(int))
    known = np.isfinite(trace)
    total = np.add.reduceat(np.where(known, trace, 0), start, axis=-1)
    return _ratio(total, np.add.reduceat(known, start, axis=-1, dtype=int))


def _mean(trace: np.ndarray) -> np.ndarray:
    """Over the first axis, of what is known."""
    known = np.isfinite(trace)
    return _ratio(np.where(known, trace, 0).sum(axis=0), known.sum(axis=0))


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
