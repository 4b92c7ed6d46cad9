"""Traces of temperature and energy."""

import numpy as np

from jaxdiff.analysis.traces import Traces
from jaxdiff.report.figures.style import new_figure, temperature_colors, to_png

_POINTS = 150  # of a trace that are drawn


def draw_thermo(series: Traces) -> bytes | None:
    """Temperature, potential and conserved energy over time, averaged over blocks.

    Over the replicas that went on for so long; energies from the mean or the start of each,
    so that a line does not jump where one stops. None where a trajectory came without them.
    """
    if len(series.time_ps) == 0:
        return None
    figure = new_figure(9.6, 7)
    axes = figure.subplots(3, 1, sharex=True)
    temperatures = np.unique(series.temperature)
    colors = temperature_colors(len(temperatures))
    time = _blocks(series.time_ps)
    per_atom = 1000 / (series.n_mobile + series.n_anion)
    for target, color in zip(temperatures, colors, strict=True):
        replica = series.temperature == target
        kinetic = _blocks(series.kinetic_temperature[replica])
        potential = _blocks(series.potential_energy[replica]) * per_atom
        conserved = _blocks(series.conserved_energy[replica]) * per_atom
        axes[0].fill_between(
            time,
            np.fmin.reduce(kinetic),
            np.fmax.reduce(kinetic),
            color=color,
            alpha=0.25,
            lw=0,
        )
        axes[0].plot(time, _mean(kinetic), color=color, lw=1.2, label=f"{target:.0f} K")
        axes[0].axhline(target, color="k", lw=0.6, ls=":", zorder=3)
        axes[1].plot(
            time, _mean(potential - _mean(potential.T)[:, None]), color=color, lw=1
        )
        axes[2].plot(time, _mean(conserved - conserved[:, :1]), color=color, lw=1)
    if not np.isfinite(series.conserved_energy).any():
        axes[2].text(0.5, 0.5, "not recorded", transform=axes[2].transAxes, ha="center")
    axes[0].set_ylabel("T  (K)")
    axes[1].set_ylabel("potential energy − mean\n(meV/atom)")
    axes[2].set_ylabel("conserved energy − start\n(meV/atom)")
    axes[2].set_xlabel("time  (ps)")
    title = "production: mean of replicas (lines), their range (bands), target (dotted)"
    axes[0].set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    figure.align_ylabels()
    return to_png(figure)


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
