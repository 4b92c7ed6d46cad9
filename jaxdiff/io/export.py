"""Trajectories written for other programs: LAMMPS dump, extended XYZ, XDATCAR, H5MD, .traj.

All stream: frames are written as they come. Positions are written unwrapped, times too,
except in XDATCAR, which has none.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Integer

from jaxdiff.io.trajectory import FORMATS, Frames

_SUFFIXES = {
    ".lammpstrj": "lammps",
    ".dump": "lammps",
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".h5": "h5md",
    ".h5md": "h5md",
    ".traj": "traj",
}
_DECIMALS = "%.10f"  # 1e-10 Å: below what float32 programs keep
_TRIANGULAR = 1e-8  # Å; LAMMPS's boxes have a along x and b in the xy plane


@dataclasses.dataclass(frozen=True)
class _Atoms:
    """What all frames have in common."""

    atomic_number: Integer[np.ndarray, " atoms"]
    symbols: list[str]
    periodic: tuple[bool, bool, bool]
    timestep_fs: float

    def step(self, time_ps: float) -> int:
        """Whole time steps."""
        step = 1e3 * time_ps / self.timestep_fs
        if abs(step - round(step)) > 1e-4:
            raise ValueError(
                f"A frame at {time_ps:g} ps is not at a whole number of steps of "
                f"timestep_fs={self.timestep_fs:g}; give one that divides the times."
            )
        return round(step)


def write_trajectory(
    path: str | Path,
    frames: Iterable[Frames],
    *,
    atomic_number: Integer[np.ndarray, " atoms"],
    periodic: tuple[bool, bool, bool] = (True, True, True),
    timestep_fs: float = 1.0,
    file_format: str | None = None,
) -> int:
    """Write frames to a new file, and return how many.

    - `atomic_number` [N]: LAMMPS types are 1, 2, ... in ascending atomic number.
    - `timestep_fs`: the unit of step numbers, in LAMMPS dumps and H5MD.
    - `file_format`: lammps, extxyz, xdatcar, h5md or traj; by default from the name.
    """
    from ase.data import chemical_symbols

    path = Path(path)
    if path.exists():
        raise ValueError(f"{path} exists already; give another name, or move it away.")
    if not timestep_fs > 0:
        raise ValueError(f"timestep_fs={timestep_fs}; it must be positive.")
    form = file_format or _SUFFIXES.get(path.suffix.lower(), path.name.lower())
    writers: dict[str, Callable[[Path, Iterator[Frames], _Atoms], int]] = {
        "lammps": _write_lammps,
        "extxyz": _write_extxyz,
        "xdatcar": _write_xdatcar,
        "h5md": _write_h5md,
        "traj": _write_traj,
    }
    if form not in writers:
        raise ValueError(
            f"{path}: the format is not clear; say --file-format, one of "
            f"{', '.join(FORMATS)}, or a name that ends in one of {', '.join(_SUFFIXES)}."
        )
    symbols = [chemical_symbols[z] for z in atomic_number]
    atoms = _Atoms(np.asarray(atomic_number), symbols, periodic, timestep_fs)
    try:
        return writers[form](path, _checked(frames, len(symbols)), atoms)
    except ValueError:
        path.unlink(missing_ok=True)  # so that the call can be repeated
        raise


def _checked(frames: Iterable[Frames], n_atoms: int) -> Iterator[Frames]:
    for chunk in frames:
        if chunk.position.shape[1:] != (n_atoms, 3):
            raise ValueError(
                f"Frames have {chunk.position.shape[1]} atoms, atomic_number {n_atoms}; "
                "they must agree."
            )
        if not (np.isfinite(chunk.position).all() and np.isfinite(chunk.cell).all()):
            raise ValueError("A position or cell is not finite; repair it before writing.")
        yield chunk


def _each(
    frames: Iterator[Frames],
) -> Iterator[tuple[Float[np.ndarray, "atoms 3"], Float[np.ndarray, "3 3"], float]]:
    for chunk in frames:
        yield from zip(chunk.position, chunk.cell, chunk.time_ps.tolist(), strict=True)


def _write_text(
    path: Path,
    frames: Iterator[Frames],
    rows: list[str],
    head: Callable[[np.ndarray, float, int], str],
    scaled: bool = False,
) -> int:
    """Frames of a head and one row per atom; a row is a format of three numbers."""
    table, count = "\n".join(rows) + "\n", 0
    with path.open("w", encoding="ascii") as file:
        for position, cell, time_ps in _each(frames):
            coordinates = position @ np.linalg.inv(cell) if scaled else position
            file.write(head(cell, time_ps, count))
            file.write(table % tuple(coordinates.ravel().tolist()))
            count += 1
    return count


def _write_lammps(path: Path, frames: Iterator[Frames], atoms: _Atoms) -> int:
    type_of = {z: k for k, z in enumerate(np.unique(atoms.atomic_number).tolist(), 1)}
    numbers = " ".join([_DECIMALS] * 3)
    rows = [
        f"{k} {type_of[z]} {symbol} {numbers}"
        for k, (z, symbol) in enumerate(
            zip(atoms.atomic_number.tolist(), atoms.symbols, strict=True), 1
        )
    ]
    flags = " ".join("pp" if flag else "ff" for flag in atoms.periodic)

    def head(cell: np.ndarray, time_ps: float, count: int) -> str:
        return (
            f"ITEM: TIMESTEP\n{atoms.step(time_ps)}\n"
            f"ITEM: NUMBER OF ATOMS\n{len(rows)}\n"
            f"ITEM: BOX BOUNDS {_lammps_box(cell, flags)}"
            "ITEM: ATOMS id type element xu yu zu\n"
        )

    return _write_text(path, frames, rows, head)


def _lammps_box(cell: Float[np.ndarray, "3 3"], flags: str) -> str:
    """Style and bounds of a box with its corner at 0."""
    if abs(cell[np.triu_indices(3, 1)]).max() > _TRIANGULAR or min(np.diag(cell)) <= 0:
        raise ValueError(
            "LAMMPS's boxes have a along x, b in the xy plane and c upwards, but the cell "
            f"is {cell.tolist()}; write extxyz, or rotate positions and cell."
        )
    x, y, z = np.diag(cell).tolist()
    xy, xz, yz = cell[1, 0].item(), cell[2, 0].item(), cell[2, 1].item()
    if not (xy or xz or yz):
        return f"{flags}\n" + "".join(f"0.0 {edge:.12f}\n" for edge in (x, y, z))
    low = min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0
    high = x + max(0.0, xy, xz, xy + xz), y + max(0.0, yz), z
    bounds = zip(low, high, (xy, xz, yz), strict=True)
    return f"xy xz yz {flags}\n" + "".join(f"{_words(row)}\n" for row in bounds)


def _words(lengths: Iterable[float]) -> str:
    return " ".join(f"{x:.12f}" for x in lengths)


def _write_extxyz(path: Path, frames: Iterator[Frames], atoms: _Atoms) -> int:
    flags = " ".join("T" if flag else "F" for flag in atoms.periodic)
    rows = [f"{symbol} {' '.join([_DECIMALS] * 3)}" for symbol in atoms.symbols]

    def head(cell: np.ndarray, time_ps: float, count: int) -> str:
        return (
            f'{len(rows)}\nLattice="{_words(cell.ravel())}" Properties=species:S:1:pos:R:3 '
            f'pbc="{flags}" time_ps={time_ps!r}\n'
        )

    return _write_text(path, frames, rows, head)


def _write_xdatcar(path: Path, frames: Iterator[Frames], atoms: _Atoms) -> int:
    """Direct coordinates, with the cell before every frame as for variable cells."""
    if not all(atoms.periodic):
        raise ValueError(
            f"XDATCAR is periodic in all directions, but periodic={atoms.periodic}; write "
            "another format."
        )
    runs = [(symbol, len(list(run))) for symbol, run in itertools.groupby(atoms.symbols)]
    kinds = " ".join(symbol for symbol, _ in runs)
    counts = " ".join(str(count) for _, count in runs)
    rows = [" ".join([_DECIMALS] * 3)] * len(atoms.symbols)

    def head(cell: np.ndarray, time_ps: float, count: int) -> str:
        lattice = "".join(f"{_words(row)}\n" for row in cell)
        return (
            f"jaxdiff\n1.0\n{lattice}{kinds}\n{counts}\n"
            f"Direct configuration= {count + 1:5d}\n"
        )

    return _write_text(path, frames, rows, head, scaled=True)


def _write_traj(path: Path, frames: Iterator[Frames], atoms: _Atoms) -> int:
    import ase
    from ase.io.trajectory import TrajectoryWriter

    count = 0
    with TrajectoryWriter(str(path), "w") as writer:
        for position, cell, time_ps in _each(frames):
            writer.write(
                ase.Atoms(
                    numbers=atoms.atomic_number,
                    positions=position,
                    cell=cell,
                    pbc=atoms.periodic,
                    info={"time_ps": time_ps},
                )
            )
            count += 1
    return count


def _write_h5md(path: Path, frames: Iterator[Frames], atoms: _Atoms) -> int:
    """H5MD 1.1 (doi:10.1016/j.cpc.2014.01.018); images are 0: positions are absolute."""
    n_atoms = len(atoms.symbols)
    with h5py.File(path, "w") as file:
        group = _h5md_skeleton(file, atoms)
        step = file.create_dataset(f"{group}/position/step", (0,), "i8", maxshape=(None,))
        time = file.create_dataset(f"{group}/position/time", (0,), "f8", maxshape=(None,))
        time.attrs["unit"] = "ps"
        position = _growing(file, f"{group}/position/value", (n_atoms, 3), "f8")
        edges = _growing(file, f"{group}/box/edges/value", (3, 3), "f8")
        image = _growing(file, f"{group}/image/value", (n_atoms, 3), "i4")  # not stored
        position.attrs["unit"] = edges.attrs["unit"] = "Angstrom"
        for name in ("box/edges", "image"):
            file[f"{group}/{name}/step"], file[f"{group}/{name}/time"] = step, time
        for chunk in frames:
            start = step.shape[0]
            stop = start + len(chunk.time_ps)
            for dataset in (step, time, position, edges, image):
                dataset.resize(stop, axis=0)
            step[start:] = [atoms.step(t) for t in chunk.time_ps.tolist()]
            time[start:] = chunk.time_ps
            position[start:] = chunk.position
            edges[start:] = chunk.cell
            file.flush()
        return step.shape[0]


def _h5md_skeleton(file: h5py.File, atoms: _Atoms) -> str:
    """What does not change in time; returns the group of the particles."""
    from importlib.metadata import version

    file.create_group("h5md").attrs["version"] = np.array([1, 1], "i4")
    file.create_group("h5md/author").attrs["name"] = "unknown"
    creator = file.create_group("h5md/creator").attrs
    creator["name"], creator["version"] = "jaxdiff", version("jaxdiff")
    units = file.create_group("h5md/modules/units").attrs
    units["version"], units["system"] = np.array([1, 0], "i4"), "SI"
    box = file.create_group("particles/all/box").attrs
    box["dimension"] = 3
    box["boundary"] = ["periodic" if flag else "none" for flag in atoms.periodic]
    kinds = dict(zip(atoms.symbols, atoms.atomic_number.tolist(), strict=True))
    file.create_dataset(
        "particles/all/species",
        data=atoms.atomic_number.astype("i4"),
        dtype=h5py.enum_dtype(kinds, basetype="i4"),
    )
    return "particles/all"


def _growing(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> Any:
    """A dataset [frames, ...] of no frames yet, in blocks of about 1 MB."""
    block = max(1, (1 << 20) // (8 * int(np.prod(shape))))
    return file.create_dataset(
        name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(block, *shape)
    )
