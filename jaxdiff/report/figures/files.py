"""A figure as files: PNG, PDF and SVG, and the numbers that are drawn as CSV."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from jaxdiff.io import durable

KINDS = ("png", "pdf", "svg")
"""Of files that a figure is saved as."""

DPI = 300

_COLUMNS = ("x", "x_low", "x_high", "y", "y_low", "y_high")

_ALIKE: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "jaxdiff"}
"""Text stays text that can be searched and edited; the same figure is the same file."""

_UNDATED = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def save(drawn: Axes | Figure, path: str | Path, *, png: bytes | None = None) -> list[Path]:
    """Write PATH.png, .pdf, .svg and .csv, also if `path` ends with one; their paths.

    - `png`: the first of them, where it is there already.

    The CSV has a row for every point that is drawn: the panel (what is on its axes), the
    entry of the key, and x and y with the ends of their intervals.
    """
    figure, path = figure_of(drawn), Path(path)
    stem = path.stem if path.suffix[1:] in (*KINDS, "csv") else path.name
    layout, written = figure.get_layout_engine(), []
    for kind in KINDS:
        target = path.with_name(f"{stem}.{kind}")
        made = png if kind == "png" and png else as_bytes(figure, kind)
        durable.write_bytes(target, made)
        written.append(target)
        figure.set_layout_engine("none")  # that of the first is that of all
    figure.set_layout_engine(layout)
    target = path.with_name(f"{stem}.csv")
    durable.write_text(target, as_csv(figure))
    return [*written, target]


def as_bytes(drawn: Axes | Figure, kind: str = "png") -> bytes:
    """The figure as png, pdf or svg."""
    buffer = io.BytesIO()
    with rc_context(_ALIKE):
        figure_of(drawn).savefig(buffer, dpi=DPI, format=kind, metadata=_UNDATED[kind])
    return buffer.getvalue()


def as_csv(drawn: Axes | Figure) -> str:
    """What is drawn: panel, series, then those of x, y and their intervals in use."""
    rows = [row for axes in figure_of(drawn).axes for row in _rows(axes)]
    used = [name for name in _COLUMNS if any(name in row for _, _, row in rows)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["panel", "series", *used])
    for panel, series, row in rows:
        cells = (row.get(name, "") for name in used)
        # NaN is what is not known
        writer.writerow([panel, series, *("" if c != c else c for c in cells)])
    return text.getvalue()


def figure_of(drawn: Axes | Figure) -> Figure:
    """The figure that axes are on."""
    if isinstance(drawn, Figure):
        return drawn
    figure = drawn.get_figure()
    if not isinstance(figure, Figure):
        raise ValueError("These axes are on a part of a figure; give the whole figure.")
    return figure


def _rows(axes: Axes) -> Iterator[tuple[str, str, dict[str, Any]]]:
    panel = f"{axes.get_ylabel()} over {axes.get_xlabel()}".replace("\n", " ")
    if axes.get_title():
        panel = f"{axes.get_title()}: {panel}".replace("\n", " ")
    for name, points in _series(axes):
        for point in points:
            yield panel, name, point


def _series(axes: Axes) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """Everything that has a name: that of the key, or the id where it is not in the key."""
    parts: set[int] = set()
    for container in axes.containers:
        parts.update(map(id, container.get_children()))
        if isinstance(container, ErrorbarContainer):
            yield str(container.get_label()), _with_errors(container)
        elif isinstance(container, BarContainer):
            yield str(container.get_label()), _bars(axes, container)
    artist: Any
    for artist in (*axes.lines, *axes.collections):
        name = str(artist.get_gid() or artist.get_label())
        if id(artist) in parts or name.startswith("_"):
            continue
        if isinstance(artist, PolyCollection):
            yield name, _band(artist)
        elif isinstance(artist, PathCollection):
            yield name, _points(np.asarray(artist.get_offsets(), float))
        elif isinstance(artist, LineCollection):
            yield name, _points(np.concatenate(artist.get_segments()))
        else:
            yield name, _points(np.column_stack(artist.get_data()))


def _points(place: np.ndarray) -> Iterator[dict[str, Any]]:
    return ({"x": x, "y": y} for x, y in np.asarray(place, float).tolist())


def _with_errors(container: ErrorbarContainer) -> Iterator[dict[str, Any]]:
    line, _, bars = container.lines
    along = "y" if container.has_yerr else "x"
    segments = bars[0].get_segments()
    for point, ends in zip(
        _points(np.column_stack(line.get_data())), segments, strict=True
    ):
        if len(ends):
            low, high = np.asarray(ends, float)[:, "xy".index(along)].tolist()
            point |= {f"{along}_low": low, f"{along}_high": high}
        yield point


def _bars(axes: Axes, container: BarContainer) -> Iterator[dict[str, Any]]:
    """Lengths of horizontal bars, by the text at their place."""
    names = {
        round(float(place), 6): label.get_text().replace("\n", ", ")
        for place, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    }
    for bar in container.patches:
        place = round(bar.get_y() + bar.get_height() / 2, 6)
        yield {"x": bar.get_width(), "y": names.get(place, place)}


def _band(artist: PolyCollection) -> Iterator[dict[str, Any]]:
    """Both edges: a polygon goes along one of them and back along the other."""
    for path in artist.get_paths():
        corner = np.asarray(path.vertices, float)
        n = (len(corner) - 3) // 2
        there, back = corner[1 : n + 1], corner[n + 2 : 2 * n + 2][::-1]
        for (x, one), (_, other) in zip(there.tolist(), back.tolist(), strict=True):
            yield {"x": x, "y_low": min(one, other), "y_high": max(one, other)}
