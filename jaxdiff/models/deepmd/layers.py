"""From edges to energies of atoms: the descriptor, and the network that is fitted to it."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdiff.models.deepmd import environment
from jaxdiff.models.deepmd.architecture import Architecture, Parameters
from jaxdiff.models.deepmd.network import network, one_of
from jaxdiff.models.edges import Edges


def node_energy(
    model: Parameters, edges: Edges, species: Int[Any, " atoms"]
) -> Float[Array, " atoms"]:
    """What the fitting network of each atom's species makes of its descriptor, eV."""
    arch = model.architecture
    seen = descriptor(model, edges, species)
    energy = jnp.zeros(len(species), seen.dtype)
    for k, number in enumerate(arch.atomic_numbers):
        if number not in arch.silent:
            own = network(arch.fitting, one_of(model.weights["fitting"], k), seen)[:, 0]
            energy = jnp.where(species == k, own, energy)
    return energy


def descriptor(
    model: Parameters, edges: Edges, species: Int[Any, " atoms"]
) -> Float[Array, "atoms descriptor"]:
    """D = (G^T R) (R^T G_<) / places^2, the index of G_< fastest.

    Empty places count: their rows are those of a neighbour at the cutoff, R0 = -mean /
    deviation, which is zero only where the mean is.
    """
    arch, constants = model.architecture, model.constants
    n_species, n_atoms = len(arch.atomic_numbers), len(species)
    species = jnp.asarray(species)
    distance, row = environment.rows(arch, edges.displacement)
    centre, neighbour = jnp.broadcast_arrays(
        edges.at_receiver(species), species[edges.sender]
    )
    mean, deviation = (jnp.asarray(constants[k]) for k in ("mean", "deviation"))
    row = (row - mean[centre, neighbour]) / deviation[centre, neighbour]
    seen = environment.kept(arch, edges, species, distance)
    if arch.unseen:
        seen &= ~jnp.asarray(arch.table(arch.unseen))[centre, neighbour]
    shown = seen
    if arch.zeroed:
        shown &= ~jnp.asarray(arch.table(arch.zeroed))[centre, neighbour]
    weights = model.weights["embedding"]
    embedded = embedding(arch, weights, row[..., :1], centre, neighbour)
    moment = edges.outer_total(embedded, jnp.where(shown[..., None], row, 0.0), n_atoms)

    taken = [edges.total((seen & (neighbour == t)) * 1, n_atoms) for t in range(n_species)]
    empty = jnp.asarray(arch.selection) - jnp.stack(taken, axis=-1)
    moment += jnp.einsum(
        "nt,ntdm->ndm", empty.astype(row.dtype), empty_place(model)[species]
    )
    absent = jnp.asarray(constants["absent"]).astype(row.dtype)
    moment = (moment + absent[species]) / arch.places
    return contracted(moment, arch.axis)


def contracted(
    moment: Float[Any, "atoms 4 embedded"], axis: int
) -> Float[Array, "atoms descriptor"]:
    """Scalar products of the columns of R^T G with its first `axis` columns."""
    product = jnp.einsum("ndm,nda->nma", moment, moment[..., :axis])
    return product.reshape(len(moment), -1)


def empty_place(model: Parameters) -> Float[Array, "species species 4 embedded"]:
    """What an empty place of a neighbour's species adds to R^T G of a centre's."""
    arch, constants = model.architecture, model.constants
    row = -jnp.asarray(constants["mean"]) / jnp.asarray(constants["deviation"])
    centre, neighbour = np.indices(row.shape[:2])
    weights = model.weights["embedding"]
    embedded = embedding(arch, weights, row[..., :1], centre, neighbour)
    return row[..., None] * embedded[..., None, :]


def embedding(
    arch: Architecture,
    weights: Mapping[str, Any],
    radial: Float[Any, "*edges 1"],
    centre: Int[Any, "*edges"],
    neighbour: Int[Any, "*edges"],
) -> Float[Array, "*edges embedded"]:
    """G, by the network of each pair of species, of normalised radial parts of rows."""
    embedded = None
    for index in np.ndindex((len(arch.atomic_numbers),) * (1 if arch.one_sided else 2)):
        own = network(arch.embedding, one_of(weights, *index), radial)
        is_own = neighbour == index[-1]
        if not arch.one_sided:
            is_own = is_own & (centre == index[0])
        embedded = own if embedded is None else jnp.where(is_own[..., None], own, embedded)
    assert embedded is not None  # there is a species
    return embedded
