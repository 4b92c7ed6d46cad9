"""Frames of a LAMMPS text dump: what each says before its atoms, and the lines of these.

https://docs.lammps.org/dump.html: boxes orthogonal, restricted triclinic (bounds of the
bounding box) or general. Lengths are Å: units are metal, or real, as the file may say
(`dump_modify units yes`); only then is the unit of its times known.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxdiff.io.lines import Lines, excerpt, numbers, whole_number
from jaxdiff.io.trajectory_source import Tally

_ITEM = b"ITEM:"
_TIME_PS = {"metal": 1.0, "real": 1e-3}


@dataclasses.dataclass(frozen=True)
class Head:
    """What a frame says before its atoms; `where` names the frame in errors.

    - `time`: ps where `time_stated`, else in the file's unit.
    - `origin` [3], `cell` [3, 3], Å: corner and rows of the box.
    """

    where: str
    step: int
    time: float | None
    time_stated: bool
    n_atoms: int
    origin: np.ndarray
    cell: np.ndarray
    periodic: tuple[bool, bool, bool]
    columns: tuple[str, ...]


def read_blocks(path: Path, lines: Lines, tally: Tally) -> Iterator[tuple[Head, bytes]]:
    """Head and atom lines of every complete frame; a frame that breaks off is counted.

    A run that was killed and restarted with append leaves its last frame cut short in the
    middle of the file, possibly within a line: reading goes on at the next frame.
    """
    index, units = 0, ""
    while line := lines.line():
        lines.back(len(line))
        items = _items(path, lines, index)
        if items is None:
            tally.incomplete += 1
            continue
        units = items.get("UNITS", units.encode()).decode("ascii", "replace").strip()
        head = _head(items, units, f"{path}, frame {index}")
        text = lines.rows(head.n_atoms, _ITEM)
        if text is None:
            tally.incomplete += 1
            continue
        yield head, text
        index += 1


def _items(path: Path, lines: Lines, index: int) -> dict[str, bytes] | None:
    """The items of one frame up to the atoms' header; None if it breaks off before."""
    items: dict[str, bytes] = {}
    while line := lines.line():
        again = line.rfind(_ITEM)
        if again > 0 or (line.startswith(b"ITEM: TIMESTEP") and "TIMESTEP" in items):
            lines.back(len(line) - again)
            return None
        if not line.endswith(b"\n"):
            return None
        if again < 0:
            raise ValueError(
                f"{path}, frame {index}: a line with 'ITEM:' should come, got "
                f"{excerpt(line)}; this is no LAMMPS dump, or it is damaged."
            )
        name = line[len(_ITEM) :].decode("ascii", "replace").strip()
        if name.startswith("ATOMS"):
            items["ATOMS"] = name[len("ATOMS") :].encode()
            return items
        boxed = name.startswith("BOX BOUNDS")
        text = lines.take(3 if boxed else 1, _ITEM)
        if text is None:
            return None
        items["BOX BOUNDS" if boxed else name] = text
        if boxed:
            items["BOX STYLE"] = name[len("BOX BOUNDS") :].encode()
    return None


def _head(items: dict[str, bytes], units: str, where: str) -> Head:
    for name in ("TIMESTEP", "NUMBER OF ATOMS", "BOX BOUNDS"):
        if name not in items:
            raise ValueError(f"{where} has no 'ITEM: {name}'; it is not a LAMMPS dump.")
    if units and units not in _TIME_PS:
        raise ValueError(
            f"{where} is in units {units[:20]!r}; only metal and real (Å) are read."
        )
    step = whole_number(items["TIMESTEP"], f"{where}: the time step")
    where = f"{where} (step {step})"
    n_atoms = whole_number(items["NUMBER OF ATOMS"], f"{where}: the number of atoms")
    if n_atoms < 1:
        raise ValueError(f"{where} has {n_atoms} atoms; at least one is needed.")
    time_of_frame = None
    if "TIME" in items:
        time = numbers(items["TIME"], f"{where}: the time")
        time_of_frame = time[0] * _TIME_PS.get(units, 1.0) if len(time) == 1 else None
    style = items["BOX STYLE"].decode("ascii", "replace").split()
    origin, cell = _box(items["BOX BOUNDS"], style, where)
    flags = [word for word in style if len(word) == 2 and set(word) <= set("pfsm")]
    x, y, z = [flag == "pp" for flag in flags] if len(flags) == 3 else [True] * 3
    columns = tuple(items["ATOMS"].decode("ascii", "replace").split())
    if not columns:
        raise ValueError(f"{where} does not name its columns; dump style custom or atom.")
    return Head(
        where=where,
        step=step,
        time=time_of_frame,
        time_stated=bool(units),
        n_atoms=n_atoms,
        origin=origin,
        cell=cell,
        periodic=(x, y, z),
        columns=columns,
    )


def _box(
    text: bytes, style: list[str], where: str
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"]]:
    """Corner and rows of the box, Å (https://docs.lammps.org/Howto_triclinic.html)."""
    rows = [numbers(line, f"{where}: the box") for line in text.splitlines()]
    width = 4 if style[:1] == ["abc"] else 3 if style[:1] == ["xy"] else 2
    if [len(row) for row in rows] != [width] * 3:
        raise ValueError(
            f"{where}: the box should have 3 rows of {width} numbers, got {rows}."
        )
    table = np.array(rows)
    if width == 4:
        return table[:, 3], table[:, :3]
    low, high = table[:, 0].copy(), table[:, 1].copy()
    xy, xz, yz = table[:, 2] if width == 3 else (0.0, 0.0, 0.0)
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    edge = high - low
    return low, np.array([[edge[0], 0, 0], [xy, edge[1], 0], [xz, yz, edge[2]]])
