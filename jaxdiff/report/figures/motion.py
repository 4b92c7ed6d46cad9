"""Mean squared displacements, and how long a defect stays."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.msd import local_exponent
from jaxdiff.analysis.study import Study, TemperatureRow
from jaxdiff.report.figures.style import (
    BLUE,
    SKY,
    frame,
    key,
    logarithmic,
    place,
    positive,
    round_numbers,
    say,
    temperature_styles,
)

FITTED = {"color": "k", "lw": 2.6, "alpha": 0.35, "zorder": 1}
"""How fitted lines are drawn, below the curves."""

_DIMENSION = 3


def displacements(study: Study, ax: Axes | None = None) -> Axes:
    """MSD of the defect, summed over mobile atoms on their sites, with fitted lines."""

    def draw(axes: Axes, row: TemperatureRow, style: dict) -> None:
        slope = row.slope
        assert slope is not None  # for the type checker
        time, msd = slope.curve.time_ps, slope.curve.msd
        axes.plot(time, positive(msd), lw=1.2, label=_kelvin(row), **style)
        if slope.fit is not None:
            x = np.array([slope.first_ps, slope.last_ps])
            d = row.defect_diffusivity_gls.value * 1e4  # Å^2/ps
            y = 2 * _DIMENSION * d * x + slope.fit.intercept
            axes.plot(x, y, gid=f"{_kelvin(row)}, line (GLS)", **FITTED)

    return _over_time(
        study, ax, draw, "MSD of the defect  (Å²)", also={"line (GLS)": FITTED}
    )


def displacement_exponent(study: Study, ax: Axes | None = None) -> Axes:
    """Local exponent d ln MSD / d ln t of the defect; 1 is diffusion."""

    def draw(axes: Axes, row: TemperatureRow, style: dict) -> None:
        assert row.slope is not None  # for the type checker
        time, msd = row.slope.curve.time_ps, row.slope.curve.msd
        axes.plot(time, local_exponent(time, msd), lw=1.2, label=_kelvin(row), **style)

    axes = _over_time(study, ax, draw, "d ln MSD / d ln t, defect", log=False)
    if axes.has_data():
        exponent_axis(axes)
    return axes


def exponent_axis(axes: Axes) -> None:
    """From 0 to 2, with diffusion marked."""
    axes.axhline(1, color="k", lw=0.8, ls=(0, (1, 2)), label="diffusion")
    axes.set_ylim(-0.2, 2.8)  # room for the key
    key(axes, "upper right", ncols=2)


def tracer_displacements(study: Study, ax: Axes | None = None) -> Axes:
    """MSD of one mobile atom, on its sites."""

    def draw(axes: Axes, row: TemperatureRow, style: dict) -> None:
        if row.tracer is not None and (row.tracer.curve.msd > 0).any():
            curve = row.tracer.curve
            msd = positive(curve.msd)
            axes.plot(curve.time_ps, msd, lw=1.2, label=_kelvin(row), **style)

    return _over_time(study, ax, draw, "MSD of a mobile atom  (Å²)")


def frame_displacements(study: Study, ax: Axes | None = None) -> Axes:
    """MSD with vibrations from kept positions: of a mobile atom, and of their sum."""
    widths = {"mobile atom": 1.0, "sum over all": 2.2}

    def draw(axes: Axes, row: TemperatureRow, style: dict) -> None:
        for curve, what in zip(row.continuous or (), widths, strict=False):
            label = _kelvin(row) if what == "mobile atom" else None
            shared = {"lw": widths[what], "gid": f"{_kelvin(row)}, {what}"} | style
            axes.plot(curve.time_ps, positive(curve.msd), label=label, **shared)

    missing = "no positions were kept:\nset output.positions_every_ps"
    missing += "\n(of trajectories: --keep-frames)"
    also = {name: {"color": "k", "lw": widths[name]} for name in widths}
    label = "MSD with vibrations  (Å²)"
    return _over_time(study, ax, draw, label, missing=missing, also=also)


def _over_time(
    study: Study,
    ax: Axes | None,
    draw: Callable[[Axes, TemperatureRow, dict], None],
    label: str,
    *,
    log: bool = True,
    missing: str = "no hop: nothing has moved",
    also: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Axes:
    """A curve for each temperature with hops; a sentence where there is none.

    `also`: what the key has beside temperatures, and how it is drawn.
    """
    axes = place(ax)
    styles = temperature_styles(len(study.rows))
    for row, style in zip(study.rows, styles, strict=True):
        if row.slope is not None and row.hops:
            draw(axes, row, style)
    if not axes.lines:
        moved = any(row.slope is not None and row.hops for row in study.rows)
        say(axes, missing if moved else "no hop: nothing has moved")
        return axes
    frame(axes, "time  (ps)", label)
    logarithmic(axes, "x")
    for name, style in also.items():
        axes.plot([], [], label=name, **style)
    if log:
        logarithmic(axes)
        key(axes)
    return axes


def _kelvin(row: TemperatureRow) -> str:
    return f"{row.temperature_kelvin:.0f} K"


def survival(row: TemperatureRow, ax: Axes | None = None) -> Axes:
    """Probability that the defect has not hopped, of one temperature.

    Kaplan-Meier with its 95 % band, and the exponential of the mean residence.
    """
    axes = place(ax)
    curve, tau = row.survival, row.residence.value
    title = f"{_kelvin(row)}, τ = {tau:.3g} ps" if row.hops else _kelvin(row)
    if row.hops < 2 or len(curve.time) < 2:
        say(axes, "fewer than two hops")
        axes.set_title(title, fontsize=8)
        return axes
    axes.fill_between(
        *(curve.time, curve.low, curve.high),
        step="post",
        color=SKY,
        alpha=0.4,
        lw=0,
        label="95 % band",
    )
    axes.step(
        *(curve.time, curve.probability),
        where="post",
        color=BLUE,
        lw=1.3,
        label="not hopped (Kaplan–Meier)",
    )
    x = np.linspace(0, curve.time[-1], 100)
    axes.plot(x, np.exp(-x / tau), "k:", lw=1.1, label="exponential, exp(−t/τ)")
    axes.set_xlim(0, None)
    axes.set_ylim(0, 1.03)
    frame(axes, "time since the last hop  (ps)", "probability", title)
    round_numbers(axes.xaxis)
    key(axes, "upper right")
    return axes
