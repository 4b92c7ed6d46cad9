"""One process at a time writes into a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

LOCK = "lock"

PATIENCE_S = 3.0
"""How long a lock is waited for: one that is only probed is free again at once."""


@contextmanager
def locked(directory: Path, key: str) -> Iterator[None]:
    """Keep other processes out of the folder, which is made if need be.

    `key` is what of the run file names another folder. Raises `ValueError` where another
    process has it, and `OSError` where it cannot be written.
    """
    lock = filelock.FileLock(directory / LOCK, timeout=PATIENCE_S)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise ValueError(
            f"another process is running in {directory}; wait for it or stop it, or give "
            f"another folder (--set {key}=...)."
        ) from None
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise OSError(
            f"{key} = {directory} cannot be written ({error.strerror}); give another one "
            f"(--set {key}=...)."
        ) from error
    try:
        yield
    finally:
        lock.release()
