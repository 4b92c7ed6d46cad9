"""The evaluator of gated blocks for a fixed composition: energies and their derivative.

As `jaxdiff.models.mace.compiled`, with blocks of two sizes: sums over neighbours for as
many atoms as have their edges' weights in the cache, and what each atom does by itself,
which is matrix products of hundreds of channels here, for as many as make these fast.
Weights of edges are computed again for the derivative, for between both stands the gate.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdiff.models.blocks import Blocks, blocks_of
from jaxdiff.models.contract import Evaluate, Kernel, Request
from jaxdiff.models.mace import compiled as mace
from jaxdiff.models.mace.compiled import Own
from jaxdiff.models.mace.gated.architecture import Parameters
from jaxdiff.models.mace.gated.folded import (
    Folded,
    edge_functions,
    fold,
    reason_not_to,
    table_row,
)
from jaxdiff.models.mace.gated.layers import gated
from jaxdiff.models.mace.layers import join_degrees
from jaxdiff.models.mace.polynomial import monomials, polynomial

NODES = 64
"""Atoms whose products are made at once on a CPU."""


def energy_and_gradient(
    folded: Folded,
    blocks: Blocks,
    size: int,
    species: Int[np.ndarray, " atoms"],
    displacement: Float[Array, "atoms places 3"],
    sender: Int[Array, "atoms places"],
    reverse: Int[Array, "atoms places"] | None = None,
) -> tuple[Float[Array, " atoms"], Float[Array, "atoms places 3"]]:
    """Interaction energy of each atom, eV, and the derivative of their sum, eV/Å.

    As `jaxdiff.models.mace.compiled.energy_and_gradient`; sums over neighbours are taken
    for `size` atoms at a time, which is a divisor of the blocks' size. Atoms stand in the
    order of the blocks from the first step to the last.
    """
    geometry = functools.partial(mace.geometry, folded.architecture.max_ell)
    edge, to_displacement = jax.vjp(geometry, displacement)
    rows = blocks.atom.reshape(-1)
    kind, *edge = (x[rows] for x in (jnp.asarray(species)[sender], *edge))
    sent_from = jnp.asarray(blocks.place)[sender][rows]
    nodes = jnp.asarray(blocks.species)
    edges = jnp.asarray(np.repeat(blocks.species, blocks.atom.shape[1] // size))
    scale, part = folded.scale, functools.partial

    # forward: sums and nodes of the first layer, sums of the last
    repulsion, moment = _over(edges, part(_first_sums, folded), kind, *edge)
    basis, sent, first, skipped = _over(nodes, part(_first_nodes, folded), moment)
    message = _over(edges, part(_last_sums, folded, sent), kind, sent_from, *edge)

    # nodes of the last with their derivative, and back
    last, along_message, along_own, along_skipped = _over(
        nodes, part(_last_nodes, folded), message, sent, skipped
    )
    given = edges, jnp.asarray(blocks.used.reshape(-1), scale.dtype), kind, sent_from
    along_edge, along_sent, kept = _last_sums_back(
        folded, sent, *given, edge, along_message, reverse is None
    )
    if reverse is not None:
        own = sender[rows].reshape(len(edges), size, -1)
        along_sent = {
            ell: mace.gathered(blocks, of_edge, own, reverse)[rows]
            for ell, of_edge in kept.items()
        }
    along_sent = jax.tree.map(jnp.add, along_own, along_sent)
    along = along_sent, jnp.full_like(first, scale), along_skipped
    along_moment = _over(nodes, part(_first_nodes_back, folded), moment, basis, along)
    along_first = _over(edges, part(_first_sums_back, folded), kind, *edge, along_moment)

    along_edge = tuple(
        (x + y)[blocks.place] for x, y in zip(along_first, along_edge, strict=True)
    )
    total = scale * (repulsion + first + last)[blocks.place] + folded.shift
    return total, to_displacement(along_edge)[0]


def _over(species: Int[Array, " blocks"], function: Callable, *given):
    """A function of a block's species and rows, for all rows, block by block."""
    found = jax.lax.map(
        lambda own: function(*own), (species, *_in_blocks(len(species), given))
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)


def _in_blocks(number: int, given):
    """Arrays of rows as arrays of so many blocks of rows."""
    return jax.tree.map(lambda x: x.reshape(number, -1, *x.shape[1:]), given)


