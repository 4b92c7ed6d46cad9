"""When each replica hopped, and which hops there were."""

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study
from jaxdiff.report.figures.style import (
    SMALL,
    class_styles,
    frame,
    key,
    place,
    round_numbers,
    say,
    temperature_styles,
    whole_numbers,
)

_HATCHES = ("", "///", "...", "\\\\\\", "xx")


def hops(series: Series, ax: Axes | None = None) -> Axes:
    """Events by class over time; one row for each replica, by temperature."""
    order = np.argsort(series.temperature, kind="stable")
    n_replicas = len(order)
    axes = place(ax, float(np.clip(1.9 + 0.04 * n_replicas, 2.7, 8)))
    size = float(np.clip(300 / n_replicas, 2, 14))
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
                *(time[mine], row[mine], size),
                c=color,
                marker=marker,
                lw=0.7,
                label=label,
                clip_on=False,
                zorder=3,
            )
    frame(axes, "time  (ps)", "")
    round_numbers(axes.xaxis)
    _group_replicas(axes, series.temperature[order])
    end = float(max(series.frames["frames"].max(), 1)) * series.frame_ps
    axes.set_xlim(0, end)
    if series.stopped.any():
        stopped = series.stopped[order]
        axes.hlines(
            *(np.flatnonzero(stopped), series.diverged_ps[order][stopped], end),
            color="0.6",
            lw=2,
            label=f"diverged ({stopped.sum()})",
        )
    axes.set_ylim(-0.8, n_replicas - 0.2)
    if len(time) == 0:
        axes.text(0.5, 0.5, "no event", transform=axes.transAxes, ha="center", fontsize=8)
    key(axes, "lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return axes


def _group_replicas(axes: Axes, temperature: np.ndarray) -> None:
    """Label the rows by temperature and separate them."""
    values, first, count = np.unique(temperature, return_index=True, return_counts=True)
    for start in first[1:]:
        axes.axhline(start - 0.5, color="0.5", lw=0.6)
    labels = [f"{t:.0f} K\n({n})" for t, n in zip(values, count, strict=True)]
    axes.set_yticks(first + (count - 1) / 2, labels, fontsize=SMALL)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.grid(False, axis="y")
    axes.set_ylabel("temperature (replicas)", fontsize=8)


def classes(series: Series, study: Study, ax: Axes | None = None) -> Axes:
    """Events of each class by temperature, with the lengths of the jumps."""
    axes = place(ax)
    names = series.network.classes
    total = [sum(r.events_by_class[name] for r in study.rows) for name in names]
    shown = [i for i, n in enumerate(total) if n]
    if not shown:
        say(axes, "no event")
        return axes
    labels = [f"{names[i].replace('_', ' ')}\n{_length(series, i)}" for i in shown]
    axes.set_yticks(range(len(shown)), labels)
    base = np.zeros(len(shown))
    styles = temperature_styles(len(study.rows))
    for number, (row, style) in enumerate(zip(study.rows, styles, strict=True)):
        count = np.array([row.events_by_class[names[i]] for i in shown])
        axes.barh(
            *(np.arange(len(shown)), count, 0.7, base),
            color=style["color"],
            label=f"{row.temperature_kelvin:.0f} K",
            edgecolor="w",
            hatch=_HATCHES[number % len(_HATCHES)],
            lw=0.4,
        )
        base += count
    for at, i in enumerate(shown):
        axes.text(total[i], at, f" {total[i]}", va="center", fontsize=SMALL)
    frame(axes, "events", "class and length of the jump")
    whole_numbers(axes.xaxis)
    axes.margins(x=0.12)
    axes.set_ylim(max(len(shown), 3) - 0.4, -0.6)
    key(axes, "lower right", ncols=2 if len(study.rows) > 5 else 1)
    return axes


def _length(series: Series, kind: int) -> str:
    """Length of a jump, Å; the range where it varies."""
    mine = series.events.kind == kind
    length = series.events.squared_jump[mine] ** 0.5 * series.event_unit[mine]
    low, high = f"{length.min():.2f}", f"{length.max():.2f}"
    return f"{low} Å" if low == high else f"{low}–{high} Å"
