"""NetCDF trajectories of AMBER and LAMMPS (https://ambermd.org/netcdf/nctraj.xhtml).

Read by SciPy. MDAnalysis's reader takes no femtoseconds and no unwrapped columns, and does
not sort by `id`. LAMMPS's `type` needs names; AMBER has no elements at all.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from jaxdiff.io import trajectory_source as source
from jaxdiff.io.topology import read_elements

_LENGTH = {"angstrom": 1.0, "nanometer": 10.0, "nm": 10.0, "": 1.0}  # AMBER's is Å
_TIME = {"picosecond": 1.0, "ps": 1.0, "femtosecond": 1e-3, "fs": 1e-3}
_POSITIONS = ("unwrapped_coordinates", "coordinates")
_TYPES = ("type", "atom_types")


def open_netcdf(path: Path, given: source.Given) -> source.Source:
    """Read the first frame, and say how the others will be read."""
    with _open(path) as file:
        name = next((name for name in _POSITIONS if name in file.variables), None)
        if name is None or len(file.variables[name].shape) != 3:
            raise ValueError(
                f"{path} has no coordinates [frames, atoms, 3]; it is not read."
            )
        n_frames, n_atoms = file.variables[name].shape[:2]
        if n_frames == 0:
            raise source.no_complete_frame(path)
        _check_cell(file, given, path)
        identifier = _identifier(file, 0)
        number = _atomic_number(file, n_atoms, given, path)
        unit = None
        if "time" in file.variables:
            unit = _unit(file.variables["time"], _TIME, path)

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        with _open(path) as file:
            for k in range(n_frames):
                load = _loader(file, name, k, identifier, given, path)
                time = None if unit is None else unit * float(_scaled(file, "time", k))
                yield source.RawFrame(None, time, load)

    exact = name == "unwrapped_coordinates"
    return source.Source(
        format="netcdf",
        atomic_number=number,
        periodic=(True, True, True),
        unwrapping=name if exact else source.NEAREST,
        exact=exact,
        time_stated=unit is not None,
        frames=frames,
    )


def _loader(
    file: Any,
    name: str,
    k: int,
    identifier: np.ndarray | None,
    given: source.Given,
    path: Path,
) -> Callable[[], source.Placement]:
    def load() -> source.Placement:
        unit = _unit(file.variables[name], _LENGTH, path)
        position = unit * _scaled(file, name, k)
        if identifier is not None:
            order = _order(file, k)
            if not np.array_equal(file.variables["id"][k][order], identifier):
                raise ValueError(
                    f"{path}, frame {k} has other atom ids than the first frame; dump the "
                    "same atoms in every frame."
                )
            position = position[order]
        if given.cell is not None:
            return position, given.cell
        if "cell_origin" in file.variables:
            position = position - unit * _scaled(file, "cell_origin", k)
        return position, _cell(file, k, path)

    return load


def _cell(file: Any, k: int, path: Path) -> Float[np.ndarray, "3 3"]:
    """Rows of the cell, Å: a along x, b in the xy plane."""
    from ase.geometry import cellpar_to_cell

    unit = _unit(file.variables["cell_lengths"], _LENGTH, path)
    lengths, angles = _scaled(file, "cell_lengths", k), _scaled(file, "cell_angles", k)
    return np.asarray(cellpar_to_cell([*unit * lengths, *angles]), float)


def _check_cell(file: Any, given: source.Given, path: Path) -> None:
    if {"cell_lengths", "cell_angles"} <= set(file.variables):
        source.refuse_cell(path, given)
    elif given.cell is None:
        raise source.Missing(
            "cell",
            f"{path} has no cell; give it, such as --cell-angstrom 20.3,20.3,20.3.",
        )


def _atomic_number(
    file: Any, n_atoms: int, given: source.Given, path: Path
) -> Integer[np.ndarray, " atoms"]:
    """By the types that the user names, else from a topology."""
    types = next((name for name in _TYPES if name in file.variables), None)
    if types is None or given.topology is not None:
        return read_elements(given, n_atoms, path)
    variable = file.variables[types]
    kinds = np.array(variable[0] if len(variable.shape) == 2 else variable[:], int)
    if _identifier(file, 0) is not None:
        kinds = kinds[_order(file, 0)]
    return source.elements_of_numbers(kinds, given.species, str(path))


def _identifier(file: Any, k: int) -> Integer[np.ndarray, " atoms"] | None:
    """Ids in ascending order."""
    return np.sort(file.variables["id"][k]) if "id" in file.variables else None


def _order(file: Any, k: int) -> Integer[np.ndarray, " atoms"]:
    return np.argsort(file.variables["id"][k], kind="stable")


def _scaled(file: Any, name: str, k: int) -> np.ndarray:
    """Numbers of one frame times the variable's factor."""
    variable = file.variables[name]
    factor = float(getattr(variable, "scale_factor", 1.0))
    return np.asarray(factor * np.asarray(variable[k], float))


def _unit(variable: Any, known: dict[str, float], path: Path) -> float:
    unit: Any = getattr(variable, "units", b"")
    text = unit.decode("ascii", "replace") if isinstance(unit, bytes) else str(unit)
    if text.strip().lower() not in known:
        raise ValueError(
            f"{path} is in units {text[:20]!r}; known are {', '.join(filter(None, known))}."
        )
    return known[text.strip().lower()]


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """An open file; what SciPy cannot read becomes a sentence."""
    from scipy.io import netcdf_file

    try:
        file = netcdf_file(path, "r")
    except (ValueError, TypeError, IndexError, OSError, MemoryError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read as classic netCDF ({str(error)[:80]}); convert it by "
            "nccopy -k 64-bit-offset, or copy it again."
        ) from None
    try:
        yield file
    finally:
        with warnings.catch_warnings():  # arrays of the map that an error still holds
            warnings.simplefilter("ignore", RuntimeWarning)
            file.close()