def _rows(sent, sender):
    """Features of the senders, by degree, so that each degree's derivative is a loop."""
    return {ell: of_degree[sender] for ell, of_degree in sent.items()}


def _functions(folded: Folded, layer: str, own: Own, distance):
    """Radial functions of a block's edges, and what their sums are to be divided by."""
    radial = folded.radial[layer]
    if "table" in radial:
        row = table_row(len(folded.architecture.atomic_numbers))
        function, density = mace.tabulated(radial, row, own, distance)
    else:
        receiver = jnp.broadcast_to(own.receiver, own.sender.shape)
        function, density = edge_functions(folded, radial, distance, receiver, own.sender)
    number = jnp.sum(density, axis=-1)
    return function, folded.beta[layer] * number + folded.alpha[layer]


def _first_sums(folded: Folded, z, kind, distance, harmonic):
    """Repulsion [size], eV, and moments [size, components, functions * Z] to be divided."""
    own = Own(z, kind)
    function, divisor = _functions(folded, "0", own, distance)
    n_species = len(folded.architecture.atomic_numbers)
    moment = mace.moments(n_species, own, function, harmonic)
    return mace.pair_energy(folded, own, distance), (moment, divisor)


def _first_sums_back(folded: Folded, z, kind, distance, harmonic, along):
    """Derivative over distances and harmonics, with that of the repulsion."""
    _, pull = jax.vjp(functools.partial(_first_sums, folded, z, kind), distance, harmonic)
    return pull((jnp.full_like(along[1], folded.scale), along))


def _last_sums(folded: Folded, sent, z, kind, sender, distance, harmonic):
    """Messages of the last layer to be divided, l -> [size, 2l + 1, paths_l * E].

    - `sent`: of all atoms, or, without a sender, of those at the edges.
    """
    sent = sent if sender is None else _rows(sent, sender)
    function, divisor = _functions(folded, "1", Own(z, kind), distance)
    message = mace.convolve_degrees(
        folded.architecture.max_ell, folded.last_radial[z], function, harmonic, sent
    )
    return message, divisor


def _last_sums_back(
    folded: Folded, sent, species, used, kind, sender, edge, along, is_added: bool
) -> tuple[Any, ...]:
    """Derivative over distances and harmonics of edges, and over what is sent.

    The last added up in memory, or kept for each edge, block by block.
    """

    def back(along_sent, own):
        z, used, kind, sender, edge, along = own
        _, pull = jax.vjp(
            lambda sent, *edge: _last_sums(folded, sent, z, kind, None, *edge),
            _rows(sent, sender),
            *edge,
        )
        # places left over hold an atom that is elsewhere, too
        along = jax.tree.map(lambda x: x * used.reshape(-1, *[1] * (x.ndim - 1)), along)
        along_edge_sent, *along_edge = pull(along)
        if not is_added:
            return along_sent, (tuple(along_edge), along_edge_sent)
        added = {
            ell: along_sent[ell].at[sender].add(own, mode="promise_in_bounds")
            for ell, own in along_edge_sent.items()
        }
        return added, (tuple(along_edge), None)

    blocks = _in_blocks(len(species), (used, kind, sender, tuple(edge), along))
    begin = jax.tree.map(jnp.zeros_like, sent)
    along_sent, (along_edge, kept) = jax.lax.scan(back, begin, (species, *blocks))
    along_edge = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), along_edge)
    return along_edge, along_sent, kept


def _first_nodes(folded: Folded, z, moment):
    """Atomic basis of the first layer, and what `_first_out` makes of it."""
    basis = _first_basis(folded, z, moment)
    return basis, *_first_out(folded, z, basis)


def _first_nodes_back(folded: Folded, z, moment, basis, along):
    """Derivative over the moments; the atomic basis is not computed again."""
    _, pull = jax.vjp(functools.partial(_first_out, folded, z), basis)
    (along_basis,) = pull(along)
    _, pull = jax.vjp(functools.partial(_first_basis, folded, z), moment)
    return pull(along_basis)[0]


