"""Files that are there whole or not at all, and safe on the disk before they count.

Write a file beside the target, fsync it, rename it, fsync the folder: after each of these
steps a reader finds the old content or the new one, also after a loss of power.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NO_SYNC_OF_FOLDERS = (errno.EINVAL, errno.ENOTSUP)
"""How a file system says that it keeps names safe by itself."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A file beside `path` to be written and closed within; it then takes its place.

    Raises `OSError` with path and cause where the disk is full or cannot be written; what
    was there before is then still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _named(path):
            partial.unlink(missing_ok=True)  # whatever is there is not ours
            yield partial
            _sync(partial)
            rename(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Write a whole file; see `replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """The same for text, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: Any) -> None:
    """The same for what JSON can hold, for people to read."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def append_line(path: str | Path, line: str) -> None:
    """Add a line to a file; one without its end was cut off while it was written."""
    path = Path(path)
    is_new = not path.exists()
    with _named(path):
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        _sync(path)
        if is_new:
            _sync_folder(path.parent)


def rename(source: Path, target: Path) -> None:
    """Give a file that is safe on the disk another name in the same folder."""
    source.replace(target)
    _sync_folder(target.parent)


def remove_partial(directory: Path) -> None:
    """Remove what processes that died left half-written; no other may be writing there."""
    for path in directory.rglob(".*.partial"):
        path.unlink(missing_ok=True)


def whole_name(path: Path) -> str:
    """The name that a half-written file was to get; of any other file its own."""
    found = re.fullmatch(r"\.(.+?)(\.\d+)?\.partial", path.name)
    return path.name if found is None else found[1]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of writing, with the file and the way on."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); make room or choose "
            "another folder. Nothing that was written before is lost."
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(directory: Path) -> None:
    try:
        _sync(directory)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS:
            raise
