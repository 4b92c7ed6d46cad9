"""Text files as they are, or packed by gzip, bzip2, xz or zstd, by their first bytes."""

import bz2
import gzip
import importlib
import lzma
import zlib
from pathlib import Path
from typing import Any

_ZSTD = b"\x28\xb5\x2f\xfd"
_OPENERS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


def open_packed(path: Path) -> tuple[Any, tuple[type[Exception], ...]]:
    """A file to read unpacked, and what reading raises where its packing is damaged."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(_ZSTD):
        zstd = _zstd(path)
        return zstd.open(path, "rb"), (zstd.ZstdError,)
    for start, opener in _OPENERS.items():
        if magic.startswith(start):
            return opener(path, "rb"), (OSError, zlib.error, lzma.LZMAError)
    return path.open("rb"), ()


def is_packed(path: Path) -> bool:
    """Whether the file is packed."""
    with path.open("rb") as file:
        return file.read(6).startswith((_ZSTD, *_OPENERS))


def _zstd(path: Path) -> Any:
    """The zstd module of Python 3.14, as its backport."""
    try:
        return importlib.import_module("backports.zstd")
    except ImportError:
        raise ValueError(
            f"{path} is packed by zstd; unpack it (zstd -d), or pip install 'jaxdiff[zst]'."
        ) from None
