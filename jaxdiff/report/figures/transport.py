"""Mean squared displacements of a crystal without a list of sites, and Arrhenius lines."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from jaxdiff import units
from jaxdiff.analysis.activation import ROOM_TEMPERATURE
from jaxdiff.analysis.conductivity import Activated
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.msd import local_exponent
from jaxdiff.analysis.transport import Line
from jaxdiff.analysis.transport_study import TransportStudy
from jaxdiff.report.figures.style import (
    BLUE,
    RED,
    grid,
    intervals,
    new_figure,
    say,
    temperature_colors,
    to_png,
)


def draw_transport(study: TransportStudy) -> bytes:
    """Tracer and collective displacements with their lines; the exponent of the tracer."""
    figure = new_figure(9.6, 3.9)
    tracer, exponent, charge = figure.subplots(1, 3)
    colors = temperature_colors(len(study.rows))
    for row, color in zip(study.rows, colors, strict=True):
        label = f"{row.motion.temperature_kelvin:g} K"
        _curves(tracer, row.motion.lines, color, label)
        _curves(charge, row.motion.charge_lines, color, label)
        for line in row.motion.lines:
            time, msd = np.array(line.time_ps), np.array(line.msd)
            exponent.plot(time, local_exponent(time, msd), color=color, lw=1.2)
    exponent.axhline(1, color="k", lw=0.7, ls=":")
    exponent.set_ylim(-0.2, 2.2)
    for axes, title, label in (
        (tracer, f"each {study.mobile}: D*", "MSD  (Å²)"),
        (exponent, "its exponent; dotted: diffusion", "d ln MSD / d ln t"),
        (charge, f"sum over all {study.mobile} / number: D_σ", "MSD  (Å²)"),
    ):
        axes.set_title(title, fontsize=10)
        axes.set_ylabel(label)
        axes.set_xlabel("time  (ps)")
        axes.set_xscale("log")
        grid(axes)
    for axes in (tracer, charge):
        if any((np.array(line.get_ydata()) > 0).any() for line in axes.get_lines()):
            axes.set_yscale("log")
        else:
            say(axes, "nothing has moved")
    handles, labels = tracer.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8
    )
    return to_png(figure)


def _curves(axes: Axes, lines: Sequence[Line], color, label: str) -> None:
    for number, line in enumerate(lines):
        axes.plot(
            *(line.time_ps, line.msd),
            color=color,
            lw=1.4,
            label=label if number == 0 else None,
        )
        x = np.linspace(line.first_ps, line.last_ps, 30)
        axes.plot(x, line.slope * x + line.offset, "k--", lw=0.9)


def draw_arrhenius_lines(study: TransportStudy) -> bytes:
    """D* and D_σ against 1000/T with their lines to room temperature."""
    figure = new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    x = np.array([1000 / row.motion.temperature_kelvin for row in study.rows])
    for name, given, line, marker, color, shift in (
        (
            "D*",
            [r.motion.tracer.mean for r in study.rows],
            study.tracer_line,
            "o",
            BLUE,
            -1,
        ),
        ("D_σ", [r.motion.charge.mean for r in study.rows], study.charge_line, "s", RED, 1),
    ):
        place = x + shift * 0.004 * max(float(np.ptp(x)), 0.3)
        _points(axes, place, given, marker, color, f"{name}, 95 %")
        if line is not None:
            _extend(axes, x, line, marker, color)
    axes.set_yscale("log")
    axes.set_xlabel("1000 / T  (1/K)")
    axes.set_ylabel("D  (cm²/s)")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    top = axes.twiny()
    top.set_xlim(axes.get_xlim())
    kelvin = [*(row.motion.temperature_kelvin for row in study.rows), ROOM_TEMPERATURE]
    top.set_xticks([1000 / t for t in kelvin], [f"{t:.0f}" for t in kelvin])
    top.tick_params(labelsize=8)
    top.set_xlabel("T  (K)", fontsize=8)
    grid(axes)
    return to_png(figure)


def _points(
    axes: Axes,
    x: np.ndarray,
    given: Sequence[Estimate],
    marker: str,
    color: str,
    label: str,
) -> None:
    seen = np.array([e.value > 0 for e in given])
    value = np.array([e.value for e in given])
    bound = np.array([e.interval for e in given]).T
    bound[0] = np.maximum(bound[0], 0.02 * np.abs(value))  # logarithms have no zero
    if seen.any():
        intervals(axes, x[seen], value[seen], bound[:, seen], marker, color, label)
    if not seen.all():
        axes.plot(x[~seen], bound[1, ~seen], "v", color=color, mfc="w", ms=8)


def _extend(axes: Axes, x: np.ndarray, line: Activated, marker: str, color: str) -> None:
    room = 1000 / ROOM_TEMPERATURE
    reach = np.linspace(min(x.min(), room), max(x.max(), room), 50)
    energy = line.activation_energy.value
    value = np.exp(line.log_prefactor.value - energy * reach / (1000 * units.KB))
    axes.plot(reach, value, color=color, lw=1)
    estimate = line.room_diffusivity
    if math.isfinite(estimate.interval[1]):
        bound = np.array(estimate.interval)[:, None]
        intervals(
            *(axes, np.array([room]), np.array([estimate.value]), bound),
            *(marker, color, f"at {ROOM_TEMPERATURE:g} K, {energy:.2f} eV"),
        )
