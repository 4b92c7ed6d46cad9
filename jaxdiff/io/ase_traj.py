"""ASE's .traj files, frame by frame; time from `atoms.info`, as in extended XYZ."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdiff.io import trajectory_source as source
from jaxdiff.io.xyz_comment import step_of, time_of

if TYPE_CHECKING:
    import ase

_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    EOFError,
    MemoryError,
    struct.error,
)
"""What ASE raises on files that are cut or garbled."""


def open_ase_traj(path: Path, given: source.Given) -> source.Source:
    """Read the first frame, and say how the others will be read."""
    with _reader(path) as reader:
        try:
            first = reader[0]
        except _DAMAGE:
            raise source.no_complete_frame(path) from None
    number = np.asarray(first.get_atomic_numbers(), np.int32)
    x, y, z = (bool(flag) for flag in first.get_pbc())
    if first.cell.any():
        source.refuse_cell(path, given)
    elif given.cell is None:
        raise source.Missing(
            "cell",
            f"{path} has a cell without volume; give it, such as "
            "--cell-angstrom 20.3,20.3,20.3.",
        )
    else:
        x = y = z = True

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        with _reader(path) as reader:
            for index in range(len(reader)):
                try:
                    atoms = reader[index]
                except _DAMAGE:  # counted in the file's head, but not in the file
                    _check_cut(reader, path, index)
                    tally.incomplete += len(reader) - index
                    return
                yield _raw_frame(atoms, number, given, f"{path}, frame {index}")

    return source.Source(
        format="traj",
        atomic_number=number,
        periodic=(x, y, z),
        unwrapping=source.NEAREST,
        exact=False,
        time_stated=time_of(first.info, str(path))[1],
        frames=frames,
    )


def _raw_frame(
    atoms: "ase.Atoms", number: np.ndarray, given: source.Given, where: str
) -> source.RawFrame:
    def load() -> source.Placement:
        if len(atoms) != len(number):
            raise ValueError(
                f"{where} has {len(atoms)} atoms, the first frame {len(number)}; all "
                "frames must have the same atoms."
            )
        if not np.array_equal(atoms.get_atomic_numbers(), number):
            raise ValueError(
                f"{where} has atoms of another species than the first frame; all frames "
                "must have the same atoms in the same order."
            )
        cell = atoms.cell.array if given.cell is None else given.cell
        return np.array(atoms.get_positions(), float), np.array(cell, float)

    step, time = step_of(atoms.info, where), time_of(atoms.info, where)[0]
    return source.RawFrame(step, time, load)


def _check_cut(reader: Any, path: Path, index: int) -> None:
    """A file that is cut has no last frame either."""
    try:
        reader[len(reader) - 1]
    except _DAMAGE:
        return
    raise ValueError(
        f"{path}, frame {index} cannot be read, but the last one can: the file is damaged "
        "inside; read what is before it by --stop."
    )


def _reader(path: Path) -> Any:
    from ase.io.trajectory import TrajectoryReader

    try:
        return TrajectoryReader(str(path))
    except _DAMAGE as error:
        raise ValueError(
            f"{path} is not a .traj file that ASE can open ({str(error)[:80]}); it is "
            "damaged or cut."
        ) from None
