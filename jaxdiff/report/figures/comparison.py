"""Several runs side by side."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from jaxdiff.analysis.comparison import Comparison
from jaxdiff.analysis.study import Study
from jaxdiff.report.figures.style import (
    LINES,
    MARKERS,
    SERIES,
    SMALL,
    frame,
    intervals,
    kelvin_axis,
    key,
    logarithmic,
    place,
)


def compared_arrhenius(studies: Mapping[str, Study], ax: Axes | None = None) -> Axes:
    """D of the defect by hop counts (f = 1) over 1000/T of all runs, with their lines."""
    axes, kelvin, values = place(ax), [], []
    for k, (name, study) in enumerate(studies.items()):
        color, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
        rows = [row for row in study.rows if row.hops]
        kelvin += [row.temperature_kelvin for row in rows]
        if not rows:
            continue
        x = np.array([1000 / row.temperature_kelvin for row in rows])
        value = np.array([row.defect_diffusivity.value for row in rows])
        bound = np.array([row.defect_diffusivity.interval for row in rows]).T
        values += value.tolist()
        intervals(axes, x, value, bound, marker, color, f"{name}, 95 %")
        if study.activation.diffusion is not None:
            grid = np.linspace(x.min(), x.max(), 50)
            center, _, _ = study.activation.diffusion.predict(1000 / grid)
            line = LINES[k % len(LINES)]
            axes.plot(grid, center, color=color, lw=1, ls=line, gid=f"{name}, fit")
    frame(axes, "1000 / T  (1/K)", "D of the defect, f = 1  (cm²/s)")
    axes.margins(x=0.08)
    logarithmic(axes, least=min(values, default=0.0) / 20)
    kelvin_axis(axes, kelvin)
    key(axes)
    return axes


def energy_differences(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Differences of Ea with their 95 % intervals, and the margin that does not matter."""
    axes = place(ax)
    margin = comparison.pairs[0].margin_ev
    axes.axvspan(-margin, margin, color="0.88", lw=0, label=f"margin ± {margin:g} eV")
    axes.axvline(0, color="0.3", lw=0.8)
    for k, pair in enumerate(comparison.pairs):
        energy = pair.activation_energy
        low, high = energy.interval
        name = f"{pair.second} − {pair.first}"
        axes.errorbar(
            *(energy.value, -k),
            xerr=[[energy.value - low], [high - energy.value]],
            fmt="o",
            color="k",
            ms=4,
            lw=1,
            capsize=2,
            label="difference, 95 %" if k == 0 else f"_{name}",
        )
        axes.annotate(
            *(f"{name}: {pair.verdict}", (0.5, -k), (0, 7)),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
            bbox={"color": "w", "alpha": 0.8, "pad": 1},
        )
    frame(axes, "difference of $E_a$  (eV)", "")
    axes.set_yticks([])
    axes.set_ylim(-len(comparison.pairs) + 0.2, 0.7)
    key(axes, "lower right")
    return axes
