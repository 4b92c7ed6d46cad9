"""A crystal as arrays: species, masses, positions, cell; the way in and out of ASE."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.struct
import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    import ase

LITHIUM, FLUORINE = 3, 9


@flax.struct.dataclass
class System:
    """What is simulated: one configuration of atoms in a periodic cell.

    - `atomic_number` [N]; atoms keep this order everywhere in the library.
    - `mass` [N], u.
    - `position` [N, 3], Å, unwrapped: never folded back into the cell.
    - `velocity` [N, 3], Å per internal time unit (`units.FEMTOSECOND`), or None.
    - `cell` [3, 3], Å; lattice vectors are rows.
    - `periodic`: along which lattice vectors the cell repeats.
    """

    atomic_number: Int[Any, " atoms"]
    mass: Float[Any, " atoms"]
    position: Float[Any, "atoms 3"]
    velocity: Float[Any, "atoms 3"] | None
    cell: Float[Any, "3 3"]
    periodic: tuple[bool, bool, bool] = flax.struct.field(
        pytree_node=False, default=(True, True, True)
    )

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.position.shape[-2]


def from_ase(atoms: "ase.Atoms") -> System:
    """Arrays of an ASE structure; its units of velocity are the internal ones."""
    velocity = atoms.get_velocities() if atoms.has("momenta") else None
    return _checked(
        System(
            atomic_number=np.asarray(atoms.get_atomic_numbers(), dtype=np.int32),
            mass=np.asarray(atoms.get_masses(), dtype=np.float64),
            position=np.array(atoms.get_positions(), dtype=np.float64),
            velocity=None if velocity is None else np.array(velocity, dtype=np.float64),
            cell=np.array(atoms.get_cell().array, dtype=np.float64),
            periodic=_flags(atoms.get_pbc()),
        )
    )


def to_ase(system: System) -> "ase.Atoms":
    """The ASE structure of a system; positions stay unwrapped."""
    import ase

    atoms = ase.Atoms(
        numbers=np.asarray(system.atomic_number),
        masses=np.asarray(system.mass),
        positions=np.asarray(system.position),
        cell=np.asarray(system.cell),
        pbc=system.periodic,
    )
    if system.velocity is not None:
        atoms.set_velocities(np.asarray(system.velocity))
    return atoms


def read_structure(path: str | Path) -> System:
    """Read a structure from any file that ASE knows, or from LAMMPS data.

    Of a file with several frames, the last one; see `read_structures`.
    """
    return _read(Path(path), "-1")[0]


def read_structures(path: str | Path) -> list[System]:
    """Read all frames of a file, such as `final.extxyz` with one for each replica."""
    return _read(Path(path), ":")


def read_lammps_state(path: str | Path) -> System:
    """Read a LAMMPS data file (`units metal`): atoms by id, unwrapped, with velocities.

    Species come from the masses of the atom types; image flags are undone, so that
    `position` continues the trajectory that wrote the file.
    """
    from ase.io.lammpsdata import read_lammps_data

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a LAMMPS data file (write_data).")
    text = path.read_bytes().decode(errors="replace")
    if "\nMasses" not in text:
        raise ValueError(
            f"{path} has no Masses section, so its atom types cannot be told to be Li or "
            "F; write it with LAMMPS's write_data, or add the section."
        )
    comment = text.split("\n", 1)[0]
    if "units =" in comment and "units = metal" not in comment:
        raise ValueError(
            f"{path} says '{comment.strip()}'; only units metal (Å, ps) is read. Convert "
            "the file or rerun LAMMPS with units metal."
        )
    style = re.search(r"^Atoms *# *(\w+)", text, flags=re.MULTILINE)  # "atomic/kk" too
    try:
        atoms = read_lammps_data(
            str(path),
            units="metal",
            sort_by_id=False,  # ASE leaves type labels unsorted
            read_image_flags=True,
            atom_style=style.group(1) if style else None,
        )
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as LAMMPS data ({type(error).__name__}: "
            f"{str(error)[:100]!r}); repair it."
        ) from error
    return from_ase(atoms[np.argsort(atoms.arrays["id"])])


def _read(path: Path, frames: str) -> list[System]:
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a structure file (xyz, cif, data).")
    if _is_lammps_data(path):
        return [read_lammps_state(path)]
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes, more than a structure file of this "
            f"size of crystals ({_MOST_BYTES}); give a structure file."
        )
    try:
        read = ase.io.read(path, frames)
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as the structure file that its name or first lines say "
            f"({type(error).__name__}: {str(error)[:100]!r}); repair it."
        ) from error
    except UnknownFileTypeError as error:
        raise ValueError(
            f"{path} is of no format that ASE knows; give extxyz, cif, POSCAR or LAMMPS "
            "data."
        ) from error
    several = read if isinstance(read, list) else [read]
    try:
        for atoms in several:
            _require_filled(atoms)
        return [from_ase(atoms) for atoms in several]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _require_filled(atoms: "ase.Atoms") -> None:
    """Refuse positions that a CIF fills in part: they are no configuration of atoms."""
    for number, share in atoms.info.get("occupancy", {}).items():
        if len(share) != 1 or min(share.values()) < _FILLED:
            words = " and ".join(f"{n:g} {symbol}" for symbol, n in share.items())
            raise ValueError(
                f"position {number} holds {words}, but atoms are whole; give an ordered "
                "structure, such as one of those that pymatgen or supercell makes of it."
            )


_MOST_BYTES = 1 << 30
_FILLED = 0.999  # of a position; CIFs are rounded
_UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError, StopIteration, SyntaxError,
)  # fmt: skip
"""What ASE's readers raise for a file that is cut off or damaged."""


