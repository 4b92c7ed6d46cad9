"""Several runs side by side."""

from collections.abc import Mapping

import numpy as np

from jaxdiff.analysis.comparison import Comparison
from jaxdiff.analysis.study import Study
from jaxdiff.report.figures.style import (
    LINES,
    MARKERS,
    SERIES,
    grid,
    new_figure,
    to_png,
)


def draw_comparison(studies: Mapping[str, Study], comparison: Comparison) -> bytes:
    """Arrhenius plots of all runs, and the differences of Ea with the margin."""
    figure = new_figure(9.6, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    for k, (name, study) in enumerate(studies.items()):
        color, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
        rows = [row for row in study.rows if row.hops]
        x = np.array([1000 / row.temperature_kelvin for row in rows])
        value = np.array([row.defect_diffusivity.value for row in rows])
        bound = np.array([row.defect_diffusivity.interval for row in rows]).T
        left.errorbar(
            *(x, value, np.abs(bound - value)),
            fmt=marker,
            color=color,
            ms=5,
            capsize=2.5,
            label=name,
        )
        if study.activation.diffusion is not None:
            grid_x = np.linspace(x.min(), x.max(), 50)
            center, _, _ = study.activation.diffusion.predict(1000 / grid_x)
            left.plot(grid_x, center, color=color, lw=1, ls=LINES[k % len(LINES)])
    left.set_yscale("log")
    left.set_xlabel("1000 / T  (1/K)")
    left.set_ylabel("D of the defect  (cm²/s)")
    left.legend(frameon=False, fontsize=8)
    grid(left)
    margin = comparison.pairs[0].margin_ev
    right.axvspan(-margin, margin, color="0.9", lw=0, label=f"margin ± {margin:g} eV")
    right.axvline(0, color="0.3", lw=0.8)
    for k, pair in enumerate(comparison.pairs):
        energy = pair.activation_energy
        low, high = energy.interval
        error = [[energy.value - low], [high - energy.value]]
        right.errorbar(energy.value, -k, xerr=error, fmt="o", color="k", capsize=3)
        text = f"{pair.second} − {pair.first}: {pair.verdict}"
        right.annotate(
            text,
            (energy.value, -k),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    right.set_yticks([])
    right.set_ylim(-len(comparison.pairs) + 0.4, 0.6)
    right.set_xlabel("difference of $E_a$  (eV), 95 %")
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return to_png(figure)
