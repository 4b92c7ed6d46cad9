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
from jaxdiff.analysis.transport_study import Row, TransportStudy
from jaxdiff.report.figures.motion import FITTED, exponent_axis
from jaxdiff.report.figures.style import (
    BLUE,
    RED,
    frame,
    intervals,
    kelvin_axis,
    key,
    logarithmic,
    place,
    positive,
    say,
    temperature_styles,
)


def ion_displacements(study: TransportStudy, ax: Axes | None = None) -> Axes:
    """MSD of each mobile ion and the lines whose slope is D*."""
    lines = [(row, row.motion.lines) for row in study.rows]
    return _displacements(ax, lines, f"MSD of {study.mobile}  (Å²)")


def charge_displacements(study: TransportStudy, ax: Axes | None = None) -> Axes:
    """MSD of the sum over all mobile ions, by their number; its slope is that of D_σ."""
    lines = [(row, row.motion.charge_lines) for row in study.rows]
    return _displacements(ax, lines, f"MSD of the sum of {study.mobile}  (Å²)")


def _displacements(
    ax: Axes | None, given: Sequence[tuple[Row, Sequence[Line]]], label: str
) -> Axes:
    axes = place(ax)
    for (row, lines), style in zip(given, temperature_styles(len(given)), strict=True):
        kelvin = f"{row.motion.temperature_kelvin:g} K"
        for number, line in enumerate(lines):
            name = kelvin if number == 0 else None
            msd = positive(np.array(line.msd))
            axes.plot(line.time_ps, msd, lw=1.2, label=name, gid=kelvin, **style)
            x = np.linspace(line.first_ps, line.last_ps, 30)
            y = line.slope * x + line.offset
            axes.plot(x, y, gid=f"{kelvin}, fitted line", **FITTED)
    axes.plot([], [], label="fitted lines", **FITTED)
    if not any((np.array(line.get_ydata()) > 0).any() for line in axes.get_lines()):
        for line in list(axes.get_lines()):
            line.remove()
        say(axes, "nothing has moved")
        return axes
    frame(axes, "time  (ps)", label)
    logarithmic(axes, "x")
    logarithmic(axes)
    key(axes, "upper left")
    return axes


def ion_exponent(study: TransportStudy, ax: Axes | None = None) -> Axes:
    """Local exponent d ln MSD / d ln t of the mobile ions; 1 is diffusion."""
    axes = place(ax)
    styles = temperature_styles(len(study.rows))
    for row, style in zip(study.rows, styles, strict=True):
        kelvin = f"{row.motion.temperature_kelvin:g} K"
        for number, line in enumerate(row.motion.lines):
            time, msd = np.array(line.time_ps), np.array(line.msd)
            name = kelvin if number == 0 else None
            y = local_exponent(time, msd)
            axes.plot(time, y, lw=1.2, label=name, gid=kelvin, **style)
    frame(axes, "time  (ps)", f"d ln MSD / d ln t of {study.mobile}")
    logarithmic(axes, "x")
    exponent_axis(axes)
    return axes


def transport_arrhenius(study: TransportStudy, ax: Axes | None = None) -> Axes:
    """D* and D_σ over 1000/T with their lines to room temperature."""
    axes = place(ax)
    x = np.array([1000 / row.motion.temperature_kelvin for row in study.rows])
    tracer = [row.motion.tracer.mean for row in study.rows]
    charge = [row.motion.charge.mean for row in study.rows]
    for name, given, line, marker, color, shift in (
        ("D*", tracer, study.tracer_line, "o", BLUE, -1),
        ("$D_σ$", charge, study.charge_line, "s", RED, 1),
    ):
        at = x + shift * 0.006 * max(float(np.ptp(x)), 0.3)
        _points(axes, at, given, marker, color, name)
        if line is not None:
            _extend(axes, x, line, name, color)
    frame(axes, "1000 / T  (1/K)", "D  (cm²/s)")
    axes.margins(x=0.08, y=0.08)
    logarithmic(axes)
    kelvin = [row.motion.temperature_kelvin for row in study.rows]
    kelvin_axis(axes, [*kelvin, ROOM_TEMPERATURE])
    key(axes)
    return axes


def _points(
    axes: Axes,
    x: np.ndarray,
    given: Sequence[Estimate],
    marker: str,
    color: str,
    name: str,
) -> None:
    seen = np.array([e.value > 0 for e in given])
    value = np.array([e.value for e in given])
    bound = np.array([e.interval for e in given]).T
    if seen.any():
        label = f"{name}, 95 %"
        intervals(axes, x[seen], value[seen], bound[:, seen], marker, color, label)
    above = ~seen & np.isfinite(bound[1])
    if above.any():
        label = f"{name}: 95 % upper limit"
        axes.plot(x[above], bound[1, above], "v", color=color, mfc="w", ms=6, label=label)


def _extend(axes: Axes, x: np.ndarray, line: Activated, name: str, color: str) -> None:
    room = 1000 / ROOM_TEMPERATURE
    reach = np.linspace(min(x.min(), room), max(x.max(), room), 50)
    energy = line.activation_energy.value
    value = np.exp(line.log_prefactor.value - energy * reach / (1000 * units.KB))
    axes.plot(reach, value, color=color, lw=1, label=f"{name}, $E_a$ = {energy:.2f} eV")
    estimate = line.room_diffusivity
    low, high = estimate.interval
    if math.isfinite(high) and high > low:
        axes.plot(
            [room, room],
            [low, high],
            color=color,
            lw=3,
            alpha=0.4,
            gid=f"{name}, {ROOM_TEMPERATURE:g} K, 95 %",
        )
