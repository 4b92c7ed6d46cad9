"""Neighbour lists with fixed capacity: built on the host, rebuilt on the device.

Row i holds the senders of receiver i: `sender[i, k]` and the cell image `shift[i, k]` with

    displacement[i, k] = position[i] - position[sender[i, k]] - shift[i, k] @ cell

so that a reduction over k is the sum over the neighbours of atom i. Unused places hold
`sender = N`. All periodic images within the radius are listed, also of the atom itself,
in any cell. Within a row the order is (sender, shift), on the host as on the device, so
that a sum over a row does not depend on where the list was built.
"""

import dataclasses
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxdiff.neighbor_cells import Grid, grid_for, row_times, rows_by_cells

PADDING_DISTANCE = 1e3
"""Length of the displacement of unused places, Å: outside every cutoff."""

PLACES_MULTIPLE = 32
"""Capacities that are multiples of this all give the same sums, to the last bit, on a CPU.

A sum over a row runs in vectors of up to so many numbers; one more vector of zeros changes
nothing, a part of one changes how the rest is split. Not so in single precision with the
compiled evaluator on a CPU without AVX-512, where 96 places were seen to round otherwise
than 128 (2e-7 eV/Å).
"""

PLACES_ELSEWHERE = 8
"""The same for accelerators, where no sum over a row is known to keep its bits: tiles of
memory have rows of 8, and every place more costs as much as a pair.
"""

_MAX_CANDIDATES = 200_000  # images of atoms that a row may be chosen from


def places_multiple() -> int:
    """What capacities are multiples of on the device of this process."""
    return PLACES_MULTIPLE if jax.default_backend() == "cpu" else PLACES_ELSEWHERE


@flax.struct.dataclass
class Neighbors:
    """Senders of each receiver, with a Verlet skin; leading axes (replicas) are allowed.

    - `sender` [N, K], int32; N in unused places.
    - `shift` [N, K, 3], int32: cell image of the sender, relative to unwrapped positions.
    - `reverse` [N, K], int32: where the same pair stands from the sender's side, as
      row * K + place; N * K in unused places. It turns scatters into gathers.
    - `reference` [N, 3], Å, and `reference_cell` [3, 3], Å: those it was built for.
    - `overflow` []: True once a row needed more than K places, or than `close`; sticky.
    - `images`: number of images of a pair searched along each lattice vector; static.
    - `radius`: cutoff + skin, Å; static.
    - `close`: places for the pairs of a row that are within the cutoff at present (see
      `within`); None: they are not told from the others. Static.
    - `grid`: cells by which they are rebuilt; None: by looking at all pairs. Static.
    """

    sender: Int[Any, "*replicas atoms places"]
    shift: Int[Any, "*replicas atoms places 3"]
    reverse: Int[Any, "*replicas atoms places"]
    reference: Float[Any, "*replicas atoms 3"]
    reference_cell: Float[Any, "*replicas 3 3"]
    overflow: Bool[Any, "*replicas"]
    images: tuple[int, int, int] = flax.struct.field(pytree_node=False, default=(1, 1, 1))
    radius: float = flax.struct.field(pytree_node=False, default=0.0)
    close: int | None = flax.struct.field(pytree_node=False, default=None)
    grid: Grid | None = flax.struct.field(pytree_node=False, default=None)

    @property
    def capacity(self) -> int:
        """Places per row, K."""
        return self.sender.shape[-1]


def displacement(
    position: Float[Array, "atoms 3"], cell: Float[Array, "3 3"], neighbors: Neighbors
) -> Float[Array, "atoms places 3"]:
    """Vector from each sender's image to its receiver, Å.

    Unused places hold the constant (`PADDING_DISTANCE`, 0, 0), which has no gradient.
    """
    n_atoms = position.shape[0]
    used = neighbors.sender < n_atoms
    sender = jnp.where(used, neighbors.sender, 0)
    vector = position[:, None] - position[sender] - _translation(neighbors.shift, cell)
    padding = jnp.zeros(3, position.dtype).at[0].set(PADDING_DISTANCE)
    return jnp.where(used[..., None], vector, padding[None, None])


