"""Sites of an element from a structure file: CIF, POSCAR, extxyz and what else ASE reads.

The file is of a unit cell of the crystal, or of the whole cell. Positions that the element
fills in part are kept, symmetry is expanded. The framework of the file says where its
origin is in the trajectory.
"""

import itertools
import warnings
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.data import atomic_numbers
from ase.io import read
from ase.io.formats import UnknownFileTypeError
from jaxtyping import Float, Int

from jaxdiff.lattice.sites import Sites, kinds_by_surroundings

_STRAIN = 0.1  # of the cell of the file against that of the trajectory
_OFF = 1.0  # Å, root mean square, of framework atoms off their places
_ALIKE = 0.05  # Å, in the distances of sites of one kind to the atoms around
_AROUND = 12  # framework atoms
_UNREADABLE = ValueError, KeyError, IndexError, OSError, StopIteration


def sites_of_structure(
    path: Path,
    element: str,
    cell: Float[np.ndarray, "3 3"],
    host: Float[np.ndarray, "host 3"],
    host_number: Int[np.ndarray, " host"],
) -> Sites:
    """Sites in the cell of a trajectory.

    - `cell`, Å: lattice vectors as rows. `host`: mean places of framework atoms, fractions.

    Raises `ValueError` where the file is not of that crystal, with the same axes.
    """
    atoms = _read(path)
    occupancy = _occupancies(atoms, element)
    if not (occupancy > 0).any():
        raise ValueError(
            f"--network {path} has no {element}; give a structure with the sites of the "
            "element that moves."
        )
    repeats = _repeats(path, atoms, cell)
    images = np.array(list(itertools.product(*map(range, repeats))))
    fraction = atoms.get_scaled_positions(wrap=True)
    framework = ~(occupancy > 0)
    if not framework.any():
        raise ValueError(
            f"--network {path} has {element} alone; the framework is needed to find the "
            "origin."
        )
    every = ((fraction[framework][:, None] + images) / repeats).reshape(-1, 3)
    number = np.repeat(atoms.numbers[framework], len(images))
    shift = origin(f"--network {path}", every, number, host, host_number, cell)
    mine = fraction[occupancy > 0]
    place = ((mine[:, None] + images) / repeats).reshape(-1, 3) + shift
    kind = _kinds(mine, fraction[framework], np.asarray(atoms.cell.array))
    filled = occupancy[occupancy > 0]
    return Sites(
        fraction=place,
        cell=cell,
        kind=np.repeat(kind, len(images)),
        names=tuple(f"{element}{k + 1}" for k in range(kind.max() + 1)),
        occupancy=tuple(float(filled[kind == k].mean()) for k in range(kind.max() + 1)),
        source=f"{path.name}, {' x '.join(map(str, repeats))} cells",
    )


def _read(path: Path) -> ase.Atoms:
    if not path.is_file():
        raise ValueError(
            f"--network {path} is no file: give none, maxima, "
            "or a structure file (CIF, POSCAR, extxyz)."
        )
    options: dict[str, Any] = {}
    if path.suffix.lower() == ".cif":
        options["fractional_occupancies"] = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms = read(path, **options)
    except UnknownFileTypeError:
        raise ValueError(
            f"--network {path} is of no format that ASE knows; give a CIF, POSCAR or "
            "extxyz."
        ) from None
    except (AssertionError, *_UNREADABLE) as error:
        raise ValueError(f"--network {path} cannot be read by ASE: {error!r}.") from error
    if not (isinstance(atoms, ase.Atoms) and atoms.cell.rank == 3):
        raise ValueError(f"--network {path} has no cell; give a crystal.")
    return atoms


def _occupancies(atoms: ase.Atoms, element: str) -> Float[np.ndarray, " atoms"]:
    """How much of each position the element fills."""
    table, kind = atoms.info.get("occupancy"), atoms.arrays.get("spacegroup_kinds")
    if table is None or kind is None:
        return (atoms.numbers == atomic_numbers[element]).astype(float)
    return np.array([table.get(str(k), {}).get(element, 0.0) for k in kind], float)


