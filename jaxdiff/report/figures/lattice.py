"""Lattice constant and bulk modulus over temperature."""

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.equation_of_state import StaticLattice
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.lattice import LatticeStudy
from jaxdiff.report.figures.style import BLUE, RED, SKY, grid, new_figure, to_png


def draw_lattice(study: LatticeStudy, static: StaticLattice | None = None) -> bytes:
    """a(T) with the fit and its band; B by fluctuations, and by pressures if there are.

    `static`: the crystal at rest, drawn at 0 K.
    """
    figure = new_figure(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    _draw_constant(left, study)
    _draw_modulus(right, study)
    for axes, value in ((left, "lattice_constant"), (right, "bulk_modulus")):
        if static is not None:
            at_rest = getattr(static, value)
            axes.plot(0, at_rest, "D", color="k", mfc="w", label="at rest (energies)")
        axes.set_xlabel("T  (K)")
        axes.margins(x=0.06, y=0.1)
        axes.legend(frameon=False, fontsize=8)
        grid(axes)
    return to_png(figure)


def _draw_constant(axes: Axes, study: LatticeStudy) -> None:
    kelvin = np.array([point.temperature_kelvin for point in study.points])
    x = np.linspace(kelvin.min(), kelvin.max(), 100)
    curve = [study.lattice_constant_at(float(t)) for t in x]
    low, high = np.array([e.interval for e in curve]).T
    axes.fill_between(x, low, high, color=SKY, alpha=0.35, lw=0, label="fit, 95 % band")
    axes.plot(x, [e.value for e in curve], color=BLUE, lw=1.2)
    values = [point.lattice_constant_angstrom for point in study.points]
    _errorbar(axes, kelvin, values, "o", BLUE, "a, 95 %")
    axes.set_ylabel("a  (Å)")
    axes.ticklabel_format(axis="y", useOffset=False)


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
    axes: Axes, x: np.ndarray, estimate: list[Estimate], marker: str, color: str, label: str
) -> None:
    value = np.array([e.value for e in estimate])
    bound = np.array([e.interval for e in estimate]).T
    axes.errorbar(
        *(x, value, np.abs(bound - value)),
        fmt=marker,
        color=color,
        mfc=color if marker == "o" else "w",
        ms=5,
        capsize=2.5,
        label=label,
    )
