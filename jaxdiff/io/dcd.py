"""DCD files (CHARMM, NAMD, LAMMPS, CP2K), read by MDAnalysis; elements from a topology.

The step length in their head is in units that differ from program to program, so the time
between frames is asked for.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.io import trajectory_source as source
from jaxdiff.io.topology import read_elements

_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    StopIteration,
    TypeError,
)
"""What MDAnalysis raises on files that are cut or garbled."""


def open_dcd(path: Path, given: source.Given) -> source.Source:
    """Read the head and the first frame, and say how the others will be read."""
    reader = _reader(path)
    number = read_elements(given, reader.n_atoms, path)
    if _cell(reader.ts) is None and given.cell is None:
        raise source.Missing(
            "cell",
            f"{path} has no cell; give it, such as --cell-angstrom 20.3,20.3,20.3.",
        )
    if _cell(reader.ts) is not None:
        source.refuse_cell(path, given)
    reader.close()

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        reader = _reader(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for step in reader:
                    yield _raw_frame(step, given)
        except (OSError, EOFError):  # cut within a frame
            tally.incomplete += 1
        finally:
            reader.close()

    return source.Source(
        format="dcd",
        atomic_number=number,
        periodic=(True, True, True),
        unwrapping=source.NEAREST,
        exact=False,
        time_stated=False,
        frames=frames,
    )


def _raw_frame(step: Any, given: source.Given) -> source.RawFrame:
    def load() -> source.Placement:
        cell = _cell(step) if given.cell is None else given.cell
        if cell is None:
            cell = np.zeros((3, 3))  # refused by who reads it
        return np.array(step.positions, float), cell

    return source.RawFrame(None, None, load)


def _cell(step: Any) -> np.ndarray | None:
    """Rows of the cell, Å: a along x, b in the xy plane."""
    from MDAnalysis.lib.mdamath import triclinic_vectors

    if step.dimensions is None or not (np.asarray(step.dimensions)[:3] > 0).all():
        return None
    return triclinic_vectors(np.asarray(step.dimensions, float), dtype=np.float64)


def _reader(path: Path) -> Any:
    try:
        from MDAnalysis.coordinates.DCD import DCDReader
        from MDAnalysis.lib.formats.libdcd import DCDFile
    except ImportError:
        raise ValueError(
            f"{path} is a DCD file, which MDAnalysis reads: pip install MDAnalysis, or "
            "convert it to extended XYZ."
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            DCDFile(str(path)).close()  # a reader that fails leaves a warning behind
            return DCDReader(str(path))
    except _DAMAGE as error:
        raise ValueError(
            f"{path} cannot be read as DCD ({str(error)[:80]}); it is damaged or cut."
        ) from None
