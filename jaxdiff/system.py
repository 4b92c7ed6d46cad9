"""A crystal as arrays: species, masses, positions, cell; the way in and out of ASE."""

import operator
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.struct
import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import ase

LITHIUM, FLUORINE = 3, 9

LITHIUM_FLUORIDE_LATTICE = 4.083428
"""Edge of the conventional LiF cell, Å: PBE, Materials Project mp-1138."""


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

    atomic_number: Any
    mass: Any
    position: Any
    velocity: Any
    cell: Any
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


def tetrahedral_sites(
    supercell: int | tuple[int, int, int], lattice_constant: float
) -> Float[np.ndarray, "sites 3"]:
    """The eight (±1/4, ±1/4, ±1/4) sites of each conventional rock-salt cell, Å."""
    corner = _cell_corners(supercell)
    inside = np.array(list(np.ndindex(2, 2, 2))) / 2 + 0.25
    return lattice_constant * (corner[:, None] + inside).reshape(-1, 3)


def rock_salt_interstitial(
    supercell: int | tuple[int, int, int],
    lattice_constant: float = LITHIUM_FLUORIDE_LATTICE,
    *,
    site: int = 0,
) -> System:
    """Rock-salt LiF with one more Li at a tetrahedral site; the cell is not relaxed.

    Order of the atoms: lattice Li, the interstitial Li, F.

    - `supercell`: conventional cells (8 atoms each) along x, y, z, or one number for all.
    - `lattice_constant`: edge of the conventional cell, Å.
    - `site`: index into `tetrahedral_sites`. All of them are equivalent by symmetry, so
      the choice only tells replicas apart.
    """
    repeats = _repeats(supercell)
    if not lattice_constant > 0:
        raise ValueError(
            f"lattice_constant={lattice_constant} Å; it must be positive "
            f"({LITHIUM_FLUORIDE_LATTICE} Å for LiF in PBE)."
        )
    sites = tetrahedral_sites(repeats, lattice_constant)
    if not 0 <= site < len(sites):
        raise ValueError(
            f"site={site}, but a {repeats[0]}x{repeats[1]}x{repeats[2]} supercell has "
            f"{len(sites)} tetrahedral sites; use 0 to {len(sites) - 1}."
        )
    corner = _cell_corners(repeats)
    faces = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    lithium = lattice_constant * (corner[:, None] + faces).reshape(-1, 3)
    fluorine = lithium + np.array([lattice_constant / 2, 0.0, 0.0])
    n_lithium, n_fluorine = len(lithium) + 1, len(fluorine)
    return System(
        atomic_number=np.repeat(
            np.array([LITHIUM, FLUORINE], dtype=np.int32), [n_lithium, n_fluorine]
        ),
        mass=np.repeat([6.941, 18.9984032], [n_lithium, n_fluorine]),
        position=np.concatenate([lithium, sites[site : site + 1], fluorine]),
        velocity=None,
        cell=lattice_constant * np.diag(np.asarray(repeats, dtype=np.float64)),
    )


def read_lammps_state(path: str | Path) -> System:
    """Read a LAMMPS data file (`units metal`): atoms by id, unwrapped, with velocities.

    Species come from the masses of the atom types; image flags are undone, so that
    `position` continues the trajectory that wrote the file.
    """
    from ase.io.lammpsdata import read_lammps_data

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a LAMMPS data file (write_data).")
    text = path.read_text()
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
    return from_ase(
        read_lammps_data(
            str(path),
            units="metal",
            sort_by_id=True,
            read_image_flags=True,
            atom_style=style.group(1) if style else None,
        )
    )


def read_structure(path: str | Path) -> System:
    """Read a structure: LAMMPS data (`.data`, `.lmp`) or any format that ASE knows."""
    import ase.io

    path = Path(path)
    if path.suffix in (".data", ".lmp"):
        return read_lammps_state(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a structure file (xyz, cif, data).")
    atoms = ase.io.read(path)
    return from_ase(atoms[-1] if isinstance(atoms, list) else atoms)


def cell_volume(cell: Float[np.ndarray, "3 3"]) -> float:
    """Volume of the cell, Å^3."""
    return float(abs(np.linalg.det(cell)))


def _checked(system: System) -> System:
    if len(system.position) == 0:
        raise ValueError("The structure has 0 atoms; at least one is needed.")
    bad = np.flatnonzero(~np.isfinite(system.position).all(axis=-1))
    if len(bad):
        raise ValueError(
            f"The position of atom {bad[0]} is {system.position[bad[0]]} ({len(bad)} atoms "
            "in all are not finite); repair the structure file."
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
    return system


def _flags(pbc: np.ndarray) -> tuple[bool, bool, bool]:
    x, y, z = (bool(flag) for flag in pbc)
    return x, y, z


def _repeats(supercell: int | tuple[int, int, int]) -> tuple[int, int, int]:
    given = (
        (operator.index(supercell),) * 3
        if not isinstance(supercell, tuple | list)
        else tuple(operator.index(n) for n in supercell)
    )
    if len(given) != 3 or min(given) < 1:
        raise ValueError(
            f"supercell={supercell}; give one number of conventional cells, or three, "
            "each at least 1, such as 3 or (3, 3, 3)."
        )
    return given[0], given[1], given[2]


def _cell_corners(supercell: int | tuple[int, int, int]) -> np.ndarray:
    return np.array(list(np.ndindex(*_repeats(supercell))), dtype=np.float64)
