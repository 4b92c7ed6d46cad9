"""Elements from a structure file beside the trajectory: read by ASE, else by MDAnalysis."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from jaxdiff.io.trajectory_source import Given, element

_LAMMPS_DATA = (b"atom types", b"xlo xhi")


def read_elements(given: Given, n_atoms: int, path: Path) -> Integer[np.ndarray, " atoms"]:
    """Atomic numbers of the file that the user names, for a trajectory of `n_atoms`."""
    if given.topology is None:
        raise ValueError(
            f"{path} names no elements; give a structure file with the same atoms in the "
            "same order by --topology."
        )
    number = _read(given.topology, given.species)
    if len(number) != n_atoms:
        raise ValueError(
            f"--topology {given.topology} has {len(number)} atoms, {path} has {n_atoms}; "
            "give the file of the same atoms."
        )
    if (number < 1).any():
        raise ValueError(
            f"--topology {given.topology} does not know the element of atom "
            f"{int(number.argmin())}; give a file that names the elements."
        )
    return number


def _read(path: Path, species: dict[int, str] | None) -> Integer[np.ndarray, " atoms"]:
    if not path.is_file():
        raise ValueError(f"--topology {path} does not exist; give a structure file.")
    with path.open("rb") as file:
        head = file.read(4096)
    if all(words in head for words in _LAMMPS_DATA):
        return _read_lammps_data(path, species)
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    try:
        atoms = ase.io.read(path, index=0)
    except UnknownFileTypeError:
        return _read_by_mdanalysis(path)
    except (ValueError, KeyError, IndexError, OSError, StopIteration) as error:
        raise ValueError(f"--topology {path} cannot be read by ASE: {error!r}.") from error
    return np.asarray(atoms.numbers, np.int32)  # type: ignore[union-attr]


def _read_lammps_data(
    path: Path, species: dict[int, str] | None
) -> Integer[np.ndarray, " atoms"]:
    """In ascending id; types by name, else by mass."""
    from ase.io.lammpsdata import read_lammps_data

    names = species or {}
    known = {kind: element(name, "--species") for kind, name in names.items()} or None
    try:
        with path.open() as file:
            atoms = read_lammps_data(file, Z_of_type=known, sort_by_id=True)
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"--topology {path} cannot be read as LAMMPS data ({error!r}); name its types, "
            "such as --species 1=Li --species 2=F, or give another file."
        ) from error
    return np.asarray(atoms.numbers, np.int32)


def _read_by_mdanalysis(path: Path) -> Integer[np.ndarray, " atoms"]:
    """PSF, prmtop and what else ASE does not know."""
    try:
        import MDAnalysis
        from MDAnalysis.exceptions import NoDataError
    except ImportError:
        raise ValueError(
            f"--topology {path} is of no format that ASE knows; give POSCAR, extended XYZ, "
            "PDB or LAMMPS data, or pip install MDAnalysis."
        ) from None
    try:
        universe: Any = MDAnalysis.Universe(str(path))
        names = universe.atoms.elements
    except (ValueError, TypeError, OSError, AttributeError, NoDataError) as error:
        raise ValueError(
            f"--topology {path}: MDAnalysis finds no elements in it ({str(error)[:80]}); "
            "give a file that names them."
        ) from None
    where = f"--topology {path}"
    return np.array([element(str(name), where) for name in names], np.int32)
