"""Lines of a text file in bulk, and the numbers in them."""

import re
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float

from jaxdiff.io.compressed import open_packed

_READ_BYTES = 1 << 18
_MOST_LINE, _MOST_FRAME = 1 << 24, 1 << 28  # bytes
_TOUCHING = re.compile(rb"\d-|\.\d*\.")


class Lines:
    """Lines of a text file, plain or packed. A packed file that breaks off just ends."""

    def __init__(self, path: Path) -> None:
        """Open for reading."""
        self._path = path
        self._file, self._damage = open_packed(path)
        self._buffer, self._position, self._begun = b"", 0, False
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
        text, ended = self._take(n, barrier)
        return text if ended else None

    def rows(self, n: int, barrier: bytes | None = None) -> bytes | None:
        """The same for rows of a table, of which the last may lack its line end."""
        text, ended = self._take(n, barrier)
        if not ended:
            return text + b"\n" if _whole(text, n) else None
        return text

    def _take(self, n: int, barrier: bytes | None) -> tuple[bytes, bool]:
        """The next `n` lines, or what is left of them, and whether all are there."""
        lines, size = self._last
        end = self._end(n, self._position + (size * n) // lines)
        start = self._position
        text = self._buffer[start : len(self._buffer) if end is None else end]
        self._position += len(text)
        if barrier is not None and barrier in text:
            self._position = start + text.index(barrier)
            return b"", False
        if end is not None and n >= lines:
            self._last = n, max(len(text), 1)
        return text, end is not None

    def back(self, n_bytes: int) -> None:
        """Read these last bytes of the line or block just read again."""
        self._position -= n_bytes

    def __enter__(self) -> "Lines":
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
                if len(self._buffer) - self._position - end > _MOST_LINE:
                    raise self._too_long("line", _MOST_LINE)
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
        except EOFError:  # packed, of a run that was killed
            more = b""
        except self._damage as error:
            raise ValueError(
                f"{self._path} is damaged inside ({error}); unpack it, or copy it again."
            ) from None
        if b"\0" in more and self._begun:  # before, the format is still to be told
            raise ValueError(
                f"{self._path} has NUL bytes, as binary files have, and texts with a hole "
                "that a crash left; give the right file, or cut it before them."
            )
        if len(rest) + len(more) > _MOST_FRAME:
            raise self._too_long("frame", _MOST_FRAME)
        self._buffer, self._position, self._begun = rest + more, 0, True
        return bool(more)

    def _too_long(self, what: str, limit: int) -> ValueError:
        return ValueError(
            f"{self._path} has a {what} of more than {limit >> 20} MB, which no trajectory "
            "of this kind has; it is damaged, or of another format."
        )


def numbers(text: bytes, where: str) -> list[float]:
    """The numbers of a line; `where` names it in the error."""
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        raise ValueError(f"{where} should be numbers, got {excerpt(text)}.") from None


def whole_number(text: bytes, where: str) -> int:
    """The only whole number of a line; `where` names it in the error."""
    try:
        number = int(text)
        if abs(number) >= 2**63:
            raise ValueError
        return number
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


def apart(text: bytes) -> bytes:
    """Numbers of Fortran's fixed format that touch, set apart."""
    if not _TOUCHING.search(text):
        return text
    decimals = len(text.split()[-1].rpartition(b".")[2])
    return re.sub(rb"(\.\d{%d})(?=[-\d])" % decimals, rb"\1 ", text)


def excerpt(text: bytes) -> str:
    """The first 40 characters, printable."""
    return repr(text.strip()[:40].decode("ascii", errors="replace"))


def _whole(text: bytes, n: int) -> bool:
    """Whether the last of `n` lines, which has no line end, is as long as the others.

    It needs as many words, and a last word with as many digits: as many after the point
    where the column has a fixed number of them, else as many significant ones.
    """
    rows = text.split(b"\n")
    if len(rows) != n or n < 2:
        return False
    words, width = rows[-1].split(), len(rows[0].split())
    if len(words) != width or not words:
        return False
    if rows[-1][-1:].isspace():
        return True
    last, others = words[-1], [row.split()[-1] for row in rows[:-1] if row.strip()]
    if b"." not in last:
        return last in others
    if b"e" in last.lower() and not re.search(rb"[eE][+-]\d\d+$", last):
        return False
    decimals = {len(word.partition(b".")[2]) for word in others}
    if len(decimals) == 1:
        return len(last.partition(b".")[2]) == decimals.pop()
    return _significant(last) >= max(map(_significant, others))


def _significant(word: bytes) -> int:
    """Digits of a printed number, without leading zeros and the exponent."""
    mantissa = re.split(rb"[eE]", word)[0]
    return len(re.sub(rb"\D", b"", mantissa).lstrip(b"0"))
