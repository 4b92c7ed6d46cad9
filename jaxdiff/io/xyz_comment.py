"""The comment line of an XYZ frame: extended XYZ, CP2K's, LAMMPS's, or free text.

Extended: https://github.com/libAtoms/extxyz, keys in large or small letters; written by
ASE, LAMMPS (`Timestep`, `Time`), GPUMD (`Time`), OVITO (`Origin`). CP2K: `i = 10, time =
5.000, E = -17.1`, in fs. LAMMPS's plain XYZ: `Atoms. Timestep: 100`.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from jaxdiff.io.lines import excerpt, numbers, whole_number

_CP2K = re.compile(rb"\s*i\s*=\s*(\d+),\s*time\s*=\s*([-+.\deE]+)")
_PLAIN_STEP = re.compile(rb"(?i)\btime\s?step[:=]?\s*(\d+)")
_FREE, _PERIODIC = ("f", "false", "0", "n", "no"), ("t", "true", "1", "p", "pp", "yes")
_TIMES = (("time_ps", 1.0), ("time_fs", 1e-3))
_STEPS = ("timestep", "step")


@dataclasses.dataclass(frozen=True)
class Comment:
    """What the comment line says; `properties` are of the columns.

    - `time`: ps where `time_stated`, else as it stands.
    - `cell` [3, 3], Å, and `origin` [3], Å, of its corner; None where there is none.
    """

    cell: np.ndarray | None
    origin: np.ndarray
    periodic: tuple[bool, bool, bool]
    step: int | None
    time: float | None
    time_stated: bool
    properties: str


def read_comment(line: bytes, where: str) -> Comment:
    """Read a comment line; `where` names its frame in the error."""
    if (cp2k := _CP2K.match(line)) is not None:
        (time_fs,) = numbers(cp2k[2], f"{where}: the time of CP2K")
        return _plain(int(cp2k[1]), 1e-3 * time_fs)
    if re.search(rb"(?i)\b(lattice|properties=)", line):
        return _extended(line, where)
    step = _PLAIN_STEP.search(line)
    return _plain(int(step[1]) if step else None, None)


def _plain(step: int | None, time_ps: float | None) -> Comment:
    columns = "species:S:1:pos:R:3"
    stated = time_ps is not None
    return Comment(None, np.zeros(3), (True, True, True), step, time_ps, stated, columns)


def _extended(line: bytes, where: str) -> Comment:
    from ase.io.extxyz import key_val_str_to_dict

    try:
        info: dict[str, Any] = key_val_str_to_dict(line.decode().strip())
        info = {key.lower(): value for key, value in info.items()}
        cell = _cell(info.get("lattice"))
        origin = np.asarray(info.get("origin", np.zeros(3)), float)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{where}: the comment {excerpt(line)} is not extended XYZ ({error})."
        ) from None
    if cell is not None and cell.shape != (3, 3) or origin.shape != (3,):
        size = origin.size if cell is None or cell.shape == (3, 3) else cell.size
        raise ValueError(
            f"{where}: Lattice should have 9 numbers and Origin 3, got {size}."
        )
    time, stated = time_of(info, where)
    properties = str(info.get("properties", "species:S:1:pos:R:3"))
    periodic = periodic_of(info.get("pbc", True), where)
    return Comment(cell, origin, periodic, step_of(info, where), time, stated, properties)


def _cell(lattice: Any) -> np.ndarray | None:
    """Rows of the cell: ASE gives columns of a Lattice, and else the numbers in a row."""
    if lattice is None:
        return None
    numbers = np.asarray(lattice, float)
    if numbers.shape == (3,):
        return np.diag(numbers)
    return numbers.reshape(3, 3) if numbers.shape == (9,) else numbers.T


def periodic_of(given: Any, where: str) -> tuple[bool, bool, bool]:
    """Boundaries from "T T T", "1 1 1", "True, True, True", lists, or one for all."""
    text = given if isinstance(given, str) else " ".join(map(str, np.ravel(given)))
    words = re.sub(r"[\[\](){},;'\"]", " ", text).lower().split()
    if len(words) == 1 and len(words[0]) == 3:  # TTT
        words = list(words[0])
    flags = [word in _PERIODIC for word in words]
    if len(words) not in (1, 3) or any(w not in _FREE + _PERIODIC for w in words):
        raise ValueError(f'{where}: pbc is {text[:40]!r}; write it as pbc="T T T".')
    x, y, z = flags * (3 // len(flags))
    return x, y, z


def time_of(info: dict[str, Any], where: str) -> tuple[float | None, bool]:
    """Time of a frame from its keys, and whether its unit is stated: then it is in ps."""
    keys = {str(key).lower(): key for key in info}
    for name, factor in (*_TIMES, ("time", 1.0)):
        if name in keys:
            try:
                return factor * float(info[keys[name]]), name != "time"
            except (TypeError, ValueError):
                value = str(info[keys[name]])[:40]
                raise ValueError(
                    f"{where}: {keys[name]} should be a number, got {value!r}."
                ) from None
    return None, False


def step_of(info: dict[str, Any], where: str) -> int | None:
    """MD step of a frame from its keys."""
    keys = {str(key).lower(): key for key in info}
    for name in _STEPS:
        if name in keys:
            text = str(info[keys[name]]).removesuffix(".0").encode()
            return whole_number(text, f"{where}: {keys[name]}")
    return None
