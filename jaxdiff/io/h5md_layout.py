"""What is where in an H5MD file (doi:10.1016/j.cpc.2014.01.018), and in which units.

Units come from the `unit` attributes, or from the user; lengths without one are Å only
where LAMMPS wrote the file, since Å and nm are equally common.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxdiff.io import hdf5
from jaxdiff.io.trajectory_source import Given, Missing, refuse_cell

_LENGTH = {"angstrom": 1.0, "a": 1.0, "å": 1.0, "nm": 10.0, "pm": 0.01}
_OF_H5PY = (RuntimeError, TypeError, UnicodeError)
_LASTING = ("species", "box/edges")  # once for all frames, where there is one
_TIME = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "s": 1e12}


@dataclasses.dataclass(frozen=True)
class Element:
    """A dataset [frames, ...], or one for all frames; `unit` in Å or ps.

    `once`: [1, ...] that stands for all frames, as LAMMPS writes species.
    """

    data: Any
    in_time: bool
    unit: float = 1.0
    once: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame."""
        return self.data.shape[self.in_time or self.once :]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames of a slice; a single one stands for all."""
        if self.in_time:
            return np.asarray(self.data[start:stop])
        values = np.asarray(self.data[()])
        return values if self.once else values[None]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is where in an open file."""

    position: Element
    image: Element | None
    edges: Element
    species: Element | None
    identifier: Element | None
    step: h5py.Dataset | None
    time: h5py.Dataset | None
    time_ps: float
    time_stated: bool
    periodic: tuple[bool, bool, bool]
    n_frames: int
    n_incomplete: int


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """An open file; what HDF5 cannot read becomes a sentence."""
    try:
        with hdf5.opened(path) as file:
            yield file
    except (OSError, LookupError, AttributeError, *_OF_H5PY) as error:
        raise ValueError(
            f"{path} cannot be read as HDF5 ({str(error)[:80]}); if its run was killed, "
            "try h5clear --status --increment, else copy it again."
        ) from None


def read_layout(file: h5py.File, path: Path, given: Given) -> Layout:
    """Where things are in the only group of particles, or in that called all."""
    group, name = _particles(file, path)
    where = f"{path}, particles/{name}"
    position = _element(group, "position", where)
    if position is None or position.data.ndim != 3 or position.data.shape[2] != 3:
        raise ValueError(f"{where} has no position [frames, atoms, 3]; it is not read.")
    length = _unit(position.data, _LENGTH, where)
    length = _stated_length(file, length, given, where)
    edges = _element(group, "box/edges", where)
    periodic = (True, True, True)
    if edges is None and given.cell is None:
        raise Missing(
            "cell",
            f"{where} has no box/edges, so its cell is unknown; give it, such as "
            "--cell-angstrom 20.3,20.3,20.3.",
        )
    if edges is None:
        edges = Element(given.cell, in_time=False, unit=1.0)
    else:
        refuse_cell(path, given)
        edge_unit = _unit(edges.data, _LENGTH, where) or length
        edges, periodic = dataclasses.replace(edges, unit=edge_unit), _boundary(group)
    if edges.shape not in ((3,), (3, 3)):
        raise ValueError(
            f"{where}/box/edges has shape {edges.data.shape}; it should be 3 or 3 x 3 "
            "numbers, fixed or per frame."
        )
    species = _element(group, "species", where)
    if species is None and given.topology is None:
        raise ValueError(
            f"{where} has no species, so its elements are unknown; give a structure file "
            "with the same atoms in the same order by --topology."
        )
    position_group: Any = group["position"]
    time = _numbers(position_group, "time", where)
    time_unit = None if time is None else _unit(time, _TIME, where)
    image, identifier = _element(group, "image", where), _element(group, "id", where)
    step = _numbers(position_group, "step", where)
    n_frames, n_incomplete = _lengths(
        (position, edges, species, image, identifier), step, time, where
    )
    return Layout(
        position=dataclasses.replace(position, unit=length),
        image=image,
        edges=edges,
        species=species,
        identifier=identifier,
        step=step,
        time=time,
        time_ps=time_unit or 1.0,
        time_stated=time_unit is not None,
        periodic=periodic,
        n_frames=n_frames,
        n_incomplete=n_incomplete,
    )


def _particles(file: h5py.File, path: Path) -> tuple[Any, str]:
    particles: Any = file.get("particles", {})
    names = list(particles)
    if "all" in names:
        return particles["all"], "all"
    if len(names) == 1:
        return particles[names[0]], names[0]
    found = f"the groups {', '.join(names)}" if names else "none"
    raise ValueError(
        f"{path} should have one group in /particles, or one called all; it has {found}."
    )


def _numbers(group: Any, name: str, where: str) -> h5py.Dataset | None:
    """A dataset of numbers, if there is one of that name."""
    item = group.get(name)
    is_numbers = isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf"
    if item is not None and not is_numbers:
        raise ValueError(f"{where}/position/{name} holds no numbers; it is not H5MD.")
    return item


def _element(group: Any, name: str, where: str) -> Element | None:
    """A fixed dataset, or the value of a group in time."""
    item = group.get(name)
    if item is None or isinstance(item, h5py.Dataset):
        return None if item is None else Element(item, in_time=False)
    value = item.get("value")
    if not isinstance(value, h5py.Dataset) or value.ndim < 1:
        raise ValueError(f"{where}/{name} has no value [frames, ...]; it is not H5MD.")
    once = name in _LASTING and len(value) == 1
    return Element(value, in_time=not once, once=once)


def _stated_length(
    file: h5py.File, length: float | None, given: Given, where: str
) -> float:
    """Å per unit of length: as the file states it, or LAMMPS's, or as the user says."""
    if length is not None and given.length_unit not in (None, length):
        raise ValueError(f"{where}/position states another unit; leave --length-unit out.")
    creator: Any = file.get("h5md/creator")
    name = "" if creator is None else str(creator.attrs.get("name", ""))
    if length is None and "lammps" in name.lower():
        length = 1.0
    length = given.length_unit if length is None else length
    if length is None:
        raise ValueError(
            f"{where}/position/value has no unit attribute, so its lengths are unknown; "
            "say --length-unit angstrom or --length-unit nm."
        )
    return length


def _lengths(
    elements: tuple[Element | None, ...],
    step: h5py.Dataset | None,
    time: h5py.Dataset | None,
    where: str,
) -> tuple[int, int]:
    """Complete frames, and those (one at most) that a killed run left incomplete."""
    lengths = [e.data.shape[0] for e in elements if e is not None and e.in_time]
    lengths += [d.shape[0] for d in (step, time) if d is not None and d.shape != ()]
    if max(lengths) - min(lengths) > 1:
        raise ValueError(
            f"{where}: position, box, species, step and time have {min(lengths)} to "
            f"{max(lengths)} frames; they must be written together."
        )
    return min(lengths), max(lengths) - min(lengths)


def _unit(dataset: h5py.Dataset, known: dict[str, float], where: str) -> float | None:
    if "unit" not in dataset.attrs:
        return None
    unit: Any = dataset.attrs["unit"]
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    if unit.lower() not in known:
        raise ValueError(
            f"{where}: {dataset.name} is in {unit!r}; known are {', '.join(known)}."
        )
    return known[unit.lower()]


def _boundary(group: Any) -> tuple[bool, bool, bool]:
    given = np.ravel(group["box"].attrs.get("boundary", "periodic"))
    flags = [word in (b"periodic", "periodic") for word in given.tolist()]
    x, y, z = flags if len(flags) == 3 else [flags[0]] * 3
    return x, y, z
