"""What all figures share: Okabe and Ito's palette, markers and lines for grey print."""

import io
import itertools

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxdiff.lattice.network import SiteNetwork

BLUE, SKY, GREEN, ORANGE, RED, PINK = (
    *("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"),
)
SERIES = (BLUE, RED, GREEN, ORANGE, PINK, SKY, "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

_JUMPS = ((BLUE, "o"), (RED, "^"), (GREEN, "s"), (PINK, "D"), (ORANGE, "v"))
_OTHER = {
    "concerted": ("#000000", "x"),
    "exchange": (SKY, "P"),
    "frenkel_creation": ("#777777", "+"),
    "recombination": ("#777777", "1"),
}


def class_styles(network: SiteNetwork) -> dict[str, tuple[str, str]]:
    """Colour and marker of each class of events; jumps in their order."""
    jumps = zip(
        (jump.name for jump in network.jumps), itertools.cycle(_JUMPS), strict=False
    )
    return dict(jumps) | _OTHER


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    return Figure(figsize=(width, height), layout="constrained")


def to_png(figure: Figure) -> bytes:
    """The figure as it goes into the report."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png", metadata={"Software": None})
    return buffer.getvalue()


def temperature_colors(n: int) -> list[tuple[float, float, float, float]]:
    """From dark (cold) to light (hot), monotonic in grey."""
    return [tuple(c) for c in colormaps["cividis"](np.linspace(0, 0.9, n)).tolist()]


def grid(axes: Axes) -> None:
    """Faint lines at the major ticks."""
    axes.grid(True, which="major", color="0.9", lw=0.6)
    axes.set_axisbelow(True)


def intervals(
    axes: Axes,
    x: np.ndarray,
    value: np.ndarray,
    bound: np.ndarray,
    marker: str,
    color: str,
    label: str,
) -> None:
    """Points with their intervals `bound` [2, points]; filled where they are discs."""
    axes.errorbar(
        *(x, value, np.abs(bound - value)),
        fmt=marker,
        color=color,
        mfc=color if marker == "o" else "w",
        ms=5,
        capsize=2.5,
        label=label,
    )


def say(axes: Axes, text: str) -> None:
    """A sentence instead of data."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", wrap=True)
    axes.set_xticks([])
    axes.set_yticks([])
