"""Files that are there as a whole or not at all."""

import os
from pathlib import Path


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Write a file through a temporary one beside it, safe on the disk before it counts.

    Raises `OSError` with path and cause where the disk is full or cannot be written; what
    was there before is then still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); make room or choose "
            "another folder. Nothing that was written before is lost."
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """The same for text, in UTF-8."""
    write_bytes(path, text.encode())
