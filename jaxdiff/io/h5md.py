"""H5MD files (doi:10.1016/j.cpc.2014.01.018), read in slices.

Read are `particles/GROUP/position` with `image` where it is there, `box/edges` fixed or in
time, `species`, and `id` where atoms change their order. Units come from the `unit`
attributes; lengths without one are an error, since Å and nm are equally common.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Integer

from jaxdiff.io import trajectory_source as source

_LENGTH = {"angstrom": 1.0, "a": 1.0, "å": 1.0, "nm": 10.0, "pm": 0.01}
_TIME = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "s": 1e12}
_SLICE_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True)
class _Element:
    """A dataset [frames, ...], or one for all frames; `unit` in Å or ps."""

    data: h5py.Dataset
    in_time: bool
    unit: float = 1.0

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames of a slice; a single one stands for all."""
        values = self.data[start:stop] if self.in_time else self.data[()][None]
        return np.asarray(values)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What is where in an open file."""

    position: _Element
    image: _Element | None
    edges: _Element
    species: _Element
    identifier: _Element | None
    step: h5py.Dataset | None
    time: h5py.Dataset | None
    time_ps: float
    time_stated: bool
    periodic: tuple[bool, bool, bool]
    n_frames: int
    n_incomplete: int


def open_h5md(path: Path, species: dict[int, str] | None) -> source.Source:
    """Read the layout and the atoms of the first frame."""
    with _open(path) as file:
        layout = _layout(file, path)
        if layout.n_frames == 0:
            raise source.no_complete_frame(path)
        identifier, kind = _atoms(layout, 0, 1)
        identifier, kind = identifier[0], kind[0]
        order = np.argsort(identifier)
        number = _atomic_number(layout.species.data, kind[order], species, path)

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        with _open(path) as file:
            layout = _layout(file, path)
            tally.incomplete += layout.n_incomplete
            size = max(1, _SLICE_BYTES // (24 * len(number)))
            for start in range(0, layout.n_frames, size):
                stop = min(start + size, layout.n_frames)
                yield from _slice(layout, start, stop, (identifier, kind), path)

    exact = layout.image is not None
    return source.Source(
        format="h5md",
        atomic_number=number,
        periodic=layout.periodic,
        unwrapping="position with image" if exact else "minimum image between frames",
        exact=exact,
        time_stated=layout.time_stated,
        frames=frames,
    )


def _slice(
    layout: _Layout,
    start: int,
    stop: int,
    first: tuple[np.ndarray, np.ndarray],
    path: Path,
) -> Iterator[source.RawFrame]:
    """Raw frames of one slice, which is read once; `first`: ids and kinds of frame 0."""
    position = layout.position.unit * layout.position.read(start, stop).astype(float)
    cell = layout.edges.unit * layout.edges.read(start, stop).astype(float)
    if cell.ndim == 2:
        cell = cell[:, :, None] * np.eye(3)
    cell = np.broadcast_to(cell, (stop - start, 3, 3))
    if layout.image is not None:
        image = layout.image.read(start, stop).astype(float) * layout.periodic
        position = position + image @ cell
    identifiers, kinds = _atoms(layout, start, stop)
    for k in range(stop - start):
        identifier, kind = identifiers[k % len(identifiers)], kinds[k % len(kinds)]
        where = f"{path}, frame {start + k}"

        def load(
            k: int = k,
            identifier: np.ndarray = identifier,
            kind: np.ndarray = kind,
            where: str = where,
        ) -> source.Placement:
            order = _order(identifier, kind, first, where)
            return position[k][order], cell[k]

        step, time = _at(layout.step, start + k), _at(layout.time, start + k)
        yield source.RawFrame(
            None if step is None else round(step),
            None if time is None else layout.time_ps * time,
            load,
        )


def _order(
    identifier: np.ndarray,
    kind: np.ndarray,
    first: tuple[np.ndarray, np.ndarray],
    where: str,
) -> Integer[np.ndarray, " atoms"]:
    """Indices that sort the atoms by id, as in the first frame."""
    order, before = np.argsort(identifier), np.argsort(first[0])
    if not np.array_equal(identifier[order], first[0][before]):
        raise ValueError(
            f"{where} has other particle ids than the first frame; all frames must have "
            "the same atoms."
        )
    if not np.array_equal(kind[order], first[1][before]):
        raise ValueError(
            f"{where} has atoms of another species than the first frame; the species of an "
            "atom may not change."
        )
    return order


def _atoms(layout: _Layout, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and kinds [frames or 1, atoms] in the order of the file."""
    kinds = layout.species.read(start, stop)
    if layout.identifier is None:
        return np.arange(kinds.shape[1])[None], kinds
    return layout.identifier.read(start, stop), kinds


