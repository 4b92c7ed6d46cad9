"""HDF5 files that others wrote: opened only where the library can be trusted with them.

libhdf5 reads texts of any length from global heaps, and never ends where an object in one
says that it has no length (https://docs.hdfgroup.org/hdf5/, "Disk Format: Level 1E").
"""

import contextlib
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

UNREADABLE = (OSError, LookupError, RuntimeError, TypeError, ValueError)
"""What h5py raises for a damaged file, whichever of its layers notices."""

_ALLOWANCE = 1 << 26  # bytes
_HEAP, _HEAP_HEAD, _OBJECT = b"GCOL\x01\0\0\0", 16, struct.Struct("<HHIQ")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An open file; `ValueError` where its heaps are damaged, `OSError` elsewhere."""
    require_heaps(path)
    with h5py.File(path, "r") as file:
        yield file


def require_modest(file: h5py.File) -> None:
    """An error for a file of ours whose datasets are larger than what is in it."""
    sizes: list[int] = []

    def note(_: str, thing: object) -> None:
        if isinstance(thing, h5py.Dataset):
            sizes.append(int(thing.size or 0) * thing.dtype.itemsize)

    file.visititems(note)
    there = Path(file.filename).stat().st_size
    if sum(sizes) > _ALLOWANCE + 2 * there:
        raise ValueError(
            f"{file.filename} says that it holds {sum(sizes):.3g} bytes of numbers, and "
            f"has {there} bytes in all; it is damaged."
        )


def require_heaps(path: Path) -> None:
    """`ValueError` for a file whose texts would keep the library busy for ever."""
    if path.stat().st_size == 0:
        return
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        start = content.find(_HEAP)
        while start >= 0:
            if not _is_whole(content, start):
                raise ValueError(
                    f"{path} cannot be read as HDF5: its texts are damaged (at byte "
                    f"{start}); copy it again."
                )
            start = content.find(_HEAP, start + 1)


def _is_whole(content: mmap.mmap, start: int) -> bool:
    """Whether the objects of a heap end where it does; free space has the index 0."""
    head = content[start + 8 : start + _HEAP_HEAD]
    end = start + int.from_bytes(head, "little")
    place = start + _HEAP_HEAD
    if len(head) < 8 or not place <= end <= len(content):
        return False
    while end - place >= _OBJECT.size:
        index, _, _, size = _OBJECT.unpack_from(content, place)
        place += size if index == 0 else _OBJECT.size + 8 * -(-size // 8)
        if place > end or (index == 0 and size < _OBJECT.size):
            return False
    return True
