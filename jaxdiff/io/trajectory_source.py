"""What the readers of trajectory formats share: raw frames, lines of text, elements."""

import dataclasses
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from jaxtyping import Float, Integer

Placement = tuple[Float[np.ndarray, "atoms 3"], Float[np.ndarray, "3 3"]]
"""Positions, Å, from the corner of the cell, and the cell, Å, rows."""


_READ_BYTES = 1 << 18


@dataclasses.dataclass
class Tally:
    """What was met while reading; counted anew by every pass over the file."""

    frames: int = 0
    duplicates: int = 0
    incomplete: int = 0


@dataclasses.dataclass(frozen=True)
class RawFrame:
    """One frame as the file has it; its numbers are read when `load` is called."""

    step: int | None
    time_ps: float | None
    load: Callable[[], Placement]


@dataclasses.dataclass(frozen=True)
class Source:
    """An open trajectory before selection, timing and unwrapping.

    - `unwrapping`: how positions are made continuous, in words.
    - `exact`: the positions are continuous as they are.
    - `time_stated`: times come with a unit; otherwise ps is an assumption.
    """

    format: str
    atomic_number: Integer[np.ndarray, " atoms"]
    periodic: tuple[bool, bool, bool]
    unwrapping: str
    exact: bool
    time_stated: bool
    frames: Callable[[Tally], Iterator[RawFrame]]


class Lines:
    """Lines of a text file, plain or gz, in bulk. A gz file that breaks off just ends."""

    def __init__(self, path: Path) -> None:
        """Open for reading."""
        self._path = path
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        self._file = (gzip.open if packed else open)(path, "rb")
        self._buffer, self._position = b"", 0
        self._last = 1, 80  # lines and bytes of the longest block: a first guess

    def line(self) -> bytes:
        """The next line; empty at the end of the file, without \\n if it is cut there."""
        self._end(1, self._position)
        start, end = self._position, self._buffer.find(b"\n", self._position) + 1
        self._position = end or len(self._buffer)
        return self._buffer[start : self._position]

    def take(self, n: int, barrier: bytes | None = None) -> bytes | None:
        """The next `n` lines as one; None if the file ends before, or within the last.

        With a `barrier`, text from the barrier on is left for later, and the lines before
        it, too few, count as an end as well.
        """
        lines, size = self._last
        end = self._end(n, self._position + (size * n) // lines)
        start = self._position
        text = self._buffer[start : len(self._buffer) if end is None else end]
        self._position += len(text)
        if barrier is not None and barrier in text:
            self._position = start + text.index(barrier)
            return None
        if n >= lines:
            self._last = n, max(len(text), 1)
        return None if end is None else text

    def back(self, n_bytes: int) -> None:
        """Read these last bytes of the line or block just read again."""
        self._position -= n_bytes

    def __enter__(self) -> Self:
        """Use as `with Lines(path) as lines`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def _end(self, n: int, guess: int) -> int | None:
        """Where in the buffer the next `n` lines end; None if the file ends before."""
        guess -= self._position
        while self._position + guess > len(self._buffer) and self._fill(guess):
            pass
        end = self._buffer.rfind(b"\n", self._position, self._position + guess) + 1
        end = max(end, self._position)
        count = self._buffer.count(b"\n", self._position, end)
        for _ in range(count - n):
            end = self._buffer.rfind(b"\n", 0, end - 1) + 1
        for _ in range(n - count):
            while (found := self._buffer.find(b"\n", end)) < 0:
                end -= self._position
                if not self._fill(0):
                    return None
                end += self._position
            end = found + 1
        return end

    def _fill(self, wanted: int) -> bool:
        """Read more, and drop what has been used; False at the end of the file."""
        rest = self._buffer[self._position :]
        size = max(_READ_BYTES, min(wanted - len(rest), 256 * _READ_BYTES), len(rest) // 2)
        try:
            more = self._file.read1(size)
        except EOFError:  # gz of a run that was killed
            more = b""
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{self._path} is damaged inside ({error}); unpack it, or copy it again."
            ) from None
        self._buffer, self._position = rest + more, 0
        return bool(more)


def numbers(text: bytes, where: str) -> list[float]:
    """The numbers of a line; `where` names it in the error."""
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        raise ValueError(f"{where} should be numbers, got {excerpt(text)}.") from None


def whole_number(text: bytes, where: str) -> int:
    """The only whole number of a line; `where` names it in the error."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"{where} should be a whole number, got {excerpt(text)}."
        ) from None


def columns_of(
    tokens: list[bytes], columns: tuple[int, ...], width: int, where: str
) -> Float[np.ndarray, "rows columns"]:
    """Columns of a table given as one list of words."""
    table = np.empty((len(tokens) // width, len(columns)))
    try:
        for k, column in enumerate(columns):
            table[:, k] = np.fromiter(map(float, tokens[column::width]), float, len(table))
    except ValueError as error:
        raise ValueError(
            f"{where} has a coordinate that is not a number ({error}); the file is damaged."
        ) from None
    return table


def excerpt(text: bytes) -> str:
    """The first 40 characters, printable."""
    return repr(text.strip()[:40].decode("ascii", errors="replace"))


def element(symbol: str, where: str) -> int:
    """Atomic number of a chemical symbol."""
    from ase.data import atomic_numbers

    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"{where} has the element {symbol!r}, which is not known.")
    return atomic_numbers[symbol]


def elements_of_types(species: dict[int, str], where: str) -> dict[int, int]:
    """Atomic numbers by atom type."""
    return {kind: element(symbol, where) for kind, symbol in species.items()}


def no_complete_frame(path: Path) -> ValueError:
    """The error of a file that ends within its first frame."""
    return ValueError(
        f"{path} has no complete frame; it ends within the first one. Give a trajectory "
        "with at least one frame."
    )
