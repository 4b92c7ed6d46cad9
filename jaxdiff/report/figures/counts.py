"""How the value settles with the number of hops, and how replicas scatter."""

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from scipy.stats import poisson

from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study
from jaxdiff.report.figures.style import (
    BLUE,
    SKY,
    frame,
    key,
    logarithmic,
    place,
    say,
    temperature_styles,
    whole_numbers,
)


def convergence(series: Series, study: Study, ax: Axes | None = None) -> Axes:
    """D_def so far over its last value against the hops so far, from the second on.

    The envelope is 1 ± 1/√n.
    """
    axes = place(ax)
    rows = [row for row in study.rows if row.hops > 1]
    if not rows:
        say(axes, "fewer than two hops\nat every temperature")
        return axes
    n = np.geomspace(2, max(row.hops for row in rows), 100)
    axes.fill_between(n, 1 - n**-0.5, 1 + n**-0.5, color="0.85", lw=0, label="1 ± 1/√n")
    events, hop = series.events, series.events.hops(series.sign)
    for row, style in zip(rows, temperature_styles(len(rows)), strict=True):
        mine = hop & (series.temperature[events.replica] == row.temperature_kelvin)
        order = np.argsort(events.frame[mine], kind="stable")
        time = _exposed(series, row.temperature_kelvin, events.frame[mine][order] + 1)
        total = np.cumsum(events.squared_jump[mine][order])
        ratio = total / time * (time[-1] / total[-1])
        label = f"{row.temperature_kelvin:.0f} K"
        n = np.arange(2, len(total) + 1)
        axes.plot(n, ratio[1:], lw=1.2, label=label, **style)
    axes.set_ylim(0, None)
    frame(axes, "hops so far", "D so far / D at the last hop")
    logarithmic(axes, "x")
    key(axes, "upper right", ncols=2)
    return axes


def _exposed(
    series: Series, kelvin: float, frame: Int[np.ndarray, " hops"]
) -> Int[np.ndarray, " hops"]:
    """Frames with a known defect so far, over the replicas at one temperature."""
    mine = series.temperature == kelvin
    length = series.frames["exposure"][mine]
    start = series.frames["frames"][mine] - length
    return np.clip(frame[:, None] - start, 0, length).sum(axis=1)


def dispersion(series: Series, study: Study, ax: Axes | None = None) -> Axes:
    """Hops of each replica beside what one common rate at its temperature lets expect."""
    axes = place(ax)
    count, exposure = series.hop_count, series.exposure_ps
    start = 0
    ticks: list[tuple[float, str]] = []
    for row in study.rows:
        mine = (series.temperature == row.temperature_kelvin) & (exposure > 0)
        expected = row.rate.value * exposure[mine]
        x = start + np.arange(mine.sum())
        edge = np.concatenate([x - 0.5, x[-1:] + 0.5])  # a band also of one replica
        low, high = poisson.ppf([[0.025], [0.975]], np.maximum(expected, 1e-12))
        first, kelvin = start == 0, f"{row.temperature_kelvin:.0f} K"
        for y, style, name in (
            (expected, {"color": "0.3", "lw": 1}, "expected at one rate"),
            (count[mine], {"marker": "o", "color": BLUE, "ms": 3, "ls": ""}, "replica"),
        ):
            label, gid = name if first else None, f"{kelvin}, {name}"
            axes.plot(x, y, label=label, gid=gid, **style)
        axes.fill_between(
            *(edge, np.append(low, low[-1]), np.append(high, high[-1])),
            step="post",
            color=SKY,
            alpha=0.4,
            lw=0,
            label="95 % of Poisson's counts" if first else None,
            gid=f"{kelvin}, 95 % of Poisson's counts",
        )
        ticks.append((float(x.mean()), kelvin))
        start += int(mine.sum()) + 1
    _finish(axes, ticks, study)
    return axes


def _finish(axes: Axes, ticks: list[tuple[float, str]], study: Study) -> None:
    if not ticks:
        say(axes, "no replica with a known defect")
        return
    index, title = study.dispersion.index, ""
    if np.isfinite(index):
        title = f"variance / mean = {index:.2f} (Poisson: 1), p = "
        title += f"{study.dispersion.p_value:.2g}"
    frame(axes, "replicas by temperature", "hops per replica", title)
    axes.set_xticks([x for x, _ in ticks], [text for _, text in ticks])
    whole_numbers(axes.yaxis)
    top = axes.get_ylim()[1]
    axes.set_ylim(-0.02 * top, 1.3 * top)  # a disc at 0 is whole; room for the key
    key(axes, "upper left")