def _repeats(path: Path, atoms: ase.Atoms, cell: np.ndarray) -> tuple[int, ...]:
    """How often the cell of the file goes into that of the trajectory along each axis."""
    own = np.asarray(atoms.cell.array)
    ratio = cell @ np.linalg.inv(own)
    whole = np.rint(np.diag(ratio)).astype(int)
    stretch = np.linalg.svd(ratio / np.maximum(whole, 1)[:, None], compute_uv=False)
    off = np.abs(ratio - np.diag(whole)).max() / max(abs(whole).max(), 1)
    if whole.min() < 1 or off > _STRAIN or abs(stretch - 1).max() > _STRAIN:
        edges = ", ".join(f"{edge:.2f}" for edge in np.linalg.norm(own, axis=1))
        theirs = ", ".join(f"{edge:.2f}" for edge in np.linalg.norm(cell, axis=1))
        raise ValueError(
            f"--network {path} has a cell of edges {edges} Å, which does not fill that of "
            f"the trajectory, {theirs} Å, along the same axes; give the structure in the "
            "cell that the trajectory was built from."
        )
    return tuple(whole.tolist())


def origin(
    name: str,
    place: Float[np.ndarray, "sites 3"],
    number: Int[np.ndarray, " sites"],
    host: Float[np.ndarray, "host 3"],
    host_number: Int[np.ndarray, " host"],
    cell: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "3"]:
    """The shift, fractions, from the framework `place` to that of the trajectory, `host`.

    Elements may share places, as in crystals whose anions are disordered: of several shifts
    that lay atom on atom it is the one with most elements in their place.

    Raises `ValueError`, which begins with `name`, where there is none.
    """
    if len(number) != len(host_number) or set(number) != set(host_number):
        raise ValueError(
            f"{name} repeated to the cell of the trajectory has {len(number)} framework "
            f"atoms, the trajectory {len(host_number)}, or other elements; give the "
            "structure of this crystal."
        )
    elements, counts = np.unique(number, return_counts=True)
    rarest = elements[counts.argmin()]
    first = place[number == rarest][0]
    best, found, apart = np.inf, np.zeros(3), np.inf
    for start in host[host_number == rarest]:
        shift = start - first
        step, _ = _to_nearest(place + shift, host, cell)
        shift = shift + step.mean(axis=0)  # to the mean of all atoms
        step, nearest = _to_nearest(place + shift, host, cell)
        shift = shift + step.mean(axis=0)
        step = step - step.mean(axis=0)
        error = float(np.sqrt(((step @ cell) ** 2).sum(axis=1).mean()))
        score = error + float((host_number[nearest] != number).mean())
        if score < best:
            best, found, apart = score, shift, error
    if apart > _OFF:
        raise ValueError(
            f"{name}: framework atoms are {apart:.2f} Å (r.m.s.) from the places of the "
            "file; give the structure of this crystal, with the same axes."
        )
    return found


def _to_nearest(
    place: Float[np.ndarray, "sites 3"],
    host: Float[np.ndarray, "host 3"],
    cell: Float[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "sites 3"], Int[np.ndarray, " sites"]]:
    """From each place to the nearest framework atom, fractions, and which that is."""
    step = host[None] - place[:, None]
    step = step - np.rint(step)
    nearest = ((step @ cell) ** 2).sum(axis=2).argmin(axis=1)
    return step[np.arange(len(step)), nearest], nearest


def _kinds(
    mine: Float[np.ndarray, "sites 3"],
    framework: Float[np.ndarray, "host 3"],
    cell: np.ndarray,
) -> Int[np.ndarray, " sites"]:
    """By the distances to the nearest framework atoms."""
    around = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    step = framework[None] - mine[:, None]
    step = (step - np.rint(step))[:, :, None] + around
    apart = np.linalg.norm(step @ cell, axis=3).reshape(len(mine), -1)
    return kinds_by_surroundings(np.sort(apart, axis=1)[:, :_AROUND], _ALIKE)