def within(
    position: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    neighbors: Neighbors,
    cutoff: float,
) -> tuple[
    Float[Array, "atoms close 3"], Int[Array, "atoms close"], Int[Array, "atoms close"]
]:
    """Displacement, sender and reverse of the pairs within the cutoff, Å, and of no others.

    What the skin holds is left out, so that no time goes into pairs that contribute
    nothing. Rows keep their order. With `close` = None all pairs are given as they are.
    Pairs that find no place are missing: ask `is_crowded`.
    """
    vector = displacement(position, cell, neighbors)
    if neighbors.close is None:
        return vector, neighbors.sender, neighbors.reverse
    n_atoms, places, close = *neighbors.sender.shape, neighbors.close
    choice, rank = _compact(_is_close(vector, cutoff), close)
    used = choice < places
    chosen = jnp.where(used, choice, 0)
    padding = jnp.zeros(3, position.dtype).at[0].set(PADDING_DISTANCE)
    vector = jnp.take_along_axis(vector, chosen[..., None], axis=1)
    sender, flat = (
        jnp.take_along_axis(row, chosen, axis=1)
        for row in (neighbors.sender, neighbors.reverse)
    )
    place = rank.reshape(-1)[jnp.minimum(flat, n_atoms * places - 1)] - 1
    paired = used & (flat < n_atoms * places) & (place < close)
    return (
        jnp.where(used[..., None], vector, padding[None, None]),
        jnp.where(used, sender, n_atoms),
        jnp.where(paired, flat // places * close + place, n_atoms * close),
    )


def is_crowded(
    position: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    neighbors: Neighbors,
    cutoff: float,
) -> Bool[Array, ""]:
    """Whether a row has more pairs within the cutoff than `close` places."""
    if neighbors.close is None:
        return jnp.asarray(False)
    count = jnp.sum(_is_close(displacement(position, cell, neighbors), cutoff), axis=1)
    return jnp.any(count > neighbors.close)


def _is_close(vector, cutoff):
    # a pair that another precision rounds to just within the cutoff counts as well
    return jnp.sum(vector**2, axis=-1) < (cutoff * (1 + 1e-6)) ** 2


def neighbor_rows(
    position: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    cutoff: float,
    pbc: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Int[np.ndarray, "atoms places"], Int[np.ndarray, "atoms places 3"]]:
    """Senders and shifts of one configuration on the host; as many places as needed."""
    from matscipy.neighbours import neighbour_list

    position, cell = np.asarray(position, np.float64), np.asarray(cell, np.float64)
    _check(position, cell, cutoff, pbc)
    # matscipy wants a cell that spans space, also where it does not repeat
    receiver, sender, shift = neighbour_list(
        "ijS",
        positions=position,
        cell=_spanning(cell, position, pbc),
        pbc=pbc,
        cutoff=cutoff,
    )
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], sender, receiver))
    receiver, sender, shift = receiver[order], sender[order], shift[order]
    count = np.bincount(receiver, minlength=len(position))
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    place = np.arange(len(receiver)) - start[receiver]
    places = max(int(count.max()), 1)
    sender_row = np.full((len(position), places), len(position), np.int32)
    shift_row = np.zeros((len(position), places, 3), np.int32)
    sender_row[receiver, place] = sender
    shift_row[receiver, place] = shift
    return sender_row, shift_row


def reverse_rows(
    sender: Int[np.ndarray, "atoms places"], shift: Int[np.ndarray, "atoms places 3"]
) -> Int[np.ndarray, "atoms places"]:
    """For rows on the host: where each pair stands from the sender's side.

    The value is row * places + place, or atoms * places in unused places.
    """
    n_atoms, places = sender.shape
    receiver, place = np.nonzero(sender < n_atoms)
    sent_from, image = sender[receiver, place].astype(np.int64), shift[receiver, place]
    bound = int(np.abs(image).max(initial=0))
    weight = (2 * bound + 1) ** np.arange(2, -1, -1, dtype=np.int64)
    blocks = (2 * bound + 1) ** 3
    key = (receiver * n_atoms + sent_from) * blocks + (image + bound) @ weight
    wanted = (sent_from * n_atoms + receiver) * blocks + (bound - image) @ weight
    order = np.argsort(key)
    found = order[np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)]
    reverse = np.full((n_atoms, places), n_atoms * places, np.int32)
    flat = receiver[found] * places + place[found]
    reverse[receiver, place] = np.where(key[found] == wanted, flat, n_atoms * places)
    return reverse


