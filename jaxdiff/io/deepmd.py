"""DeePMD's folders of labelled frames: npy, npy of mixed compositions, and raw text.

A system is a folder with `type.raw`, an index per atom into the symbols of `type_map.raw`.
Its frames lie in `set.*/NAME.npy`, or in `NAME.raw` beside it, a row for each frame: box,
coord, energy, force, virial (eV, Å; the virial is minus stress times volume). In the mixed
format `set.*/real_atom_types.npy` has the types of each frame, and -1 marks no atom
(https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html).
"""

from collections.abc import Iterator
from pathlib import Path

import ase.data
import numpy as np

from jaxdiff.io.frame import Frame, sound, stress_label

Rows = dict[str, np.ndarray]
"""Of one set, by name: an array [frames, numbers]."""


def read_deepmd(path: Path) -> Iterator[Frame]:
    """The frames of a system, or of all systems below the folder, in their order."""
    systems = sorted(file.parent for file in path.rglob("type.raw"))
    if not systems:
        raise ValueError(
            f"{path} is a folder without type.raw; a folder of data is in DeePMD's npy, "
            "mixed or raw format. Give such a folder, or files that ASE reads."
        )
    for system in systems:
        yield from _read_system(system, str(system.relative_to(path.parent)))


def _read_system(system: Path, name: str) -> Iterator[Frame]:
    numbers = _numbers(system)
    types = _loaded(system / "type.raw").astype(int).ravel()
    periodic = not (system / "nopbc").exists()
    count = 0
    for part in sorted(p for p in system.glob("set.*") if p.is_dir()) or [system]:
        rows = _rows(part, types)
        if periodic and "box" not in rows:
            raise ValueError(
                f"{part} has coordinates and no box; add the cells, or a file named nopbc "
                "to its system where there are none."
            )
        for k in range(len(rows["coord"])):
            row = {key: value[k] for key, value in rows.items()}
            yield _frame(row, numbers, periodic, f"{name}, frame {count}")
            count += 1
    if not count:
        raise ValueError(f"{system} has no frames: neither set.*/coord.npy nor coord.raw.")


def _numbers(system: Path) -> np.ndarray:
    """Atomic numbers by type."""
    file = system / "type_map.raw"
    if not file.is_file():
        raise ValueError(
            f"{system} has no type_map.raw, so the elements of its types are not known; "
            "write their symbols into one, in the order of the types."
        )
    symbols = file.read_text().split()
    unknown = [s for s in symbols if s not in ase.data.atomic_numbers]
    if unknown:
        raise ValueError(
            f"{file} names {', '.join(unknown)}, which are no elements; write chemical "
            "symbols, in the order of the types."
        )
    return np.array([ase.data.atomic_numbers[s] for s in symbols], np.int32)


def _rows(part: Path, types: np.ndarray) -> Rows:
    """What a set holds, with as many numbers in a row as its atoms need."""
    n_atoms, rows = len(types), {}
    sizes = {"coord": 3 * n_atoms, "box": 9, "energy": 1, "force": 3 * n_atoms}
    for name, size in {**sizes, "virial": 9, "real_atom_types": n_atoms}.items():
        files = [part / f"{name}.npy", part / f"{name}.raw"]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            continue
        array = _loaded(file)
        n_frames = len(rows["coord"]) if "coord" in rows else array.size // size
        if array.size != n_frames * size:
            raise ValueError(
                f"{file} has {array.size} numbers; with the {n_atoms} atoms of type.raw "
                f"{size} for each of {n_frames} frames are wanted."
            )
        rows[name] = array.reshape(-1, size)
    rows.setdefault("coord", np.zeros((0, 3 * n_atoms)))
    return {"real_atom_types": np.tile(types, (len(rows["coord"]), 1))} | rows


def _loaded(file: Path) -> np.ndarray:
    try:
        if file.suffix == ".npy":
            return np.load(file, allow_pickle=False)
        return np.array(file.read_text().split(), np.float64)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}.") from None


def _frame(row: Rows, numbers: np.ndarray, periodic: bool, where: str) -> Frame:
    types = row["real_atom_types"].astype(int)
    real = types >= 0  # -1 fills up the frames of a mixed set
    if types.max() >= len(numbers):
        raise ValueError(
            f"{where} has an atom of type {types.max()}, and type_map.raw names "
            f"{len(numbers)} elements, of types 0 to {len(numbers) - 1}; add the others."
        )
    cell = np.zeros((3, 3))
    if periodic:
        cell = row["box"].reshape(3, 3).astype(np.float64)
    forces = row.get("force")
    if forces is not None:
        forces = forces.reshape(-1, 3)[real].astype(np.float64)
    return sound(
        Frame(
            atomic_number=numbers[types[real]],
            position=row["coord"].reshape(-1, 3)[real].astype(np.float64),
            cell=cell,
            pbc=np.array([periodic] * 3),
            energy=float(row["energy"][0]) if "energy" in row else None,
            forces=forces,
            stress=stress_label(None, row.get("virial"), cell, where),
            config_type=Path(where.rpartition(", frame ")[0]).name,
            source=where,
        )
    )
