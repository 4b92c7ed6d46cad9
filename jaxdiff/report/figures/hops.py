"""When each replica hopped, and which hops there were."""

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study
from jaxdiff.report.figures.style import (
    class_styles,
    grid,
    new_figure,
    say,
    temperature_colors,
    to_png,
)


def draw_hops(series: Series) -> bytes:
    """Events by class; replicas grouped by temperature."""
    order = np.argsort(series.temperature, kind="stable")
    n_replicas = len(order)
    figure = new_figure(9.6, float(np.clip(1.8 + 0.09 * n_replicas, 3.2, 11)))
    axes = figure.add_subplot()
    size = float(np.clip(600 / n_replicas, 3, 20))
    events = series.events
    time, kind = (events.frame + 1) * series.frame_ps, events.kind
    row = np.argsort(order)[events.replica]
    styles = class_styles(series.network)
    for index, name in enumerate(series.network.classes):
        mine = kind == index
        if mine.any():
            color, marker = styles[name]
            label = f"{name.replace('_', ' ')} ({mine.sum()})"
            axes.scatter(
                time[mine], row[mine], s=size, c=color, marker=marker, lw=0.8, label=label
            )
    _group_replicas(axes, series.temperature[order])
    end = float(max(series.frames["frames"].max(), 1)) * series.frame_ps
    axes.set_xlim(0, end)
    if series.stopped.any():
        stopped = series.stopped[order]
        axes.hlines(
            *(np.flatnonzero(stopped), series.diverged_ps[order][stopped], end),
            color="0.6",
            lw=2.5,
            label=f"diverged ({stopped.sum()})",
        )
    axes.set_ylim(-0.8, n_replicas - 0.2)
    axes.set_xlabel("time  (ps)")
    if len(time) or series.stopped.any():
        figure.legend(
            loc="outside lower center", ncols=5, frameon=False, fontsize=8, markerscale=1.5
        )
    if len(time) == 0:
        axes.text(0.5, 0.5, "no event", transform=axes.transAxes, ha="center")
    return to_png(figure)


def _group_replicas(axes: Axes, temperature: np.ndarray) -> None:
    """Label the rows by temperature and separate them."""
    values, first, count = np.unique(temperature, return_index=True, return_counts=True)
    for start in first[1:]:
        axes.axhline(start - 0.5, color="0.5", lw=0.7)
    labels = [
        f"{t:.0f} K\n{n} replica{'s' if n > 1 else ''}"
        for t, n in zip(values, count, strict=True)
    ]
    axes.set_yticks(first + (count - 1) / 2, labels, fontsize=8)
    axes.tick_params(axis="y", length=0)
    if len(temperature) <= 100:
        for row in range(len(temperature)):
            axes.axhline(row, color="0.93", lw=0.4, zorder=0)


def draw_classes(series: Series, study: Study) -> bytes:
    """Events of each class by temperature, with the lengths of the jumps."""
    figure = new_figure(9.6, 3.6)
    axes = figure.add_subplot()
    names = series.network.classes
    total = [sum(r.events_by_class[name] for r in study.rows) for name in names]
    shown = [i for i, n in enumerate(total) if n]
    if not shown:
        say(axes, "no event")
        return to_png(figure)
    base = np.zeros(len(shown))
    colors = temperature_colors(len(study.rows))
    for row, color in zip(study.rows, colors, strict=True):
        count = np.array([row.events_by_class[names[i]] for i in shown], float)
        label = f"{row.temperature_kelvin:.0f} K"
        axes.bar(
            np.arange(len(shown)),
            count,
            0.7,
            base,
            color=color,
            label=label,
            edgecolor="w",
            lw=0.4,
        )
        base += count
    for place, i in enumerate(shown):
        axes.text(place, total[i], f"{total[i]}", ha="center", va="bottom", fontsize=8)
    labels = [f"{names[i].replace('_', ' ')}\n{_length(series, i)}" for i in shown]
    axes.set_xticks(range(len(shown)), labels, fontsize=8)
    axes.set_ylabel("events")
    axes.margins(y=0.12)
    axes.set_xlim(-0.7, max(len(shown), 3) - 0.3)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    grid(axes)
    return to_png(figure)


def _length(series: Series, kind: int) -> str:
    """Length of a jump, Å; the range where it varies."""
    mine = series.events.kind == kind
    length = series.events.squared_jump[mine] ** 0.5 * series.event_unit[mine]
    low, high = f"{length.min():.2f}", f"{length.max():.2f}"
    return f"{low} Å" if low == high else f"{low}–{high} Å"
