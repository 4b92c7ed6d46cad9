"""Figures of a report: no global state, Agg, colours that survive colour blindness."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdiff.analysis.defects import CLASSES
from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study

# Okabe and Ito's palette; markers tell the classes apart in grey, too
_CLASS_STYLE = {
    "collinear": ("#0072B2", "o"),
    "noncollinear_1": ("#D55E00", "^"),
    "noncollinear_2": ("#009E73", "s"),
    "direct": ("#CC79A7", "D"),
    "vacancy": ("#E69F00", "v"),
    "concerted": ("#000000", "x"),
    "exchange": ("#56B4E9", "P"),
    "frenkel_creation": ("#999999", "+"),
    "recombination": ("#999999", "1"),
}
_POINTS = 150  # of a trace that are drawn
_DPI = 200


def draw_arrhenius(study: Study, path: Path) -> None:
    """Diffusivity of the defect against 1000/T with the fit; bounds where no hop was."""
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    seen = [row for row in study.rows if row.hops]
    silent = [row for row in study.rows if not row.hops]
    _draw_fit(axes, study)
    if seen:
        x = [1000 / row.temperature_kelvin for row in seen]
        value = np.array([row.defect_diffusivity.value for row in seen])
        bound = np.array([row.defect_diffusivity.interval for row in seen]).T
        error = np.abs(bound - value)
        axes.errorbar(
            x, value, error, fmt="o", color="#0072B2", capsize=3, label="hop counts, 95 %"
        )
        for row, place, top in zip(seen, x, bound[1], strict=True):
            _annotate(axes, f"{row.hops}", place, top, 4)
    if silent:
        x = [1000 / row.temperature_kelvin for row in silent]
        bound = [row.defect_diffusivity.interval[1] for row in silent]
        axes.plot(x, bound, "v", color="#D55E00", ms=8, label="no hop: 95 % upper limit")
        for place, top in zip(x, bound, strict=True):
            _annotate(axes, "0", place, top, 9)
    axes.set_yscale("log")
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel("1000 / T  (1/K)")
    axes.set_ylabel("D of the interstitial  (cm²/s)")
    _kelvin_axis(axes, study)
    axes.set_title(_arrhenius_title(study), fontsize=10)
    if study.rows:
        axes.legend(frameon=False, fontsize=8, loc="lower left")
    axes.grid(True, which="major", color="0.9", lw=0.6)
    figure.savefig(path, dpi=_DPI)


def _draw_fit(axes: Axes, study: Study) -> None:
    if study.diffusion_fit is None:
        return
    inverse = np.array([1000 / row.temperature_kelvin for row in study.rows])
    pad = 0.05 * np.ptp(inverse)
    x = np.linspace(inverse.min() - pad, inverse.max() + pad, 100)
    value, low, high = study.diffusion_fit.predict(1000 / x)
    axes.fill_between(
        x, low, high, color="#56B4E9", alpha=0.3, lw=0, label="fit, 95 % band"
    )
    axes.plot(x, value, color="0.2", lw=1)


def _arrhenius_title(study: Study) -> str:
    hops = f"{study.total_hops} hop" + ("" if study.total_hops == 1 else "s")
    if study.diffusion_fit is None:
        return f"activation energy not identifiable: {hops}"
    energy = study.diffusion_fit.activation_energy
    return f"$E_a$ = {energy} (95 %), {hops}"


def _annotate(axes: Axes, text: str, x: float, y: float, above: int) -> None:
    axes.annotate(
        text, (x, y), (0, above), textcoords="offset points", ha="center", fontsize=7
    )


def _kelvin_axis(axes: Axes, study: Study) -> None:
    temperatures = [row.temperature_kelvin for row in study.rows]
    top = axes.twiny()
    top.set_xlim(axes.get_xlim())
    top.set_xticks([1000 / t for t in temperatures], [f"{t:.0f}" for t in temperatures])
    top.set_xlabel("T  (K)", fontsize=8)
    top.tick_params(labelsize=8)


def draw_hops(series: Series, path: Path) -> None:
    """When each replica hopped, by class; replicas grouped by temperature."""
    order = np.argsort(series.temperature, kind="stable")
    n_replicas = len(order)
    height = float(np.clip(1.6 + 0.09 * n_replicas, 3.2, 10))
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.add_subplot()
    size = float(np.clip(600 / n_replicas, 4, 22))
    events = series.events
    time, kind = events.frame * series.frame_ps, events.kind
    row = np.argsort(order)[events.replica]
    for index, name in enumerate(CLASSES):
        mine = kind == index
        if mine.any():
            color, marker = _CLASS_STYLE[name]
            label = f"{name.replace('_', ' ')} ({mine.sum()})"
            axes.scatter(
                time[mine], row[mine], s=size, c=color, marker=marker, lw=0.8, label=label
            )
    _group_replicas(axes, series.temperature[order])
    axes.set_xlim(0, float(series.frames["frames"].max()) * series.frame_ps)
    axes.set_ylim(-0.8, n_replicas - 0.2)
    axes.set_xlabel("time  (ps)")
    axes.set_title(_raster_title(series), fontsize=10)
    if len(time):
        figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(path, dpi=_DPI)


def _group_replicas(axes: Axes, temperature: np.ndarray) -> None:
    """Label the rows by temperature and separate them."""
    values, first, count = np.unique(temperature, return_index=True, return_counts=True)
    for start in first[1:]:
        axes.axhline(start - 0.5, color="0.6", lw=0.6)
    labels = [f"{t:.0f} K\n{n} replicas" for t, n in zip(values, count, strict=True)]
    axes.set_yticks(first + (count - 1) / 2, labels, fontsize=8)
    axes.tick_params(axis="y", length=0)
    for row in range(len(temperature)):
        axes.axhline(row, color="0.93", lw=0.4, zorder=0)


def _raster_title(series: Series) -> str:
    total = len(series.events.kind)
    title = f"{total} event" + ("" if total == 1 else "s")
    lost = int((series.lost_frame >= 0).sum())
    return title if not lost else f"{title}; log incomplete in {lost} replicas"


def draw_thermo(series: Series, path: Path) -> None:
    """Temperature, potential and conserved energy over time, averaged over blocks."""
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    temperatures = np.unique(series.temperature)
    colors = colormaps["cividis"](np.linspace(0, 0.9, len(temperatures)))
    time = _blocks(series.time_ps)
    per_atom = 1000 / (series.n_mobile + series.n_anion)
    for target, color in zip(temperatures, colors, strict=True):
        replica = series.temperature == target
        kinetic = _blocks(series.kinetic_temperature[replica])
        potential = _blocks(series.potential_energy[replica]) * per_atom
        conserved = _blocks(series.conserved_energy[replica]) * per_atom
        axes[0].fill_between(
            time, kinetic.min(0), kinetic.max(0), color=color, alpha=0.25, lw=0
        )
        axes[0].plot(time, kinetic.mean(0), color=color, lw=1.2, label=f"{target:.0f} K")
        axes[0].axhline(target, color="k", lw=0.6, ls=":", zorder=3)
        axes[1].plot(time, potential.mean(0) - potential.mean(), color=color, lw=1)
        axes[2].plot(time, (conserved - conserved[:, :1]).mean(0), color=color, lw=1)
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
    figure.savefig(path, dpi=_DPI)


def _blocks(trace: np.ndarray) -> np.ndarray:
    """Means over at most `_POINTS` blocks of the last axis."""
    n = trace.shape[-1]
    if n == 0:
        return np.full((*trace.shape[:-1], 1), np.nan)
    start = np.unique(np.linspace(0, n, min(n, _POINTS), endpoint=False).astype(int))
    return np.add.reduceat(trace, start, axis=-1) / np.diff(start, append=n)
