"""The parts of a series in the folder of a run: which there are, and that each is whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from jaxdiff.io import digest

SERIES, PARTS = "series.h5", "parts"

WAY_ON = (
    "Nothing was joined and nothing removed: put the file back from a copy of the folder, "
    "or give another folder (--set output.directory=...) and run again."
)


class PartError(ValueError):
    """A part of a series is missing, or is not the one that was written."""


def joined_parts(directory: Path) -> int:
    """How many parts `series.h5` holds; 0 where there is none."""
    path = directory / SERIES
    if not path.exists():
        return 0
    digest.verify_or_tell(path)
    with h5py.File(path) as file:
        count: Any = file.attrs["n_parts"]
        return int(count)


def part_file(directory: Path, number: int) -> Path:
    """The file of a part."""
    return directory / PARTS / f"{number:06d}.h5"


def part_files(directory: Path) -> list[Path]:
    """The parts in a run's folder, in order."""
    return sorted((directory / PARTS).glob("[0-9]*.h5"))


def checked_digests(
    directory: Path, done: int, n_parts: int, digests: Sequence[str]
) -> tuple[str, ...]:
    """Those of the first `n_parts` parts, of which the first `done` are joined already.

    The others are compared with their files, or taken from them where none is known.
    """
    known = [*digests, *[""] * (n_parts - len(digests))]
    for number in range(done, n_parts):
        path = part_file(directory, number)
        if not path.is_file():
            raise PartError(f"{path} of this run is missing. {WAY_ON}")
        expected, known[number] = known[number], digest.of_file(path)
        if expected not in ("", known[number]):
            raise PartError(
                f"{path} is not what this run wrote: its SHA-256 is "
                f"{known[number][:12]}..., that in the checkpoint {expected[:12]}.... "
                f"{WAY_ON}"
            )
    return tuple(known)


def sources_of(directory: Path) -> list[Path]:
    """The joined file, if there is one, and the parts that are not yet in it."""
    done, joined = joined_parts(directory), directory / SERIES
    new = [path for path in part_files(directory) if int(path.stem) >= done]
    for number, path in enumerate(new, done):
        if int(path.stem) != number:
            raise PartError(
                f"{part_file(directory, number)} of this run is missing. {WAY_ON}"
            )
        _check_part(path, number)
    return ([joined] if done else []) + new


def _check_part(path: Path, number: int) -> None:
    try:
        digest.verify(path)
        with h5py.File(path) as file:
            given = file.attrs.get("part", number)
    except (OSError, ValueError) as error:
        raise PartError(f"{path} is damaged ({error}). {WAY_ON}") from None
    if given != number:
        raise PartError(f"{path} is part {given}, not {number}. {WAY_ON}")
