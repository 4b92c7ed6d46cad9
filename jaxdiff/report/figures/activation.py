"""The Arrhenius plot, and the joint region of its two parameters."""

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.study import Study
from jaxdiff.report.figures.style import (
    BLUE,
    RED,
    SKY,
    grid,
    intervals,
    new_figure,
    say,
    to_png,
)


def draw_arrhenius(study: Study) -> bytes:
    """Diffusivity of the defect against 1000/T, two estimators; and the joint region."""
    figure = new_figure(9.6, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    _draw_points(left, study)
    _draw_region(right, study)
    return to_png(figure)


def _draw_points(axes: Axes, study: Study) -> None:
    seen = [row for row in study.rows if row.hops]
    silent = [row for row in study.rows if not row.hops]
    _draw_fit(axes, study)
    if seen:
        x = np.array([1000 / row.temperature_kelvin for row in seen])
        shift = 0.006 * max(float(np.ptp(x)), 0.3)
        hops = [row.headline_diffusivity for row in seen]
        _errorbar(axes, x - shift, hops, "o", BLUE, "hops, 95 %")
        gls = [(p, row.defect_diffusivity_gls) for p, row in zip(x, seen, strict=True)]
        gls = [(p, d) for p, d in gls if d.value > 0]
        if gls:
            place = np.array([p for p, _ in gls]) + shift
            _errorbar(axes, place, [d for _, d in gls], "s", RED, "displacements (GLS)")
        for row, place in zip(seen, x, strict=True):
            top = row.headline_diffusivity.interval[1]
            if row.defect_diffusivity_gls.value > 0:
                top = max(top, row.defect_diffusivity_gls.interval[1])
            _annotate(axes, f"{row.hops}", float(place), top, 4)
    for row in silent:
        place, top = 1000 / row.temperature_kelvin, row.defect_diffusivity.interval[1]
        label = "no hop: 95 % upper limit" if row is silent[0] else None
        axes.plot(place, top, "v", color="k", mfc="w", ms=8, label=label)
        _annotate(axes, "0", place, top, 9)
    if not study.rows:
        say(axes, "no temperature with a known defect")
        return
    axes.set_yscale("log")
    axes.margins(x=0.1, y=0.14)
    axes.set_xlabel("1000 / T  (1/K)")
    axes.set_ylabel("D of the defect  (cm²/s)")
    _kelvin_axis(axes, study)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    grid(axes)


def _errorbar(
    axes: Axes, x: np.ndarray, d: list[Estimate], marker: str, color: str, label: str
) -> None:
    value = np.array([e.value for e in d])
    bound = np.array([e.interval for e in d]).T
    bound[0] = np.maximum(bound[0], 0.02 * value)  # an axis of logarithms has no zero
    intervals(axes, x, value, bound, marker, color, label)


def _draw_fit(axes: Axes, study: Study) -> None:
    if study.diffusion_fit is None:
        return
    inverse = np.array([1000 / row.temperature_kelvin for row in study.rows])
    pad = 0.05 * np.ptp(inverse)
    x = np.linspace(inverse.min() - pad, inverse.max() + pad, 100)
    value, low, high = study.diffusion_fit.predict(1000 / x)
    axes.fill_between(x, low, high, color=SKY, alpha=0.35, lw=0, label="fit, 95 % band")
    axes.plot(x, value, color="0.2", lw=1)


def _annotate(axes: Axes, text: str, x: float, y: float, above: int) -> None:
    axes.annotate(
        text, (x, y), (0, above), textcoords="offset points", ha="center", fontsize=7
    )


def _kelvin_axis(axes: Axes, study: Study) -> None:
    temperatures = [row.temperature_kelvin for row in study.rows]
    top = axes.twiny()
    top.set_xlim(axes.get_xlim())
    top.set_xticks([1000 / t for t in temperatures], [f"{t:.0f}" for t in temperatures])
    top.set_xlabel("T  (K); numbers: hops", fontsize=8)
    top.tick_params(labelsize=8)


def _draw_region(axes: Axes, study: Study) -> None:
    fits = [
        (study.activation.headline, "hops", BLUE, "-", "o"),
        (study.activation.gls, "displacements (GLS)", RED, "--", "s"),
    ]
    drawn = False
    for fit, label, color, line, marker in fits:
        if fit is None or not np.isfinite(fit.activation_energy.standard_error):
            continue
        edge = fit.contour()
        axes.plot(
            *(edge.activation_energy, edge.log_prefactor),
            color=color,
            ls=line,
            lw=1.4,
            label=label,
        )
        best = fit.activation_energy.value, fit.log_prefactor.value
        axes.plot(*best, marker, color=color, ms=5)
        drawn = True
    if not drawn:
        say(axes, "activation energy\nnot identifiable")
        return
    axes.set_xlabel("$E_a$  (eV)")
    axes.set_ylabel("ln (D₀ / (cm²/s))")
    axes.set_title("joint 95 % region", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    grid(axes)
