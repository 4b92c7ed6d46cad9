"""Lattice constant and bulk modulus over temperature."""

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdiff.analysis.equation_of_state import StaticLattice
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.lattice import LatticeStudy
from jaxdiff.report.figures.style import (
    BLUE,
    ONE_COLUMN,
    RED,
    SKY,
    frame,
    intervals,
    key,
    place,
    sheet,
)


def lattice_with_residual(
    study: LatticeStudy, static: StaticLattice | None = None
) -> Figure:
    """a(T) and, below it, what the fitted curve leaves; one column."""
    panels = [
        lambda ax: lattice_constant(study, static, ax),
        partial(lattice_residual, study),
    ]
    figure = sheet(panels, height=1.6, ratios=(2, 1), sharex=True, width=ONE_COLUMN)
    figure.axes[0].set_xlabel("")
    return figure


def lattice_constant(
    study: LatticeStudy, static: StaticLattice | None = None, ax: Axes | None = None
) -> Axes:
    """a(T) with the fitted curve and its band; `static`: the crystal at rest, at 0 K."""
    axes = place(ax)
    x, middle, low, high = _curve(study)
    axes.fill_between(x, low, high, color=SKY, alpha=0.35, lw=0, label="fit, 95 % band")
    axes.plot(x, middle, color=BLUE, lw=1, gid="fit")
    kelvin, values = _points(study)
    _errorbar(axes, kelvin, values, "o", BLUE, "a, 95 %")
    if static is not None:
        _at_rest(axes, static.lattice_constant)
    frame(axes, "T  (K)", "a  (Å)")
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.margins(x=0.06, y=0.1)
    key(axes, "upper left")
    return axes


def lattice_residual(study: LatticeStudy, ax: Axes | None = None) -> Axes:
    """a(T) less the fitted curve, where its band can be seen, mÅ."""
    axes = place(ax)
    x, middle, low, high = _curve(study)
    axes.fill_between(
        *(x, 1e3 * (low - middle), 1e3 * (high - middle)),
        color=SKY,
        alpha=0.35,
        lw=0,
        label="fit, 95 % band",
    )
    axes.axhline(0, color=BLUE, lw=1)
    kelvin, values = _points(study)
    fit = np.array([study.lattice_constant_at(float(t)).value for t in kelvin])
    _errorbar(axes, kelvin, values, "o", BLUE, "a, 95 %", less=fit, scale=1e3)
    frame(axes, "T  (K)", "a − fit  (mÅ)")
    return axes


def bulk_modulus(
    study: LatticeStudy, static: StaticLattice | None = None, ax: Axes | None = None
) -> Axes:
    """B by the fluctuations of the volume, and by pressures where they were recorded."""
    axes = place(ax, 3.2)  # that of the lattice constant beside it
    kelvin = np.array([point.temperature_kelvin for point in study.points])
    shift = 0.008 * float(np.ptp(kelvin))
    values = [point.bulk_modulus_gpa for point in study.points]
    _errorbar(axes, kelvin - shift, values, "o", BLUE, "volume fluctuations, 95 %")
    second = [
        (t, p.bulk_modulus_by_pressure_gpa)
        for t, p in zip(kelvin, study.points, strict=True)
        if p.bulk_modulus_by_pressure_gpa is not None
    ]
    if second:
        at = np.array([t for t, _ in second]) + shift
        label = "volume and pressure, 95 %"
        _errorbar(axes, at, [e for _, e in second], "s", RED, label)
    if static is not None:
        _at_rest(axes, static.bulk_modulus)
    frame(axes, "T  (K)", "bulk modulus  (GPa)")
    axes.margins(x=0.06, y=0.2)
    key(axes)
    return axes


def _at_rest(axes: Axes, value: float) -> None:
    axes.plot(0, value, "D", color="k", mfc="w", ms=4, label="at rest (energies)")


def _points(study: LatticeStudy) -> tuple[np.ndarray, list[Estimate]]:
    kelvin = np.array([point.temperature_kelvin for point in study.points])
    return kelvin, [point.lattice_constant_angstrom for point in study.points]


def _curve(study: LatticeStudy) -> tuple[np.ndarray, ...]:
    """Temperatures, fitted a, and the edges of its 95 % band."""
    kelvin, _ = _points(study)
    x = np.linspace(kelvin.min(), kelvin.max(), 100)
    curve = [study.lattice_constant_at(float(t)) for t in x]
    low, high = np.array([e.interval for e in curve]).T
    return x, np.array([e.value for e in curve]), low, high


def _errorbar(
    axes: Axes,
    x: np.ndarray,
    estimate: list[Estimate],
    marker: str,
    color: str,
    label: str,
    *,
    less: np.ndarray | float = 0.0,
    scale: float = 1.0,
) -> None:
    """Values and intervals, less something, times `scale`."""
    value = scale * (np.array([e.value for e in estimate]) - less)
    bound = scale * (np.array([e.interval for e in estimate]).T - less)
    intervals(axes, x, value, bound, marker, color, label)
