"""A file's own SHA-256 within it: one changed bit anywhere is found.

A format that has a place for text in its header puts `OPEN` there; others, as HDF5, have
it at the end, where their readers do not look. The digest is of all bytes of the file, its
own place taken as zeros. Where the seal is damaged itself, one of its two ends tells that
there was one. A file without one is of an earlier version, or was changed on purpose: it
is read, and that is said.
"""

import functools
import hashlib
import logging
import mmap
import re
from pathlib import Path

from jaxdiff.io.shown import visible

_START, _END = b"jaxdiff-seal-sha256:", b":every-byte-of-this-file"
_LENGTH = 64  # of the digest, hexadecimal
_SEAL = re.compile(re.escape(_START) + b"([0-9a-f]{%d})" % _LENGTH + re.escape(_END))
_ANY_END = re.compile(b"|".join(map(re.escape, (_START[:12], _END))))

OPEN = (_START + b"0" * _LENGTH + _END).decode()
"""What a file carries, once, until it is sealed."""


class DigestError(ValueError):
    """A file is not what was written."""


def sealed(data: bytes | bytearray | memoryview) -> bytes:
    """The same content with its digest, where `OPEN` is in it, or else at the end."""
    content = bytearray(data)
    if content.find(OPEN.encode()) < 0:
        content += OPEN.encode()
    _close(content)
    return bytes(content)


def seal(path: str | Path) -> None:
    """Add the digest at the end of a file on the disk, of any size."""
    with Path(path).open("ab") as file:
        file.write(OPEN.encode())
    with (
        Path(path).open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as content,
    ):
        _close(content)
        content.flush()


def verify(path: str | Path) -> bool:
    """Whether the file carries a digest, which is then right.

    Raises `DigestError` where a byte is not as it was written.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        return False
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return verify_bytes(content, str(path))


def verify_or_tell(path: str | Path) -> bool:
    """The same, and where there is none that is said: once for each file of a process."""
    is_whole = verify(path)
    if not is_whole:
        _tell(str(path))
    return is_whole


@functools.cache
def _tell(name: str) -> None:
    logging.getLogger(__name__).warning(
        "%s carries no digest, as files of earlier versions: it is read, but damage to it "
        "may go unseen.",
        visible(name),
    )


def verify_bytes(content: bytes | bytearray | mmap.mmap, name: str) -> bool:
    """The same for content in memory, called `name` in the error."""
    found = list(_SEAL.finditer(content))
    if not found and not _ANY_END.search(content):
        return False
    if not any(_digest(content, place.start(1)) == place[1] for place in found):
        raise DigestError(
            f"{name} is not what was written: its SHA-256 is another than the one within. "
            "A part of it was damaged or changed; take a copy of it that is whole."
        )
    return True


def of_bytes(content: bytes | bytearray | memoryview) -> str:
    """The SHA-256 of content in memory, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: str | Path) -> str:
    """The SHA-256 of a whole file, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _close(content: bytearray | mmap.mmap) -> None:
    place = content.find(OPEN.encode())
    if content.find(OPEN.encode(), place + 1) >= 0:
        raise ValueError("a file to be sealed has two open seals within, and may have one")
    start = place + len(_START)
    content[start : start + _LENGTH] = _digest(content, start)


def _digest(content: bytes | bytearray | mmap.mmap, start: int) -> bytes:
    """Of all bytes, with the digest at `start` taken as zeros."""
    state = hashlib.sha256()
    with memoryview(content) as view:
        for part in (view[:start], b"0" * _LENGTH, view[start + _LENGTH :]):
            state.update(part)
            if isinstance(part, memoryview):
                part.release()
    return state.hexdigest().encode()