def _at(dataset: h5py.Dataset | None, frame: int) -> float | None:
    """Step or time of a frame; a scalar is an increment, with an offset as attribute."""
    if dataset is None:
        return None
    if dataset.shape == ():
        return float(np.asarray(dataset.attrs.get("offset", 0))) + frame * float(
            dataset[()]
        )
    return float(dataset[frame])


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """An open file; what HDF5 cannot read becomes a sentence."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} cannot be read as HDF5 ({str(error)[:80]}); if its run was killed, "
            "try h5clear --status --increment, else copy it again."
        ) from None


def _layout(file: h5py.File, path: Path) -> _Layout:
    group, name = _particles(file, path)
    where = f"{path}, particles/{name}"
    position = _element(group, "position", where)
    if position is None or position.data.ndim != 3 or position.data.shape[2] != 3:
        raise ValueError(f"{where} has no position [frames, atoms, 3]; it is not read.")
    length = _unit(position.data, _LENGTH, where)
    if length is None:
        raise ValueError(
            f"{where}/position/value has no unit attribute; set it to 'Angstrom' or 'nm'."
        )
    edges = _element(group, "box/edges", where)
    if edges is None:
        raise ValueError(f"{where} has no box/edges, so its cell is unknown; write them.")
    if edges.data.shape[edges.in_time :] not in ((3,), (3, 3)):
        raise ValueError(
            f"{where}/box/edges has shape {edges.data.shape}; it should be 3 or 3 x 3 "
            "numbers, fixed or per frame."
        )
    species = _element(group, "species", where)
    if species is None:
        raise ValueError(
            f"{where} has no species, so its elements are unknown; write them."
        )
    position_group: Any = group["position"]
    time = position_group.get("time")
    time_unit = None if time is None else _unit(time, _TIME, where)
    image, identifier = _element(group, "image", where), _element(group, "id", where)
    step = position_group.get("step")
    n_frames, n_incomplete = _lengths(
        (position, edges, species, image, identifier), step, time, where
    )
    return _Layout(
        position=dataclasses.replace(position, unit=length),
        image=image,
        edges=dataclasses.replace(edges, unit=_unit(edges.data, _LENGTH, where) or length),
        species=species,
        identifier=identifier,
        step=step,
        time=time,
        time_ps=time_unit or 1.0,
        time_stated=time_unit is not None,
        periodic=_boundary(group),
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


def _element(group: Any, name: str, where: str) -> _Element | None:
    """A fixed dataset, or the value of a group in time."""
    item = group.get(name)
    if item is None or isinstance(item, h5py.Dataset):
        return None if item is None else _Element(item, in_time=False)
    value = item.get("value")
    if not isinstance(value, h5py.Dataset) or value.ndim < 1:
        raise ValueError(f"{where}/{name} has no value [frames, ...]; it is not H5MD.")
    return _Element(value, in_time=True)


def _lengths(
    elements: tuple[_Element | None, ...],
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


def _atomic_number(
    dataset: h5py.Dataset,
    kind: Integer[np.ndarray, " atoms"],
    species: dict[int, str] | None,
    path: Path,
) -> Integer[np.ndarray, " atoms"]:
    """Elements from the names of an enumeration, or from the species that were given."""
    names: Any = h5py.check_enum_dtype(dataset.dtype)
    if species is not None:
        known = source.elements_of_types(species, "species")
    elif names:
        used = set(kind.tolist())
        symbols = {v: name for name, v in names.items() if v in used}
        known = source.elements_of_types(symbols, f"{path}: the enumeration of species")
    else:
        raise ValueError(
            f"{path} numbers its species without names; say which is which, such as "
            'species={1: "Li", 2: "F"}.'
        )
    unknown = sorted(set(kind.tolist()) - set(known))
    if unknown:
        raise ValueError(
            f"{path} has species {unknown[0]}, but only {sorted(known)} are named; add it."
        )
    return np.array([known[k] for k in kind.tolist()], dtype=np.int32)