def allocate(
    position: Float[np.ndarray | Array, "*replicas atoms 3"],
    cell: Float[np.ndarray | Array, "*cells 3 3"],
    cutoff: float,
    skin: float,
    *,
    capacity: int | None = None,
    close: int | None = None,
    headroom: float = 1.1,
    compression: float = 0.0,
) -> Neighbors:
    """Build the lists on the host, with one capacity for all replicas.

    - `position`: Å, of one configuration or with a leading replica axis.
    - `cell`: Å, one for all replicas or one for each.
    - `cutoff`, `skin`: Å; pairs up to their sum are listed.
    - `capacity`: places per row. None: the largest row times `headroom`.
    - `close`: see `Neighbors`; at most the capacity.
    - `compression`: by which fraction the edges of the cell may shrink later on.
    """
    position, cell = np.asarray(position, np.float64), np.asarray(cell, np.float64)
    if not (math.isfinite(skin) and skin >= 0):
        raise ValueError(f"skin={skin} Å; it must be 0 or more, such as 0.5 Å.")
    radius = cutoff + skin
    n_atoms, lead = position.shape[-2], position.shape[:-2]
    cell = np.broadcast_to(cell, (*lead, 3, 3))
    flat = position.reshape(-1, n_atoms, 3), cell.reshape(-1, 3, 3)
    each = list(zip(*flat, strict=True))
    for p, c in each:
        _check(p, c, cutoff, (True, True, True))
    grid = grid_for(*flat, radius, compression)
    pairs = 1 if grid else n_atoms  # of an atom, where all are looked at
    images = np.array([_images(c * (1 - compression), radius, pairs) for _, c in each])
    rows = [neighbor_rows(p, c, radius) for p, c in each]
    largest = max(sender.shape[1] for sender, _ in rows)
    if capacity is None:
        capacity = math.ceil(largest * headroom)
    elif capacity < largest:
        raise ValueError(
            f"capacity={capacity}, but an atom has {largest} neighbours within "
            f"{radius} Å; use {largest} or more, or None."
        )
    sender = np.full((len(rows), n_atoms, capacity), n_atoms, np.int32)
    shift = np.zeros((len(rows), n_atoms, capacity, 3), np.int32)
    for r, (sender_row, shift_row) in enumerate(rows):
        sender[r, :, : sender_row.shape[1]] = sender_row
        shift[r, :, : sender_row.shape[1]] = shift_row
    reverse = np.stack([reverse_rows(*row) for row in zip(sender, shift, strict=True)])
    return Neighbors(
        sender=jnp.asarray(sender.reshape(*lead, n_atoms, capacity)),
        shift=jnp.asarray(shift.reshape(*lead, n_atoms, capacity, 3)),
        reverse=jnp.asarray(reverse.reshape(*lead, n_atoms, capacity)),
        reference=jnp.asarray(position),
        reference_cell=jnp.asarray(cell),
        overflow=jnp.zeros(lead, bool),
        images=tuple(images.max(axis=0).tolist()),
        radius=radius,
        close=None if close is None else min(close, capacity),
        grid=grid,
    )


def grow(neighbors: Neighbors, capacity: int) -> Neighbors:
    """The same lists with more places per row; for lists that have not overflowed."""
    if np.any(np.asarray(neighbors.overflow)):
        raise ValueError(
            "A list that has overflowed lacks pairs, which places added now do not bring "
            "back; grow the list from before, or allocate a new one."
        )
    extra = capacity - neighbors.capacity
    if extra <= 0:
        raise ValueError(
            f"capacity={capacity} does not exceed the present {neighbors.capacity}."
        )
    n_atoms, places = neighbors.sender.shape[-2:]
    lead = [(0, 0)] * (neighbors.sender.ndim - 1)
    row, place = neighbors.reverse // places, neighbors.reverse % places
    return dataclasses.replace(
        neighbors,
        sender=jnp.pad(neighbors.sender, [*lead, (0, extra)], constant_values=n_atoms),
        shift=jnp.pad(neighbors.shift, [*lead, (0, extra), (0, 0)]),
        reverse=jnp.pad(
            row * capacity + place,  # unused places have row N, and get N * capacity
            [*lead, (0, extra)],
            constant_values=n_atoms * capacity,
        ),
        grid=neighbors.grid and neighbors.grid.wider(),
    )