def _first_basis(folded: Folded, z, given):
    moment, divisor = given
    moment = moment / divisor[:, None, None]
    mixed = {
        ell: moment[:, ell**2 : (ell + 1) ** 2] @ mixing[z]
        for ell, mixing in folded.first_mixing.items()
    }
    mixed[0] = mixed[0] + folded.first_residual[z]
    return _atomic_basis(folded, "0", mixed)


def _first_out(folded: Folded, z, basis):
    """What is sent, l -> [size, 2l + 1, E], energy [size], and what skips [size, mlp]."""
    product = _product(folded, "0", basis)
    sent = {ell: product[ell] @ matrix for ell, matrix in folded.out.items()}
    scalar = sent[0][:, 0] + folded.out_constant[z]
    channels = folded.last_radial.shape[-1]
    sent[0] = scalar[:, None, :channels]
    return sent, scalar[:, channels], scalar[:, channels + 1 :]


def _last_nodes(folded: Folded, z, *given):
    """Energy of the last layer, and its derivative over all that it is given."""
    energy, pull = jax.vjp(functools.partial(_last_energy, folded), *given)
    return energy, *pull(jnp.full_like(energy, folded.scale))


def _last_energy(folded: Folded, given, sent, skipped):
    """Energy of the last layer [size], eV."""
    message, divisor = given
    message = {ell: value / divisor[:, None, None] for ell, value in message.items()}
    own = {ell: jnp.concatenate([message[ell], sent[ell]], axis=-1) for ell in sent}
    sources = message | own
    mixed = {ell: value @ folded.last_mixing[ell] for ell, value in sources.items()}
    product = _product(folded, "1", _atomic_basis(folded, "1", mixed))[0][:, 0]
    hidden = jax.nn.silu(product @ folded.last_out + skipped)
    return folded.constants["readout_activation"] * hidden @ folded.readout


def _atomic_basis(folded: Folded, layer: str, mixed):
    """Through the gate to the atomic basis [size, components, C]."""
    matrices = folded.linear_2[layer]
    return join_degrees(
        {ell: value @ matrices[ell] for ell, value in gated(folded, mixed).items()}
    )


def _product(folded: Folded, layer: str, basis) -> dict[int, Any]:
    """Product basis, l -> [size, 2l + 1, C]."""
    arch = folded.architecture
    order = arch.correlation[int(layer)]
    return {
        ell: polynomial(monomials(arch.max_ell, ell, order), coefficient, basis)
        for ell, coefficient in folded.coefficient[layer].items()
    }


def node_size(folded: Folded, replicas: int = 1) -> int:
    """Atoms of a block of nodes: so many on a CPU, or as the memory set aside takes."""
    if jax.default_backend() == "cpu":
        return NODES
    matrix = folded.linear_2["1"][0]
    components = (folded.architecture.max_ell + 1) ** 2
    of_atom = 4 * components * len(matrix) * matrix.dtype.itemsize
    return max(1, round(mace.ACCELERATOR_MEMORY / replicas / of_atom))


def prepare(
    model: Parameters, request: Request, sizes: tuple[int, int] | None = None
) -> tuple[Folded, Evaluate]:
    """A model folded for the atoms of a request, and the function that evaluates it.

    - `sizes`: the most atoms whose neighbours are summed at once, and whose products are
      made at once; None: those for this device.
    """
    species = request.species
    folded = fold(model, request.dtype, head=request.head, tolerance=request.tolerance)
    of_edges, of_nodes = sizes or (
        mace.fitting_size(folded, request.replicas),
        node_size(folded, request.replicas),
    )
    blocks = blocks_of(species, of_nodes, multiple=min(of_edges, of_nodes))
    size = min(of_edges, blocks.atom.shape[1])

    def evaluate(folded: Any, edges):
        reverse = None if jax.default_backend() == "cpu" else edges.reverse
        given = species, edges.displacement, edges.sender, reverse
        node, gradient = energy_and_gradient(folded, blocks, size, *given)
        return node, gradient, folded.atomic_energies[species]

    return folded, evaluate


def _worth(model: Parameters) -> str | None:
    if jax.default_backend() != "cpu" or model.architecture.channels < mace.WIDE:
        return None
    return f"faster than the plain one on a CPU from {mace.WIDE} channels on"


COMPILED = Kernel(
    "compiled", tabulates=True, prepare=prepare, why_not_for=reason_not_to, worth=_worth
)
"""Folded for the composition, block by block: the one for CPUs."""
