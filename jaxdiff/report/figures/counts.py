"""How the value settles with the number of hops, and how replicas scatter."""

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from scipy.stats import poisson

from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study
from jaxdiff.report.figures.style import (
    BLUE,
    LINES,
    SKY,
    grid,
    new_figure,
    say,
    temperature_colors,
    to_png,
)


def draw_convergence(series: Series, study: Study) -> bytes:
    """D_def so far over its final value against the hops so far; envelope 1 ± 1/√n."""
    figure = new_figure(9.6, 3.8)
    axes = figure.add_subplot()
    rows = [row for row in study.rows if row.hops > 1]
    if not rows:
        say(axes, "fewer than two hops at every temperature")
        return to_png(figure)
    events, hop = series.events, series.events.hops(series.sign)
    for k, (row, color) in enumerate(zip(rows, temperature_colors(len(rows)), strict=True)):
        mine = hop & (series.temperature[events.replica] == row.temperature_kelvin)
        order = np.argsort(events.frame[mine], kind="stable")
        time = _exposed(series, row.temperature_kelvin, events.frame[mine][order] + 1)
        total = np.cumsum(events.squared_jump[mine][order])
        ratio = total / time * (time[-1] / total[-1])
        n = np.arange(1, len(total) + 1)
        axes.plot(
            *(n, ratio),
            color=color,
            lw=1.3,
            ls=LINES[k % len(LINES)],
            label=f"{row.temperature_kelvin:.0f} K",
        )
    n = np.geomspace(1, max(row.hops for row in rows), 100)
    axes.fill_between(
        n, 1 - n**-0.5, 1 + n**-0.5, color=SKY, alpha=0.3, lw=0, label="1 ± 1/√n"
    )
    axes.set_xscale("log")
    axes.set_ylim(0, 2.5)
    axes.set_xlabel("hops so far")
    axes.set_ylabel("D so far / D at the last hop")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    grid(axes)
    return to_png(figure)


def _exposed(
    series: Series, kelvin: float, frame: Int[np.ndarray, " hops"]
) -> Int[np.ndarray, " hops"]:
    """Frames with a known defect so far, over the replicas at one temperature."""
    mine = series.temperature == kelvin
    length = series.frames["exposure"][mine]
    start = series.frames["frames"][mine] - length
    return np.clip(frame[:, None] - start, 0, length).sum(axis=1)


def draw_dispersion(series: Series, study: Study) -> bytes:
    """Hops of each replica against what its exposure and temperature let one expect."""
    figure = new_figure(9.6, 3.8)
    axes = figure.add_subplot()
    count, exposure = series.hop_count, series.exposure_ps
    place = 0
    ticks: list[tuple[float, str]] = []
    for row in study.rows:
        mine = (series.temperature == row.temperature_kelvin) & (exposure > 0)
        expected = row.rate.value * exposure[mine]
        x = place + np.arange(mine.sum())
        low, high = poisson.ppf([[0.025], [0.975]], np.maximum(expected, 1e-12))
        axes.fill_between(
            x, low, high, step="mid", color=SKY, alpha=0.4, lw=0, label=_once(place)
        )
        axes.plot(x, expected, color="0.3", lw=1)
        axes.plot(x, count[mine], "o", color=BLUE, ms=4)
        ticks.append((float(x.mean()), f"{row.temperature_kelvin:.0f} K"))
        place += int(mine.sum()) + 1
    _finish(axes, ticks, study)
    return to_png(figure)


def _once(place: int) -> str | None:
    return "95 % of Poisson counts" if place == 0 else None


def _finish(axes: Axes, ticks: list[tuple[float, str]], study: Study) -> None:
    if not ticks:
        say(axes, "no replica with a known defect")
        return
    axes.set_xticks([x for x, _ in ticks], [text for _, text in ticks])
    axes.set_ylabel("hops per replica")
    index = study.dispersion.index
    if np.isfinite(index):
        title = f"dispersion index {index:.2f}, p = {study.dispersion.p_value:.2g}"
        axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.margins(y=0.15)
    axes.set_ylim(bottom=0)
    grid(axes)