def update(
    position: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    neighbors: Neighbors,
    cutoff: float,
    skin: float,
) -> Neighbors:
    """Rebuild one configuration's list on the device, within its capacity.

    Every image within cutoff + skin is found, whatever the shape of the cell.
    """
    if not math.isclose(cutoff + skin, neighbors.radius):
        raise ValueError(
            f"cutoff + skin = {cutoff + skin} Å, but the list was allocated for "
            f"{neighbors.radius} Å; allocate a new list for another radius."
        )
    if neighbors.grid:
        inverse = _inverse(cell)
        radius, capacity = neighbors.radius, neighbors.capacity
        built = rows_by_cells(position, cell, inverse, neighbors.grid, radius, capacity)
        return dataclasses.replace(
            neighbors,
            sender=built.sender,
            shift=built.shift,
            reverse=built.reverse,
            reference=position,
            reference_cell=cell,
            overflow=neighbors.overflow | ~built.fits,
        )
    n_atoms = position.shape[0]
    base, mask = _candidates(position, cell, neighbors.images, cutoff + skin)
    choice, rank = _compact(mask, neighbors.capacity)
    block = jnp.asarray(_image_block(neighbors.images), jnp.int32)  # [I, 3]
    used = choice < mask.shape[1]
    chosen = jnp.where(used, choice, 0)
    sender, image = chosen // len(block), chosen % len(block)
    row = jnp.arange(n_atoms, dtype=jnp.int32)[:, None]
    shift = base[row, sender] + block[image]
    x, y, z = (-shift - base[sender, row] - block[0][None, None]).transpose(2, 0, 1)
    _, n_y, n_z = neighbors.images
    back = row * len(block) + (x * n_y + y) * n_z + z  # the candidate of row `sender`
    place = rank[sender, back] - 1
    paired = used & mask[sender, back] & (place < neighbors.capacity)
    flat = sender * neighbors.capacity + place
    return dataclasses.replace(
        neighbors,
        sender=jnp.where(used, sender, n_atoms),
        shift=jnp.where(used[..., None], shift, 0),
        reverse=jnp.where(paired, flat, n_atoms * neighbors.capacity),
        reference=position,
        reference_cell=cell,
        overflow=neighbors.overflow | jnp.any(rank[:, -1] > neighbors.capacity),
    )


def has_moved(
    position: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    neighbors: Neighbors,
    cutoff: float,
    skin: float,
) -> Bool[Array, ""]:
    r"""True if a pair within the cutoff might be missing from the list.

    The cell may have been scaled about the origin by a factor $s$ since then, and atoms
    have moved by at most $d$ beside that: pairs now within $r_c$ were within
    $(r_c + 2 d) / s$. At $s = 1$ this asks whether an atom has moved by half the skin. A
    position that is not a number counts as moved.
    """
    scale = jnp.cbrt(volume(cell) / volume(neighbors.reference_cell))
    square = jnp.sum((position - scale * neighbors.reference) ** 2, axis=-1)
    allowed = (scale * (cutoff + skin) - cutoff) / 2
    return ~((allowed >= 0) & jnp.all(square <= allowed**2))


def volume(cell: Float[Array, "3 3"]) -> Float[Array, ""]:
    """Volume of the cell, Å^3."""
    return jnp.abs(jnp.sum(cell[0] * jnp.cross(cell[1], cell[2])))


def is_covered(cell: Float[Array, "3 3"], neighbors: Neighbors) -> Bool[Array, ""]:
    """Whether the images that are searched suffice for a cell that has shrunk."""
    area = jnp.sqrt(jnp.sum(_faces(cell) ** 2, axis=-1))
    reach = neighbors.radius * area / volume(cell)  # in widths of the cell
    covered = reach < jnp.asarray(neighbors.images, cell.dtype) / 2
    if neighbors.grid:
        covered &= reach * jnp.asarray(neighbors.grid.cells, cell.dtype) <= 1
    return jnp.all(covered)


def refresh(
    position: Float[Array, "replicas atoms 3"],
    cell: Float[Array, "replicas 3 3"],
    neighbors: Neighbors,
    cutoff: float,
    skin: float,
) -> Neighbors:
    """Rebuild the lists of those replicas that have moved, and of no other.

    A loop over just those replicas: under vmap a condition turns into a selection, and
    every list would be rebuilt at every step. A list then depends on the history of its
    own replica only, and so does the order of its sums: neighbours in a batch leave no
    trace in a trajectory.
    """
    moved = jax.vmap(has_moved, in_axes=(0, 0, 0, None, None))(
        position, cell, neighbors, cutoff, skin
    )
    order = jnp.argsort(~moved)

    def rebuild(i, lists):
        r = order[i]
        one = jax.tree.map(lambda x: x[r], lists)
        new = update(position[r], cell[r], one, cutoff, skin)
        return jax.tree.map(lambda x, y: x.at[r].set(y), lists, new)

    return jax.lax.fori_loop(0, jnp.sum(moved), rebuild, neighbors)


def _faces(cell):
    """Normals of the faces that lattice vectors a, b, c cross, as long as their areas."""
    return jnp.stack([jnp.cross(cell[a - 2], cell[a - 1]) for a in range(3)])


def _inverse(cell):
    """Of the cell, written out: on a GPU a solver would be called for it."""
    faces = _faces(cell)
    return faces.T / jnp.sum(cell[0] * faces[0])


