"""Energy along nudged elastic bands."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy.interpolate import CubicSpline

from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.report.figures.style import (
    LINES,
    MARKERS,
    SERIES,
    class_styles,
    frame,
    key,
    place,
    say,
)

_EQUAL_EV = 1e-3
"""Ends whose energies differ by less are the same."""

_MIRROR = 0.1
"""Largest difference of both sides of a symmetric path, in barriers."""


def barriers(found: Mapping[str, Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Energies of the images over the distance from the saddle, with smooth curves.

    `found`: the entries of barriers.json by path. A curve goes through the images and is
    level at both ends and at the saddle, which are stationary; where both sides of a jump
    are alike it is their mean. A path that failed has its images and a thin line between.
    """
    axes = place(ax, 3.0)
    styles = class_styles(ROCK_SALT)
    for number, (name, entry) in enumerate(found.items()):
        own = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
        color, marker = styles.get(name, own)
        words = name.replace("_", " ")
        if "forward_ev" in entry:
            line = LINES[number % len(LINES)]
            _draw(axes, entry, words, color, marker, line)
        else:
            _draw_failed(axes, entry, words, color, marker)
    if not axes.lines:
        say(axes, "no path was searched")
        return axes
    frame(axes, "path from the saddle, all atoms  (Å)", "energy above the start  (eV)")
    axes.margins(y=0.1)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.09 * len(found) * (high - low))  # room for the key
    key(axes, "upper left")
    return axes


def _draw(
    axes: Axes, entry: Mapping[str, Any], name: str, color: str, marker: str, line: Any
) -> None:
    length, energy = _images(entry)
    top = int(energy.argmax())
    energy[top] = entry["forward_ev"]
    length -= length[top]
    x, y = smooth(length, energy)
    label = f"{name}: {entry['forward_ev']:.3f} eV"
    axes.plot(x, y, color=color, lw=1.1, ls=line, gid=f"{name}, curve")
    axes.plot(length, energy, marker, color=color, ms=3.5, gid=f"{name}, images")
    axes.plot([], [], color=color, marker=marker, ms=3.5, lw=1.1, ls=line, label=label)


def _draw_failed(
    axes: Axes, entry: Mapping[str, Any], name: str, color: str, marker: str
) -> None:
    """Its images, where there was a band, about the middle of the path."""
    style = {"color": color, "marker": marker, "mfc": "w", "ms": 3.5, "lw": 0.5}
    if "band_energy_ev" not in entry:
        axes.plot([], [], " ", label=f"{name}: failed, no band")
        return
    length, energy = _images(entry)
    length -= length[-1] / 2
    axes.plot(length, energy, label=f"{name}: failed", **style)


def _images(entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    length, energy = entry["path_length_angstrom"], entry["band_energy_ev"]
    return np.array(length, float), np.array(energy, float)


def smooth(
    length: Float[np.ndarray, " images"], energy: Float[np.ndarray, " images"]
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """A curve through the images of a path, whose highest is at the length 0.

    Cubic splines from the start to the saddle and from there to the end, both level where
    they begin and end. If the ends have one energy and both sides nearly are mirror images,
    the curve is the mean of them.
    """
    top = int(energy.argmax())
    part = np.linspace(0, 1, 101)
    left, right = (
        CubicSpline(x / x[-1], y, bc_type="clamped")(part)
        for x, y in (
            (-length[top::-1], energy[top::-1]),
            (length[top:], energy[top:]),
        )
    )
    half = -length[0], length[-1]
    barrier = energy[top] - energy[0]
    even = abs(energy[0] - energy[-1]) < _EQUAL_EV
    if even and np.abs(left - right).max() < _MIRROR * barrier:
        left = right = (left + right) / 2
        half = (sum(half) / 2,) * 2
    x = np.concatenate([-half[0] * part[::-1], half[1] * part[1:]])
    return x, np.concatenate([left[::-1], right[1:]])
