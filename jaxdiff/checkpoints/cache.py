"""The folder of fetched models: the user's own, with no links in it, one writer a file."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.io import digest, durable

try:
    import fcntl
except ImportError:  # a system without: two fetches at once are then not kept apart
    fcntl = None

BY_HAND = "put there by hand"


def cache_directory(cache: str | Path | None = None) -> Path:
    """Where fetched files are: `cache`, or $JAXDIFF_CACHE, or ~/.cache/jaxdiff."""
    return Path(cache or os.environ.get("JAXDIFF_CACHE") or "~/.cache/jaxdiff").expanduser()


def require_own(directory: Path) -> None:
    """An error where others may put files into the folder, or may replace it."""
    place = directory.absolute()
    for folder in (place, *place.parents):
        if not folder.exists():
            continue
        found = folder.stat()
        if folder == place:
            own = not hasattr(os, "getuid") or found.st_uid in (os.getuid(), 0)
            safe = own and not found.st_mode & (stat.S_IWOTH | stat.S_IWGRP)
        else:
            safe = not found.st_mode & stat.S_IWOTH or bool(found.st_mode & stat.S_ISVTX)
        if not safe:
            raise CheckpointError(
                f"{folder} can be written by others, who could put a model there; make it "
                f"yours alone (chmod go-w {folder}), or give another by JAXDIFF_CACHE."
            )


def is_there(path: Path) -> bool:
    """Whether the file is in the cache; an error for a link in its place."""
    if path.is_symlink():
        raise CheckpointError(
            f"{path} is a symbolic link, which is not followed; put the file itself there."
        )
    return path.is_file()


@contextlib.contextmanager
def claimed(part: Path) -> Iterator[None]:
    """The partial file, which is made if need be; another that has it is waited for."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        is_there(part)
        descriptor = os.open(part, flags, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):  # renamed by the one before us
                if os.path.samestat(os.fstat(descriptor), part.lstat()):
                    yield
                    return
        finally:
            os.close(descriptor)


def record(path: Path, sha256: str, *, by_hand: bool = False) -> None:
    """Keep the SHA-256 of a file beside it."""
    is_there(_record(path))
    note = f"  # {BY_HAND}" if by_hand else ""
    durable.write_text(_record(path), f"{sha256}  {path.name}{note}\n")


def recorded(path: Path) -> tuple[str | None, bool]:
    """The SHA-256 that was kept, if any, and whether the file was put there by hand."""
    place = _record(path)
    if not is_there(place):
        return None, True
    text = place.read_bytes()[:1000].decode(errors="replace")
    found = re.match(r"([0-9a-fA-F]{64})\b", text)
    if found is None:
        raise CheckpointError(
            f"{place} should hold the SHA-256 of {path.name} and does not. Delete both, "
            "and fetch the model again."
        )
    return found[1].lower(), BY_HAND in text


def require_hash(path: Path, expected: str | None) -> None:
    """An error unless the file, or partial file, has that SHA-256."""
    if expected is None:
        return
    found, expected = digest.of_file(path), expected.strip().lower()
    if found != expected:
        final = path.with_name(path.name.removesuffix(".part"))
        raise CheckpointError(
            f"{final.name} has SHA-256 {found}, expected {expected}: it is damaged or "
            f"another file. Delete {final} if it is there, and fetch it again."
        )


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