def _candidates(position, cell, images, radius):
    """Lowest image of each pair [N, N, 3] and which images are in reach [N, N * I].

    With d from the lowest image and T a translation, |d - T|^2 = |d|^2 - 2 d.T + |T|^2.
    """
    difference = position[:, None] - position[None]  # receiver - sender
    fraction = _translation(difference, _inverse(cell))
    odd = jnp.asarray([n % 2 == 1 for n in images])
    base = jnp.where(odd[None, None], jnp.round(fraction), jnp.floor(fraction))
    difference = difference - _translation(base, cell)
    square = jnp.sum(difference**2, axis=-1)
    along = [2 * jnp.sum(difference * cell[a][None, None], axis=-1) for a in range(3)]
    near = []
    for image in _image_block(images):
        steps = [(int(n), dot) for n, dot in zip(image, along, strict=True) if n]
        translation = _translation(jnp.asarray(image), cell)
        distance = square - sum(n * dot for n, dot in steps) + jnp.sum(translation**2)
        near.append(distance < radius**2)
    mask = jnp.stack(near, axis=-1)
    itself = jnp.eye(position.shape[0], dtype=bool)[..., None]
    home = jnp.asarray(~_image_block(images).any(axis=1))[None, None]
    return base.astype(jnp.int32), (mask & ~(itself & home)).reshape(len(position), -1)


def _compact(
    mask: Bool[Array, "atoms candidates"], capacity: int
) -> tuple[Int[Array, "atoms {capacity}"], Int[Array, "atoms candidates"]]:
    """Indices of the first True entries of each row, then `candidates`; running counts."""
    rank = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
    wanted = jnp.arange(1, capacity + 1, dtype=jnp.int32)
    # a binary search per place: faster here than a sort, top_k or a scatter
    choice = jax.vmap(lambda row: jnp.searchsorted(row, wanted, method="scan_unrolled"))(
        rank
    )
    return choice.astype(jnp.int32), rank


def _translation(
    shift: Shaped[Array, "*rows 3"], cell: Float[Array, "3 3"]
) -> Float[Array, "*rows 3"]:
    """`shift @ cell`, exact for integers."""
    return row_times(shift.astype(cell.dtype), cell)


def _images(cell: np.ndarray, radius: float, n_atoms: int) -> tuple[int, int, int]:
    """How many images of a pair to search along each lattice vector.

    Odd: those around the nearest one, whose fractional distance f is in [-1/2, 1/2].
    Even: those around the pair with f in [0, 1). Whichever covers radius / width with
    fewer: 1 for a cell at least two radii wide, 2 for one at least one radius wide.
    """
    reach = radius * np.linalg.norm(np.linalg.inv(cell), axis=0)  # in widths of the cell
    odd, even = 2 * np.floor(reach + 0.5) + 1, 2 * np.floor(reach) + 2
    x, y, z = (int(n) for n in np.minimum(odd, even))
    if n_atoms * x * y * z > _MAX_CANDIDATES:
        raise ValueError(
            f"cutoff + skin = {radius} Å is {reach.max():.1f} times the width of the cell: "
            f"{n_atoms * x * y * z} candidates per atom, at most {_MAX_CANDIDATES}. Use a "
            "larger supercell or a smaller cutoff."
        )
    return x, y, z


def _image_block(images: tuple[int, int, int]) -> np.ndarray:
    lowest = [-((n - 1) // 2) for n in images]
    return np.array(list(np.ndindex(*images))) + np.array(lowest)


def _check(position, cell, cutoff, pbc) -> None:
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"cutoff={cutoff} Å; it must be positive, such as 6 Å.")
    if not np.isfinite(position).all():
        raise ValueError("A position is not finite; neighbours of it cannot be found.")
    if all(pbc) and not abs(np.linalg.det(cell)) > 1e-6:
        raise ValueError(
            f"The cell has volume {abs(np.linalg.det(cell))} Å^3; three lattice vectors "
            "that span a volume are needed."
        )


def _spanning(cell, position, pbc) -> np.ndarray:
    """The cell; missing vectors, along which it must not repeat, as long as the system."""
    from ase.geometry import complete_cell

    missing = ~cell.any(axis=1)
    if np.any(missing & np.asarray(pbc)):
        raise ValueError(
            f"pbc={tuple(pbc)}, but the cell has no vector along an axis that repeats; "
            "give the vector or switch that axis off."
        )
    extent = np.where(missing, np.ptp(position, axis=0).max() + 1.0, 1.0)
    return np.asarray(complete_cell(cell)) * extent[:, None]
