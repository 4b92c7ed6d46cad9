"""Mean squared displacements, and how long a defect stays."""

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.msd import local_exponent
from jaxdiff.analysis.study import Study, TemperatureRow
from jaxdiff.report.figures.style import (
    LINES,
    grid,
    new_figure,
    say,
    temperature_colors,
    to_png,
)

_DIMENSION = 3


def draw_displacements(study: Study) -> bytes:
    """Site-projected curves with their fits and exponent; curves of whole frames."""
    figure = new_figure(9.6, 7.4)
    axes = figure.subplots(2, 2)
    rows = [row for row in study.rows if row.slope is not None and row.hops]
    if not rows:
        for one in axes.flat:
            say(one, "no hop: nothing has moved")
        return to_png(figure)
    colors = temperature_colors(len(study.rows))
    for row, color in zip(study.rows, colors, strict=True):
        if row.slope is not None and row.hops:
            _curve(axes[0, 0], row, color)
            _exponent(axes[0, 1], row, color)
            _tracer(axes[1, 0], row, color)
            _continuous(axes[1, 1], row, color)
    axes[0, 1].axhline(1, color="k", lw=0.7, ls=":")
    titles = (
        (axes[0, 0], "sum over all mobile atoms = defect; line: GLS", "MSD  (Å²)"),
        (axes[0, 1], "its exponent; dotted: diffusion", "d ln MSD / d ln t"),
        (axes[1, 0], "per mobile atom, site-projected", "MSD  (Å²)"),
        (axes[1, 1], "whole frames: mobile atom (—), sum (--)", "MSD  (Å²)"),
    )
    for one, title, label in titles:
        one.set_title(title, fontsize=10)
        one.set_ylabel(label)
        one.set_xlabel("time  (ps)")
        if one.has_data():
            one.set_xscale("log")
            if one is not axes[0, 1]:
                one.set_yscale("log")
            grid(one)
    axes[0, 1].set_ylim(-0.2, 2.2)
    if not axes[1, 1].has_data():
        say(axes[1, 1], "no whole frames were kept")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8
    )
    return to_png(figure)


def _curve(axes: Axes, row: TemperatureRow, color) -> None:
    slope = row.slope
    assert slope is not None  # for the type checker
    time, msd = slope.curve.time_ps, slope.curve.msd
    axes.plot(time, msd, color=color, lw=1.4, label=f"{row.temperature_kelvin:.0f} K")
    if slope.fit is None:
        return
    x = np.array([slope.first_ps, slope.last_ps])
    d = row.defect_diffusivity_gls.value * 1e4  # Å^2/ps
    axes.plot(x, 2 * _DIMENSION * d * x + slope.fit.intercept, "k--", lw=0.9)


def _exponent(axes: Axes, row: TemperatureRow, color) -> None:
    assert row.slope is not None  # for the type checker
    time, msd = row.slope.curve.time_ps, row.slope.curve.msd
    axes.plot(time, local_exponent(time, msd), color=color, lw=1.2)


def _tracer(axes: Axes, row: TemperatureRow, color) -> None:
    if row.tracer is not None and (row.tracer.curve.msd > 0).any():
        axes.plot(row.tracer.curve.time_ps, row.tracer.curve.msd, color=color, lw=1.4)


def _continuous(axes: Axes, row: TemperatureRow, color) -> None:
    for curve, line in zip(row.continuous or (), ("-", "--"), strict=False):
        axes.plot(curve.time_ps, curve.msd, color=color, lw=1.1, ls=line)


def draw_survival(study: Study) -> bytes:
    """Probability that the defect has not hopped: Kaplan-Meier, band, exponential."""
    figure = new_figure(9.6, 4)
    axes = figure.add_subplot()
    rows = [row for row in study.rows if row.hops > 1 and len(row.survival.time) > 1]
    if not rows:
        say(axes, "fewer than two hops at every temperature")
        return to_png(figure)
    colors = temperature_colors(len(rows))
    for k, (row, color) in enumerate(zip(rows, colors, strict=True)):
        curve, tau = row.survival, row.residence.value
        label = f"{row.temperature_kelvin:.0f} K, τ = {tau:.3g} ps"
        axes.fill_between(
            curve.time, curve.low, curve.high, step="post", color=color, alpha=0.15, lw=0
        )
        axes.step(
            *(curve.time, curve.probability),
            where="post",
            color=color,
            lw=1.4,
            ls=LINES[k % len(LINES)],
            label=label,
        )
        x = np.linspace(0, curve.time[-1], 100)
        axes.plot(x, np.exp(-x / tau), color=color, lw=0.8, ls=":")
    axes.set_yscale("log")
    axes.set_ylim(0.01, 1.1)
    axes.set_xlabel("time since the last hop  (ps)")
    axes.set_ylabel("not hopped yet")
    axes.set_title("Kaplan–Meier with 95 % band; dotted: exponential", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    grid(axes)
    return to_png(figure)
