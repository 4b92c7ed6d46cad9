"""What all figures share: widths of a journal's columns, colours, axes and keys.

Colours are those of Okabe and Ito and, for temperatures, a ramp that is monotonic in grey
and stops before it is too light for white paper; lines and markers differ as well.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from jaxdiff.lattice.network import SiteNetwork

ONE_COLUMN, TWO_COLUMNS = 3.37, 6.75
"""Width of a figure in one and in two columns of a journal, inches."""

HEIGHT = 2.7
"""Of a panel, inches."""

BLUE, SKY, GREEN, ORANGE, RED, PINK = (
    *("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"),
)
SERIES = (BLUE, RED, GREEN, ORANGE, PINK, SKY, "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

SMALL, NORMAL = 7, 8  # points, of ticks and keys and of the rest

_JUMPS = ((BLUE, "o"), (RED, "^"), (GREEN, "s"), (PINK, "D"), (ORANGE, "v"))
_OTHER = {
    "concerted": ("#000000", "x"),
    "exchange": (SKY, "P"),
    "frenkel_creation": ("#777777", "+"),
    "recombination": ("#777777", "1"),
}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Draw = Callable[[Axes], Axes]
"""What draws on axes and returns them."""


def class_styles(network: SiteNetwork) -> dict[str, tuple[str, str]]:
    """Colour and marker of each class of events; jumps in their order."""
    jumps = zip(
        (jump.name for jump in network.jumps), itertools.cycle(_JUMPS), strict=False
    )
    return dict(jumps) | _OTHER


def temperature_styles(n: int) -> list[dict]:
    """Colour and line of each temperature, from dark (cold) to light (hot)."""
    colors = colormaps["plasma"](np.linspace(0, 0.78, n)).tolist()
    lines = itertools.cycle(LINES)
    return [{"color": tuple(c), "ls": line} for c, line in zip(colors, lines, strict=False)]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    return Figure(figsize=(width, height), layout="constrained")


def place(ax: Axes | None, height: float = HEIGHT) -> Axes:
    """The axes given, else those of a new figure of one column."""
    return new_figure(ONE_COLUMN, height).add_subplot() if ax is None else ax


def sheet(
    panels: Sequence[Draw],
    *,
    columns: int = 1,
    height: float = HEIGHT,
    ratios: Sequence[float] | None = None,
    sharex: bool = False,
    width: float = TWO_COLUMNS,
) -> Figure:
    """Panels on one figure, row by row, with one key below them.

    - `height`: of a row, inches; `ratios`: of the rows to each other.
    """
    rows = -(-len(panels) // columns)
    figure = new_figure(width, rows * height)
    grid = figure.subplots(
        rows, columns, squeeze=False, sharex=sharex, height_ratios=ratios
    )
    handles = {}
    for draw, axes in zip(panels, grid.flat, strict=False):
        draw(axes)
        found, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
        legend = axes.get_legend()
        if legend is not None:
            legend.remove()
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    if handles:
        figure.legend(
            *(list(handles.values()), list(handles)),
            loc="outside lower center",
            ncols=min(len(handles), 3 if width < TWO_COLUMNS else 5),
            frameon=False,
            fontsize=SMALL,
        )
    figure.align_ylabels()
    return figure


def frame(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Labels, their sizes, and faint lines at the major ticks."""
    axes.set_xlabel(x, fontsize=NORMAL)
    axes.set_ylabel(y, fontsize=NORMAL)
    axes.set_title(title, fontsize=NORMAL)
    axes.tick_params(labelsize=SMALL)
    axes.grid(True, which="major", color="0.9", lw=0.6)
    axes.set_axisbelow(True)


def key(axes: Axes, loc: Any = "best", **more) -> None:
    """What every colour, line and marker is, if there is any."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc=loc,
            fontsize=SMALL - 0.5,
            title_fontsize=SMALL - 0.5,
            framealpha=0.85,
            edgecolor="w",
            handlelength=2.2,
            **more,
        )


def whole_numbers(axis) -> None:
    """Ticks of counts: no 2.5 hops."""
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def round_numbers(axis) -> None:
    """Ticks of times: 5 and 10, not 2.5 and 7.5."""
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def logarithmic(axes: Axes, which: str = "y", *, least: float = 0.0) -> None:
    """An axis of logarithms, once all is drawn, with ticks at 1, 2 and 5 where few fit.

    - `least`: where it begins at the earliest; a bar that goes further leaves the axes.
    """
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    if low < least:
        low = least
        getattr(axes, f"set_{which}lim")(low, high)
    decades = np.log10(high / low)
    steps = (1.0,) if decades > 3 else (1.0, 2.0, 5.0)
    if decades < 0.8:
        steps = (1.0, 1.5, *map(float, range(2, 10)))
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axis.set_minor_formatter(NullFormatter())


def positive(value: np.ndarray) -> np.ndarray:
    """What an axis of logarithms can show; a line has a gap where it cannot."""
    return np.where(value > 0, value, np.nan)


def power(value: float) -> str:
    """A number as on an axis: 0.05, 20, 2×10⁻⁵."""
    if not value > 0:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    if -3 < exponent < 4:
        return f"{value:g}"
    factor = f"{value / 10.0**exponent:.3g}"
    ten = f"10{str(exponent).translate(_SUPERSCRIPT)}"
    return ten if factor == "1" else f"{factor}×{ten}"


def kelvin_axis(axes: Axes, kelvin: Sequence[float]) -> None:
    """Temperatures above an axis of 1000/T; numbers that would overlap are left out."""
    top = axes.twiny()
    left, right = axes.get_xlim()
    top.set_xlim(left, right)
    labels, last = [], np.inf
    for t in sorted(set(kelvin)):
        at = (1000 / t - left) / (right - left)
        labels.append(f"{t:.0f}" if abs(last - at) > 0.1 else "")
        last = at if labels[-1] else last
    top.set_xticks([1000 / t for t in sorted(set(kelvin))], labels)
    top.set_xlabel("T (K)", fontsize=NORMAL)
    top.tick_params(labelsize=SMALL)


def intervals(
    axes: Axes,
    x: np.ndarray,
    value: np.ndarray,
    bound: np.ndarray,
    marker: str,
    color: str,
    label: str,
) -> None:
    """Points with their intervals `bound` [2, points]; one that is not known has no bar."""
    known = np.isfinite(bound).all(axis=0) & (bound[1] > bound[0])
    error = np.where(known, np.abs(bound - value), np.nan)
    axes.errorbar(
        *(x, value, error),
        fmt=marker,
        color=color,
        mfc=color if marker == "o" else "w",
        ms=4,
        lw=1,
        capsize=2,
        label=label,
    )


def say(axes: Axes, text: str) -> None:
    """A sentence instead of data."""
    axes.text(
        *(0.5, 0.5, text),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=NORMAL,
    )
    axes.set_xticks([])
    axes.set_yticks([])
