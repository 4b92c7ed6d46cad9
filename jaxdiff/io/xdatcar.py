"""VASP's XDATCAR, constant or variable cell, read frame by frame.

ASE's reader builds the whole list of frames first; this one does not. The file has no
times (POTIM x NBLOCK fs apart), and its direct coordinates are wrapped.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxdiff.io import trajectory_source as source

_DIRECT = b"Direct"


@dataclasses.dataclass(frozen=True)
class _Header:
    """Cell and atoms, stated once or before every frame."""

    cell: np.ndarray
    symbols: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def n_atoms(self) -> int:
        """Atoms of a frame."""
        return sum(self.counts)


def open_xdatcar(path: Path) -> source.Source:
    """Read the first frame, and say how the others will be read."""
    with source.Lines(path) as lines:
        block = next(_blocks(path, lines, source.Tally()), None)
    if block is None:
        raise source.no_complete_frame(path)
    where, first, _ = block
    number = [source.element(symbol, where) for symbol in first.symbols]

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        with source.Lines(path) as lines:
            for where, header, text in _blocks(path, lines, tally):
                yield _raw_frame(where, header, text, first)

    return source.Source(
        format="xdatcar",
        atomic_number=np.repeat(np.array(number, np.int32), first.counts),
        periodic=(True, True, True),
        unwrapping="minimum image between frames",
        exact=False,
        time_stated=False,
        frames=frames,
    )


def _raw_frame(where: str, header: _Header, text: bytes, first: _Header) -> source.RawFrame:
    def load() -> source.Placement:
        if (header.symbols, header.counts) != (first.symbols, first.counts):
            raise ValueError(
                f"{where} has other atoms than the first frame; all frames must have the "
                "same."
            )
        rows, tokens = text.splitlines(), text.split()
        width = len(rows[0].split())
        if width < 3 or len(tokens) != width * header.n_atoms:
            raise ValueError(
                f"{where} has {len(tokens)} words for {header.n_atoms} atoms; the file is "
                "damaged there."
            )
        fractional = source.columns_of(tokens, (0, 1, 2), width, where)
        return fractional @ header.cell, header.cell

    return source.RawFrame(None, None, load)


def _blocks(
    path: Path, lines: source.Lines, tally: source.Tally
) -> Iterator[tuple[str, _Header, bytes]]:
    """Name, header and coordinate lines of every complete frame."""
    header, index = None, 0
    while line := lines.line():
        where = f"{path}, frame {index}"
        if not line.lstrip().startswith(_DIRECT):
            if not line.strip():
                continue
            rest = lines.take(6)
            if rest is None:
                tally.incomplete += 1
                return
            header, line = _header(rest.splitlines(), where), lines.line()
        if not line.endswith(b"\n"):
            tally.incomplete += 1
            return
        if header is None:
            raise ValueError(f"{where} comes before any cell; the file has lost its head.")
        if not line.lstrip().startswith(_DIRECT):
            raise ValueError(
                f"{where}: a line 'Direct configuration=' should come, got "
                f"{source.excerpt(line)}; this is no XDATCAR, or it is damaged."
            )
        text = lines.take(header.n_atoms)
        if text is None:
            tally.incomplete += 1
            return
        yield where, header, text
        index += 1


def _header(lines: list[bytes], where: str) -> _Header:
    scale = source.numbers(lines[0], f"{where}: the scale of the cell")
    rows = [source.numbers(line, f"{where}: the cell") for line in lines[1:4]]
    if len(scale) != 1 or [len(row) for row in rows] != [3, 3, 3]:
        raise ValueError(f"{where}: the cell should be a scale and 3 rows of 3 numbers.")
    symbols = tuple(word.decode("ascii", "replace") for word in lines[4].split())
    if all(word.isdigit() for word in symbols):
        raise ValueError(
            f"{where} names no elements (VASP 4); add their line before the counts."
        )
    counts = tuple(
        source.whole_number(word, f"{where}: a number of atoms")
        for word in lines[5].split()
    )
    if len(counts) != len(symbols) or min(counts, default=0) < 1:
        raise ValueError(f"{where}: elements {symbols} do not match the counts {counts}.")
    cell = np.array(rows)
    factor = scale[0]
    if factor < 0:  # minus the volume
        factor = float(np.cbrt(-factor / abs(np.linalg.det(cell))))
    return _Header(factor * cell, symbols, counts)
