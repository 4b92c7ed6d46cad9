"""Energy along nudged elastic bands."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.report.figures.style import (
    MARKERS,
    SERIES,
    class_styles,
    grid,
    new_figure,
    say,
    to_png,
)


def draw_bands(found: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Energies of the images over the length of the path, of all that have a barrier.

    `found`: the entries of barriers.json by path. Lines join the images and are no
    interpolation; the dotted line is the energy of the polished saddle.
    """
    figure = new_figure(6.4, 4.4)
    axes = figure.subplots()
    curves = {name: entry for name, entry in found.items() if "forward_ev" in entry}
    if not curves:
        say(axes, "no path has a barrier")
        return to_png(figure)
    styles = class_styles(ROCK_SALT)
    for number, (name, entry) in enumerate(curves.items()):
        own = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
        color, marker = styles.get(name, own)
        x = np.asarray(entry["path_length_angstrom"])
        label = f"{name}: {entry['forward_ev']:.3f} eV"
        axes.plot(x, entry["band_energy_ev"], marker=marker, color=color, ms=5, label=label)
        axes.axhline(entry["forward_ev"], color=color, ls=":", lw=0.8)
    axes.set_xlabel("length of the path, all atoms  (Å)")
    axes.set_ylabel("energy above the start  (eV)")
    axes.legend(framealpha=1, edgecolor="w", fontsize=8)
    axes.margins(y=0.12)
    grid(axes)
    return to_png(figure)
