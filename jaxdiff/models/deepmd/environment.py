"""The surroundings of atoms as DeepPot-SE sees them: smooth rows, kept neighbours."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.models.deepmd.architecture import Architecture
from jaxdiff.models.edges import Edges


def rows(
    arch: Architecture, displacement: Float[Any, "*edges 3"]
) -> tuple[Float[Array, "*edges"], Float[Array, "*edges 4"]]:
    """Lengths, Å, and s(r) (1, x/r, y/r, z/r), 1/Å, of vectors from centre to neighbour.

    `displacement` points from the neighbour to the centre, as that of `Edges`. s(r) is 1/r
    up to `smooth_from`, and falls to zero at the cutoff with two derivatives (eq. 5 of
    doi:10.48550/arXiv.1805.09003, with the polynomial of deepmd-kit).
    """
    distance = jnp.sqrt(jnp.sum(displacement**2, axis=-1))
    u = (distance - arch.smooth_from) / (arch.cutoff - arch.smooth_from)
    u = jnp.clip(u, 0.0, 1.0)
    switch = u**3 * (-6 * u**2 + 15 * u - 10) + 1
    safe = distance + arch.protection
    radial = (switch / safe)[..., None]
    return distance, jnp.concatenate(
        [radial, -displacement * radial / safe[..., None]], axis=-1
    )


def kept(
    arch: Architecture,
    edges: Edges,
    species: Int[Any, " atoms"],
    distance: Float[Any, "*edges"],
) -> Bool[Array, "*edges"]:
    """Whether an edge is one of the neighbours within the cutoff that have a place.

    Of more neighbours than `places`, and then of more of a species than its `selection`,
    the nearest have one: the energy jumps where they change, as that of deepmd-kit.
    """
    within = distance < arch.cutoff
    if edges.receiver is None and edges.sender.shape[1] <= min(arch.selection):
        return within
    kind = species[edges.sender]
    found = [
        edges.total((within & (kind == t)).astype(jnp.int32), len(species))
        for t in range(len(arch.selection))
    ]
    room = jnp.asarray(arch.selection)[:, None]
    return jax.lax.cond(
        jnp.any(jnp.stack(found) > room),
        lambda: _nearest(arch, edges, kind, jax.lax.stop_gradient(distance)),
        lambda: within,
    )


def _nearest(arch, edges, kind, distance):
    """The same by rank: edges in order of their centre, then of their length."""
    shape = distance.shape
    receiver = edges.receiver
    if receiver is None:
        receiver = jnp.broadcast_to(jnp.arange(shape[0])[:, None], shape)
    receiver, kind, distance = (
        jnp.asarray(x).reshape(-1) for x in (receiver, kind, distance)
    )
    order = jnp.lexsort((distance, receiver))
    receiver, kind = receiver[order], kind[order]
    first = jnp.searchsorted(receiver, receiver)

    def rank(chosen):
        before = jnp.cumsum(chosen) - chosen
        return before - before[first]

    within = distance[order] < arch.cutoff
    within &= jnp.arange(len(kind)) - first < arch.places
    for t, room in enumerate(arch.selection):
        own = kind == t
        within &= ~own | (rank(own.astype(kind.dtype)) < room)
    return jnp.zeros_like(within).at[order].set(within).reshape(shape)
