"""The graph that a model computes on: directed edges between neighbours, and their sums."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.neighbors import PADDING_DISTANCE, neighbor_rows, reverse_rows


@struct.dataclass
class Edges:
    """Directed edges sender -> receiver, in one of two layouts.

    - rows: `receiver` is None and row i holds the neighbours of atom i:
      `displacement` [atoms, neighbors, 3], `sender` [atoms, neighbors];
    - flat: `displacement` [edges, 3], `sender` and `receiver` [edges].

    `displacement` = x[receiver] - x[sender image], Å. A padded edge has any valid sender
    and a displacement longer than the cutoff: it contributes exactly zero.

    `reverse` (rows only, optional) holds for each edge the flat position of the edge in
    the opposite direction, or atoms * neighbors for a padded one. With it the derivative
    of a gather is again a gather, which is much faster than a scatter on a CPU.
    """

    displacement: Float[Any, "*edges 3"]
    sender: Int[Any, "*edges"]
    receiver: Int[Any, "*edges"] | None = None
    reverse: Int[Any, "*edges"] | None = None

    def at_sender(self, node: Array) -> Array:
        """Values of the sending atoms, one per edge."""
        if self.reverse is None:
            return node[self.sender]
        return _gather(node, self.sender, self.reverse)

    def at_receiver(self, node: Array) -> Array:
        """Values of the receiving atoms, broadcast over edges."""
        return node[:, None] if self.receiver is None else node[self.receiver]

    def collect_sent(self, edge: Array, n_atoms: int) -> Array:
        """Sum over the edges that each atom sends: the transpose of `at_sender`."""
        if self.reverse is None:
            indices = self.sender.reshape(-1)
            flat = edge.reshape(indices.shape[0], *edge.shape[self.sender.ndim :])
            return jax.ops.segment_sum(flat, indices, n_atoms)
        return collect(edge, self.sender, self.reverse)

    def total(self, edge: Array, n_atoms: int) -> Array:
        """Sum over the edges that each atom receives."""
        if self.receiver is None:
            return edge.sum(axis=1)
        return jax.ops.segment_sum(edge, self.receiver, n_atoms)

    def outer_total(self, left: Array, right: Array, n_atoms: int) -> Array:
        """Sum over received edges of left[..., c] right[..., d]: [atoms, d, c]."""
        if self.receiver is None:
            return _sum_neighbors(right, left)
        return self.total(right[..., :, None] * left[..., None, :], n_atoms)


def host_edges(
    position: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    cutoff: float,
    pbc: tuple[bool, bool, bool],
    places_step: int = 1,
) -> Edges:
    """Rows of all pairs within the cutoff, on the host; displacements in float64.

    - `cell` [3, 3]: lattice vectors as rows, Å.
    - `places_step`: rows have a multiple of so many places.
    """
    sender, shift = neighbor_rows(position, cell, cutoff, pbc)
    n_atoms, places = sender.shape
    more = int(-places % places_step)
    width = np.array([(0, 0), (0, more), (0, 0)])
    sender = np.pad(sender, width[:2], constant_values=n_atoms)
    shift = np.pad(shift, width)
    used = sender < n_atoms
    safe = np.where(used, sender, 0).astype(np.int32)
    vector = position[:, None] - position[safe] - shift @ cell
    displacement = np.where(used[..., None], vector, [PADDING_DISTANCE, 0.0, 0.0])
    return Edges(displacement, safe, reverse=reverse_rows(sender, shift))


@jax.custom_vjp
def _gather(node, sender, reverse):
    """Values of the senders, one per edge; its transpose is `collect`."""
    return node.at[sender].get(mode="promise_in_bounds")


@jax.custom_vjp
def collect(edge, sender, reverse):
    """Sum over the edges that each atom sends, found through `reverse`.

    Values of edges [rows, places, ...] and their senders [rows, places]; `reverse`
    [atoms, places] as in `Edges`, where they stand among all of them.
    """
    flat = edge.reshape(-1, *edge.shape[2:])
    used = (reverse < len(flat)).reshape(*reverse.shape, *[1] * (flat.ndim - 1))
    sent = flat.at[jnp.minimum(reverse, len(flat) - 1)].get(mode="promise_in_bounds")
    return jnp.where(used, sent, 0.0).sum(axis=1)


_gather.defvjp(
    lambda node, sender, reverse: (_gather(node, sender, reverse), (sender, reverse)),
    lambda indices, edge: (collect(edge, *indices), None, None),
)
collect.defvjp(
    lambda edge, sender, reverse: (collect(edge, sender, reverse), (sender, reverse)),
    lambda indices, node: (_gather(node, *indices), None, None),
)


# The three products of an array of edges a [n, k, d], another e [n, k, c] and one of atoms
# g [n, d, c]. Each is the derivative of the other two; written so, the large arrays enter
# every matrix product as they lie in memory, and none is transposed.


@jax.custom_vjp
def _sum_neighbors(a, e):
    """Sum over neighbours, [n, d, c]."""
    return jnp.einsum("nkd,nkc->ndc", a, e, precision="highest")


@jax.custom_vjp
def _to_channels(a, g):
    """Sum over components, [n, k, c]."""
    return jnp.einsum("nkd,ndc->nkc", a, g, precision="highest")


@jax.custom_vjp
def _to_components(e, g):
    """Sum over channels, [n, k, d]."""
    return jnp.einsum("nkc,ndc->nkd", e, g, precision="highest")


_sum_neighbors.defvjp(
    lambda a, e: (_sum_neighbors(a, e), (a, e)),
    lambda saved, g: (_to_components(saved[1], g), _to_channels(saved[0], g)),
)
_to_channels.defvjp(
    lambda a, g: (_to_channels(a, g), (a, g)),
    lambda saved, e: (_to_components(e, saved[1]), _sum_neighbors(saved[0], e)),
)
_to_components.defvjp(
    lambda e, g: (_to_components(e, g), (e, g)),
    lambda saved, a: (_to_channels(a, saved[1]), _sum_neighbors(a, saved[0])),
)
