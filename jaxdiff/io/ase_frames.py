"""Frames of any file that ASE reads, with errors that name the file."""

from pathlib import Path

import ase
import ase.io
from ase.io.formats import UnknownFileTypeError


def read_atoms(path: Path) -> list[ase.Atoms]:
    """All frames of a file, in its order; `ValueError` where it cannot be read."""
    try:
        return list(ase.io.iread(path, index=":"))
    except UnknownFileTypeError:
        raise ValueError(
            f"{path} is of no format that ASE knows; give extxyz, .traj, XDATCAR or "
            "the like."
        ) from None
    except (ValueError, KeyError, IndexError, OSError, StopIteration) as error:
        raise ValueError(f"{path} cannot be read by ASE: {error!r}.") from error
