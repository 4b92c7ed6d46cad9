"""Lattice constant and bulk modulus over temperature."""

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.equation_of_state import StaticLattice
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.lattice import LatticeStudy
from jaxdiff.report.figures.style import (
    BLUE,
    RED,
    SKY,
    grid,
    intervals,
    new_figure,
    to_png,
)


def draw_lattice(study: LatticeStudy, static: StaticLattice | None = None) -> bytes:
    """a(T) with the fit and its band; B by fluctuations, and by pressures if there are.

    `static`: the crystal at rest, drawn at 0 K.
    """
    figure = new_figure(9.6, 4.6)
    places = figure.add_gridspec(2, 2, height_ratios=(2.4, 1))
    constant = figure.add_subplot(places[0, 0])
    residual = figure.add_subplot(places[1, 0], sharex=constant)
    modulus = figure.add_subplot(places[:, 1])
    _draw_constant(constant, residual, study)
    _draw_modulus(modulus, study)
    if static is not None:
        for one, value in (
            (constant, static.lattice_constant),
            (modulus, static.bulk_modulus),
        ):
            one.plot(0, value, "D", color="k", mfc="w", label="at rest (energies)")
    for one in (constant, modulus):
        one.margins(x=0.06, y=0.1)
        one.legend(frameon=False, fontsize=8)
        grid(one)
    constant.tick_params(labelbottom=False)
    for one in (residual, modulus):
        one.set_xlabel("T  (K)")
    return to_png(figure)


def _draw_constant(axes: Axes, below: Axes, study: LatticeStudy) -> None:
    """The curve, and the same less the curve, where its band can be seen."""
    kelvin = np.array([point.temperature_kelvin for point in study.points])
    values = [point.lattice_constant_angstrom for point in study.points]
    x = np.linspace(kelvin.min(), kelvin.max(), 100)
    curve = [study.lattice_constant_at(float(t)) for t in x]
    middle = np.array([e.value for e in curve])
    low, high = np.array([e.interval for e in curve]).T
    axes.fill_between(x, low, high, color=SKY, alpha=0.35, lw=0, label="fit, 95 % band")
    axes.plot(x, middle, color=BLUE, lw=1.2)
    _errorbar(axes, kelvin, values, "o", BLUE, "a, 95 %")
    axes.set_ylabel("a  (Å)")
    axes.ticklabel_format(axis="y", useOffset=False)
    below.fill_between(
        x, 1e3 * (low - middle), 1e3 * (high - middle), color=SKY, alpha=0.35, lw=0
    )
    below.axhline(0, color=BLUE, lw=1.2)
    fit = np.array([study.lattice_constant_at(float(t)).value for t in kelvin])
    _errorbar(below, kelvin, values, "o", BLUE, "", less=fit, scale=1e3)
    below.set_ylabel("a − fit  (mÅ)")
    grid(below)


def _draw_modulus(axes: Axes, study: LatticeStudy) -> None:
    kelvin = np.array([point.temperature_kelvin for point in study.points])
    shift = 0.006 * float(np.ptp(kelvin))
    values = [point.bulk_modulus_gpa for point in study.points]
    _errorbar(axes, kelvin - shift, values, "o", BLUE, "volume fluctuations, 95 %")
    second = [
        (t, p.bulk_modulus_by_pressure_gpa)
        for t, p in zip(kelvin, study.points, strict=True)
        if p.bulk_modulus_by_pressure_gpa is not None
    ]
    if second:
        place = np.array([t for t, _ in second]) + shift
        _errorbar(axes, place, [e for _, e in second], "s", RED, "volume and pressure")
    axes.set_ylabel("bulk modulus  (GPa)")


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
