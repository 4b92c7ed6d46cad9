"""Neighbours of many atoms on the device by cells, in time and memory linear in atoms.

The box is cut, along its lattice vectors, into cells at least as wide as the radius, so
that the neighbours of an atom are in its own cell and the 26 around it. Rows are those of
`jaxdiff.neighbors`, in the same order, to the last bit.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

LEAST_ATOMS = 2000
"""From so many atoms on; below, all pairs are looked at, which is faster there."""

_AROUND = np.array(list(np.ndindex(3, 3, 3))) - 1
_ROWS = 512  # atoms whose candidates exist at once


class Grid(NamedTuple):
    """Cells along each lattice vector, at least 3, and places for the atoms of a cell."""

    cells: tuple[int, int, int]
    places: int

    def wider(self) -> "Grid":
        """With half as many places more."""
        return self._replace(places=self.places + max(4, self.places // 2))


class Rows(NamedTuple):
    """Of N atoms, K places: see `jaxdiff.neighbors.Neighbors`.

    - `fits` []: whether no row and no cell has more than it has places for.
    """

    sender: Int[Array, "atoms places"]
    shift: Int[Array, "atoms places 3"]
    reverse: Int[Array, "atoms places"]
    fits: Bool[Array, ""]


def grid_for(
    position: Float[np.ndarray, "replicas atoms 3"],
    cell: Float[np.ndarray, "replicas 3 3"],
    radius: float,
    compression: float = 0.0,
) -> Grid | None:
    """Cells for boxes like these; None for few atoms, or a box too narrow for three.

    - `radius`, Å: of the neighbours. `compression`: by which fraction the edges may shrink.
    """
    if position.shape[1] < LEAST_ATOMS:
        return None
    inverse = np.linalg.inv(cell)
    width = (1 - compression) / np.linalg.norm(inverse, axis=1)
    x, y, z = (int(n) for n in np.min(width, axis=0) / radius)
    if min(x, y, z) < 3:
        return None
    index = _cell_of(position @ inverse, np.array([x, y, z]))
    number = (np.ravel_multi_index(tuple(each.T), (x, y, z)) for each in index)
    return Grid((x, y, z), max(int(np.bincount(each).max()) for each in number)).wider()


def rows_by_cells(
    position: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    inverse: Float[Array, "3 3"],
    grid: Grid,
    radius: float,
    capacity: int,
) -> Rows:
    """Senders within the radius, Å, of each atom.

    - `inverse`: of the cell. `capacity`: K.
    """
    n_atoms, n_cells = len(position), int(np.prod(grid.cells))
    index = _cell_of(row_times(position, inverse), jnp.asarray(grid.cells))
    number = _number(index, grid.cells)
    order = jnp.argsort(number, stable=True).astype(jnp.int32)
    first = jnp.searchsorted(number[order], jnp.arange(n_cells + 1))
    there = first[:-1, None] + jnp.arange(grid.places)
    is_atom = there < first[1:, None]
    member = jnp.where(is_atom, order[jnp.minimum(there, n_atoms - 1)], n_atoms)
    around = jnp.asarray(_AROUND)

    def of_atom(receiver):
        near = (index[receiver] + around) % jnp.asarray(grid.cells)
        candidate = member[_number(near, grid.cells)].reshape(-1)
        sender = jnp.minimum(candidate, n_atoms - 1)
        vector, _ = _nearest(position[receiver] - position[sender], cell, inverse)
        inside = jnp.sum(vector**2, axis=-1) < radius**2
        inside &= (candidate < n_atoms) & (candidate != receiver)
        found = jnp.minimum(jnp.sort(_first(candidate, inside, capacity)), n_atoms)
        sender = jnp.minimum(found, n_atoms - 1)
        _, shift = _nearest(position[receiver] - position[sender], cell, inverse)
        return found, jnp.where((found < n_atoms)[:, None], shift, 0), jnp.sum(inside)

    receivers = jnp.arange(n_atoms, dtype=jnp.int32)
    sender, shift, count = jax.lax.map(of_atom, receivers, batch_size=_ROWS)
    full = jnp.any(jnp.diff(first) > grid.places)
    return Rows(
        sender=sender,
        shift=shift,
        reverse=_reverse(sender),
        fits=~(jnp.any(count > capacity) | full),
    )


def _cell_of(fraction, cells):
    """Indices of the cell of each atom, [atoms, 3]."""
    library = np if isinstance(fraction, np.ndarray) else jnp
    inside = fraction - library.floor(fraction)
    index = library.floor(inside * cells).astype(np.int32)
    return library.minimum(index, cells - 1)  # a fraction may round to 1


def _number(index, cells):
    _, y, z = cells
    return (index[..., 0] * y + index[..., 1]) * z + index[..., 2]


def _nearest(difference, cell, inverse):
    """Of the images of a difference, the nearest, and which it is."""
    base = jnp.round(row_times(difference, inverse))
    return difference - row_times(base, cell), base.astype(jnp.int32)


def row_times(
    row: Float[Array, "*rows 3"], matrix: Float[Array, "3 3"]
) -> Float[Array, "*rows 3"]:
    """`row @ matrix`, written out, so that it is fused with what follows."""
    return jnp.stack(
        [sum(row[..., a] * matrix[a, x] for a in range(3)) for x in range(3)], axis=-1
    )


def _first(values, wanted, capacity):
    """The first of the wanted values, and the largest number in places that stay empty."""
    rank = jnp.cumsum(wanted, dtype=jnp.int32)
    place = jnp.arange(1, capacity + 1, dtype=jnp.int32)
    choice = jnp.searchsorted(rank, place, method="scan_unrolled")
    empty = choice == len(values)
    chosen = values[jnp.minimum(choice, len(values) - 1)]
    return jnp.where(empty, jnp.iinfo(jnp.int32).max, chosen)


def _reverse(sender: Int[Array, "atoms places"]) -> Int[Array, "atoms places"]:
    """Where each pair stands from the sender's side, in rows that are sorted."""
    n_atoms, places = sender.shape
    own = jnp.arange(n_atoms, dtype=jnp.int32)[:, None]
    row = jnp.minimum(sender, n_atoms - 1)
    low = jnp.zeros_like(sender)
    high = jnp.full_like(sender, places)
    for _ in range(places.bit_length()):
        middle = (low + high) // 2
        before = sender[row, jnp.minimum(middle, places - 1)] < own
        low, high = jnp.where(before, middle + 1, low), jnp.where(before, high, middle)
    place = jnp.minimum(low, places - 1)
    paired = (sender < n_atoms) & (sender[row, place] == own)
    return jnp.where(paired, row * places + place, n_atoms * places)
