"""H5MD files (doi:10.1016/j.cpc.2014.01.018), read in slices.

Read are `particles/GROUP/position` with `image` where it is there, `box/edges` fixed or in
time, `species` (MDAnalysis writes none: then a topology), and `id` where atoms change their
order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Integer

from jaxdiff.io import trajectory_source as source
from jaxdiff.io.h5md_layout import Layout, open_file, read_layout
from jaxdiff.io.topology import read_elements

_SLICE_BYTES = 4 << 20


def open_h5md(path: Path, given: source.Given) -> source.Source:
    """Read the layout and the atoms of the first frame."""
    with open_file(path) as file:
        layout = read_layout(file, path, given)
        if layout.n_frames == 0:
            raise source.no_complete_frame(path)
        identifier, kind = _atoms(layout, 0, 1)
        identifier, kind = identifier[0], kind[0]
        order = np.argsort(identifier)
        number = _atomic_number(layout, kind[order], given, path)

    def frames(tally: source.Tally) -> Iterator[source.RawFrame]:
        with open_file(path) as file:
            layout = read_layout(file, path, given)
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
        unwrapping="position with image" if exact else source.NEAREST,
        exact=exact,
        time_stated=layout.time_stated,
        frames=frames,
    )


def _slice(
    layout: Layout,
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
        if not all(abs(x) < 2**63 for x in (step, time) if x is not None):
            raise ValueError(f"{where} has step {step} and time {time}; it is damaged.")
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


def _atoms(layout: Layout, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and kinds [frames or 1, atoms] in the order of the file."""
    if layout.species is None:
        kinds = np.zeros((1, layout.position.data.shape[1]), int)
    else:
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


def _atomic_number(
    layout: Layout, kind: Integer[np.ndarray, " atoms"], given: source.Given, path: Path
) -> Integer[np.ndarray, " atoms"]:
    """Elements from the names of an enumeration, from the user, or from a topology."""
    if layout.species is None:
        return read_elements(given, len(kind), path)
    names: Any = h5py.check_enum_dtype(layout.species.data.dtype)
    if given.species is not None or not names:
        return source.elements_of_numbers(kind, given.species, str(path))
    where = f"{path}: the enumeration of species"
    symbols = {number: name for name, number in names.items()}
    used = set(kind.tolist())
    unnamed = sorted(used - set(symbols))
    if unnamed:
        raise ValueError(f"{where} does not name species {unnamed[0]}; add it.")
    known = {k: source.element(symbols[k], where) for k in used}
    return np.array([known[k] for k in kind.tolist()], dtype=np.int32)
