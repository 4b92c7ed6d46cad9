"""VASP's XDATCAR, constant or variable cell, read frame by frame.

ASE's reader builds the whole list of frames first; this one does not. The file has no
times: configurations carry a number, of MD steps or of frames, that gives their order and
shows gaps. Direct coordinates are wrapped.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxdiff.io import trajectory_source as source
from jaxdiff.io.lines import Lines, apart, columns_of, excerpt, numbers, whole_number

_DIRECT = re.compile(rb"\s*(?:Direct|Konfig)[^=]*=?\s*(\S*)")


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


class _Numbers:
    """Numbers of configurations; stars, of one too long, go on as those before."""

    def __init__(self) -> None:
        """Before the first configuration."""
        self._last: int | None = None
        self._spacing = 1

    def __call__(self, word: bytes, where: str) -> int | None:
        """The number that a word stands for; None where none is known."""
        if word.startswith(b"*"):
            number = None if self._last is None else self._last + self._spacing
        else:
            number = whole_number(word, f"{where}: its number") if word else None
        if number is not None and self._last is not None:
            self._spacing = number - self._last
        self._last = number
        return number


def open_xdatcar(path: Path, given: source.Given) -> source.Source:
    """Read the first frame, and say how the others will be read."""
    source.refuse_cell(path, given)
    with Lines(path) as lines:
        block = next(_blocks(path, lines, source.Tally(), given), None)
    if block is None:
        raise source.no_complete_frame(path)
    where, first, _, _ = block
    number = [source.element(symbol, where) for symbol in first.symbols]

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        with Lines(path) as lines:
            for where, header, count, text in _blocks(path, lines, tally, given):
                yield source.RawFrame(count, None, _loader(where, header, text, first))

    return source.Source(
        format="xdatcar",
        atomic_number=np.repeat(np.array(number, np.int32), first.counts),
        periodic=(True, True, True),
        unwrapping=source.NEAREST,
        exact=False,
        time_stated=False,
        frames=frames,
        step_word="configuration number",
    )


def _loader(
    where: str, header: _Header, text: bytes, first: _Header
) -> Callable[[], source.Placement]:
    def load() -> source.Placement:
        if (header.symbols, header.counts) != (first.symbols, first.counts):
            raise ValueError(
                f"{where} has other atoms than the first frame; all frames must have the "
                "same."
            )
        table = apart(text)
        rows, tokens = table.splitlines(), table.split()
        width = len(rows[0].split())
        if width < 3 or len(tokens) != width * header.n_atoms:
            raise ValueError(
                f"{where} has {len(tokens)} words for {header.n_atoms} atoms; the file is "
                "damaged there."
            )
        fractional = columns_of(tokens, (0, 1, 2), width, where)
        return fractional @ header.cell, header.cell

    return load


def _blocks(
    path: Path, lines: Lines, tally: source.Tally, given: source.Given
) -> Iterator[tuple[str, _Header, int | None, bytes]]:
    """Name, header, number and coordinate lines of every complete frame.

    A line "Direct configuration= 7" comes before the coordinates, or, as older VASP has it,
    an empty one.
    """
    header, index, number = None, 0, _Numbers()
    empty, fresh = False, True  # an empty line, or a header, was the last
    while line := lines.line():
        where = f"{path}, frame {index}"
        if header is not None and not line.strip():
            empty = True
            continue
        if not line.endswith(b"\n"):
            tally.incomplete += 1
            return
        direct = _DIRECT.match(line)
        if direct is None or header is None:
            lines.back(len(line))
            if header is None or not (fresh or _is_row(line)):
                untitled = empty and len(line.split()) == 1
                header = _read_header(lines, where, given, untitled)
                empty, fresh = False, True
                if header is None:
                    break
                continue
            if not (empty and _is_row(line)):
                raise ValueError(
                    f"{where}: a line 'Direct configuration=' should come, got "
                    f"{excerpt(line)}; this is no XDATCAR, or it is damaged."
                )
        text = lines.rows(header.n_atoms)
        if text is None:
            tally.incomplete += 1
            return
        yield where, header, number(direct[1] if direct else b"", where), text
        index, empty, fresh = index + 1, False, False
    if fresh:
        tally.incomplete += 1


def _is_row(line: bytes) -> bool:
    """Whether a line is of three numbers at least, as coordinates are."""
    try:
        return len([float(word) for word in apart(line).split()[:3]]) == 3
    except ValueError:
        return False


def _read_header(
    lines: Lines, where: str, given: source.Given, untitled: bool
) -> _Header | None:
    """Title, scale, cell, elements, counts; None if the file ends within."""
    block = lines.take(6 if untitled else 7)
    if block is None:
        return None
    rows = block.splitlines(keepends=True)[0 if untitled else 1 :]
    if all(word.isdigit() for word in rows[4].split()):
        if given.species is None:
            raise ValueError(
                f"{where} names no elements (VASP 4); add their line before the counts, or "
                "name them in the order of the counts: --species 1=Li --species 2=F."
            )
        lines.back(len(rows[5]))
        kinds = range(1, len(rows[4].split()) + 1)
        named = [given.species.get(kind, "?") for kind in kinds]
        rows[4:] = [" ".join(named).encode(), rows[4]]
    return _header(rows, where)


def _header(lines: list[bytes], where: str) -> _Header:
    scale = numbers(lines[0], f"{where}: the scale of the cell")
    rows = [numbers(apart(line), f"{where}: the cell") for line in lines[1:4]]
    if len(scale) != 1 or [len(row) for row in rows] != [3, 3, 3]:
        raise ValueError(f"{where}: the cell should be a scale and 3 rows of 3 numbers.")
    symbols = tuple(word.decode("ascii", "replace") for word in lines[4].split())
    counts = tuple(
        whole_number(word, f"{where}: a number of atoms") for word in lines[5].split()
    )
    if len(counts) != len(symbols) or min(counts, default=0) < 1:
        raise ValueError(f"{where}: elements {symbols} do not match the counts {counts}.")
    cell = np.array(rows)
    factor = scale[0]
    if factor < 0:  # minus the volume
        factor = float(np.cbrt(-factor / abs(np.linalg.det(cell))))
    return _Header(factor * cell, symbols, counts)