def _is_lammps_data(path: Path) -> bool:
    """By its name, or by the header."""
    if path.suffix in (".data", ".lmp"):
        return True
    with path.open("rb") as file:
        head = file.read(4096)
    return bool(re.search(rb"^ *\d+ +atom types\b", head, flags=re.MULTILINE))


FARTHEST = 1e6
"""Å; what is further away is no coordinate."""


def cell_volume(cell: Float[np.ndarray, "3 3"]) -> float:
    """Volume of the cell, Å^3."""
    return float(abs(np.linalg.det(cell)))


ONE_PLACE = 0.01
"""Å; atoms that are closer are one atom written twice."""


def require_apart(
    position: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    periodic: Bool[np.ndarray, "3"] | tuple[bool, bool, bool],
) -> None:
    """Raise `ValueError` where two atoms, or images of them, are at one place.

    There an energy has no meaning, and its derivatives are not numbers.
    """
    from ase.geometry import complete_cell
    from scipy.spatial import KDTree

    whole = complete_cell(cell)
    inverse = np.linalg.inv(whole)
    turn, repeats = position @ inverse, np.asarray(periodic)
    radius = 1 / np.linalg.norm(inverse, axis=0) / (2 * np.pi)
    # each lattice direction on a circle as long as the cell is high, so that images meet
    angle = 2 * np.pi * turn
    circle = np.where(repeats, np.sin(angle), angle), np.where(repeats, np.cos(angle), 0)
    tree = KDTree(np.hstack([part * radius for part in circle]))
    for one, other in sorted(tree.query_pairs(np.sqrt(3) * ONE_PLACE)):
        apart = turn[one] - turn[other]
        distance = float(np.linalg.norm((apart - np.round(apart) * repeats) @ whole))
        if distance < ONE_PLACE:
            raise ValueError(
                f"atoms {one} and {other} (counted from 0) are {distance:.2g} Å apart, at "
                "one place; remove one of them."
            )


def _checked(system: System) -> System:
    if len(system.position) == 0:
        raise ValueError("The structure has 0 atoms; at least one is needed.")
    bad = np.flatnonzero(~np.isfinite(system.position).all(axis=-1))
    if len(bad):
        raise ValueError(
            f"The position of atom {bad[0]} is {system.position[bad[0]]} ({len(bad)} atoms "
            "in all are not finite); repair the structure file."
        )
    absurd = np.flatnonzero(abs(np.asarray(system.position)).max(axis=-1) > FARTHEST)
    if len(absurd) or abs(np.asarray(system.cell)).max() > FARTHEST:
        what = f"atom {absurd[0]}" if len(absurd) else "the cell"
        raise ValueError(
            f"The structure reaches beyond {FARTHEST:g} Å ({what}), as no crystal does; "
            "its unit is not Å, or the file is damaged."
        )
    if system.velocity is not None and not np.isfinite(system.velocity).all():
        raise ValueError("A velocity is not finite; repair the file or drop velocities.")
    if all(system.periodic) and not cell_volume(system.cell) > 1e-6:
        raise ValueError(
            f"The cell has volume {cell_volume(system.cell)} Å^3; a periodic system needs "
            "three lattice vectors that span a volume. Set the cell in the file."
        )
    if not (np.asarray(system.mass) > 0).all():
        raise ValueError(f"The least mass is {np.min(system.mass)} u; masses must be > 0.")
    require_apart(np.asarray(system.position), np.asarray(system.cell), system.periodic)
    return system


def _flags(pbc: np.ndarray) -> tuple[bool, bool, bool]:
    x, y, z = (bool(flag) for flag in pbc)
    return x, y, z
