"""The Arrhenius plot, and the joint region of its two parameters."""

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.study import Study
from jaxdiff.lattice.jumps import VACANCY
from jaxdiff.report.figures.style import (
    BLUE,
    RED,
    SKY,
    SMALL,
    frame,
    intervals,
    kelvin_axis,
    key,
    logarithmic,
    place,
    say,
)


def arrhenius(study: Study, ax: Axes | None = None) -> Axes:
    """Diffusivity of the defect over 1000/T by two estimators, with the fitted line.

    Numbers beside the points are hops; a temperature without any has an upper limit.
    """
    axes = place(ax)
    if not study.rows:
        say(axes, "no temperature with a known defect")
        return axes
    _draw_fit(axes, study)
    _draw_points(axes, study)
    defect = "vacancy" if study.sign == VACANCY else "interstitial"
    frame(axes, "1000 / T  (1/K)", f"D of the {defect}  (cm²/s)")
    axes.margins(x=0.1, y=0.14)
    logarithmic(axes, least=_least(study))
    kelvin_axis(axes, [row.temperature_kelvin for row in study.rows])
    key(axes, title="numbers: hops")
    return axes


def _least(study: Study) -> float:
    """Of the axis: below it bars of a few hops would go on for decades."""
    seen = [row.headline_diffusivity.value for row in study.rows if row.hops]
    silent = [r.defect_diffusivity.interval[1] for r in study.rows if not r.hops]
    return min(seen + silent) / 20


def _draw_points(axes: Axes, study: Study) -> None:
    seen = [row for row in study.rows if row.hops]
    silent = [row for row in study.rows if not row.hops]
    if seen:
        x = np.array([1000 / row.temperature_kelvin for row in seen])
        shift = 0.008 * max(float(np.ptp(x)), 0.3)
        hops = [row.headline_diffusivity for row in seen]
        _points(axes, x - shift, hops, "o", BLUE, "hops, 95 %")
        gls = [(p, row.defect_diffusivity_gls) for p, row in zip(x, seen, strict=True)]
        gls = [(p, d) for p, d in gls if d.value > 0]
        if gls:
            at = np.array([p for p, _ in gls]) + shift
            _points(axes, at, [d for _, d in gls], "s", RED, "displacements (GLS), 95 %")
        for row, at in zip(seen, x.tolist(), strict=True):
            tops = row.headline_diffusivity, row.defect_diffusivity_gls
            known = [d.interval[1] for d in tops if d.value > 0]
            above = max((y for y in known if np.isfinite(y)), default=tops[0].value)
            _annotate(axes, f"{row.hops}", at, above, 4)
    for row in silent:
        at, top = 1000 / row.temperature_kelvin, row.defect_diffusivity.interval[1]
        label = "no hop: 95 % upper limit" if row is silent[0] else None
        gid = "no hop: 95 % upper limit"
        axes.plot(at, top, "v", color="k", mfc="w", ms=6, label=label, gid=gid)
        _annotate(axes, "0", at, top, 6)


def _points(
    axes: Axes, x: np.ndarray, d: list[Estimate], marker: str, color: str, label: str
) -> None:
    value = np.array([e.value for e in d])
    intervals(axes, x, value, np.array([e.interval for e in d]).T, marker, color, label)


def _draw_fit(axes: Axes, study: Study) -> None:
    if study.diffusion_fit is None:
        return
    inverse = np.array([1000 / row.temperature_kelvin for row in study.rows])
    pad = 0.05 * np.ptp(inverse)
    x = np.linspace(inverse.min() - pad, inverse.max() + pad, 100)
    value, low, high = study.diffusion_fit.predict(1000 / x)
    axes.fill_between(x, low, high, color=SKY, alpha=0.35, lw=0, label="fit, 95 % band")
    axes.plot(x, value, color="0.2", lw=1, gid="fit")


def _annotate(axes: Axes, text: str, x: float, y: float, above: int) -> None:
    axes.annotate(
        *(text, (x, y), (0, above)),
        textcoords="offset points",
        ha="center",
        fontsize=SMALL - 0.5,
    )


def joint_region(study: Study, ax: Axes | None = None) -> Axes:
    """Edge of the joint 95 % region of Ea and ln D0, by hops and by displacements."""
    axes = place(ax)
    drawn = False
    for fit, label, color, line, marker in (
        (study.activation.headline, "hops", BLUE, "-", "o"),
        (study.activation.gls, "displacements (GLS)", RED, "--", "s"),
    ):
        if fit is None or not np.isfinite(fit.activation_energy.standard_error):
            continue
        edge = fit.contour()
        axes.plot(
            *(edge.activation_energy, edge.log_prefactor),
            color=color,
            ls=line,
            lw=1.2,
            gid=f"{label}, 95 % region",
        )
        best = fit.activation_energy.value, fit.log_prefactor.value
        axes.plot(*best, marker, color=color, ms=4, ls=line, lw=1.2, label=label)
        drawn = True
    if not drawn:
        say(axes, "Ea cannot be determined")
        return axes
    frame(axes, "$E_a$  (eV)", "ln ($D_0$ / (cm²/s))", "joint 95 % region")
    key(axes, "upper left")
    return axes
