"""The evaluator for a fixed composition: energies and their derivative, block by block.

The same numbers as `jaxdiff.models.mace.layers`, in another order. Atoms are taken in
blocks of one species, so that an edge's weights exist for one block at a time and stay in
the cache; the last layer's energy and its derivative come from one visit of a block. The
derivative over positions is written as three passes over blocks, not left to reverse mode.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.models.blocks import Blocks, blocks_of
from jaxdiff.models.contract import Evaluate, Kernel, Request
from jaxdiff.models.edges import collect
from jaxdiff.models.mace.architecture import (
    Architecture,
    Parameters,
    tensor_product_paths,
)
from jaxdiff.models.mace.folded import Folded, fold, reason_not_to, table_row
from jaxdiff.models.mace.layers import (
    coupling,
    join_degrees,
    joined_harmonics,
    repulsion,
    split_degrees,
)
from jaxdiff.models.mace.polynomial import monomials, polynomial
from jaxdiff.models.mace.radial import edge_features, radial_network

WIDE = 24
"""From so many channels on it was seen to be faster than the plain one on a CPU."""
CACHE = 3 * 2**19
"""Bytes of the weights of a block's edges on a CPU."""
ACCELERATOR_MEMORY = 2**28
"""The same on an accelerator, of all replicas that are evaluated at once."""
_PLACES = 128


def fitting_size(folded: Any, replicas: int = 1) -> int:
    """Atoms of a block whose weights of edges fit the cache, or the memory set aside.

    Not by the places that a row has: sums would round otherwise when rows grow.

    - `folded`: of any kind, with `last_radial`.
    - `replicas`: how many share the memory of an accelerator.
    """
    of_edge = folded.last_radial[0, 0]
    of_atom = _PLACES * of_edge.size * of_edge.dtype.itemsize
    on_cpu = jax.default_backend() == "cpu"
    room = CACHE if on_cpu else ACCELERATOR_MEMORY / replicas
    return max(1, round(room / of_atom))


def energy_and_gradient(
    folded: Folded,
    blocks: Blocks,
    species: Int[np.ndarray, " atoms"],
    displacement: Float[Array, "atoms places 3"],
    sender: Int[Array, "atoms places"],
    convolve: Callable,
    reverse: Int[Array, "atoms places"] | None = None,
) -> tuple[Float[Array, " atoms"], Float[Array, "atoms places 3"]]:
    """Interaction energy of each atom, eV, and the derivative of their sum, eV/Å.

    Rows as those of `jaxdiff.models.edges.Edges`; the derivative is over displacements.
    `convolve`: sums over neighbours of the last layer, as `convolve_by_path` does.
    `reverse`: with it, what comes back to the senders is kept for all edges and gathered,
    always in one order; without, added up block by block: faster on a CPU, and in any order
    on others.
    """
    of_edges = functools.partial(geometry, folded.architecture.max_ell)
    (distance, harmonic), to_displacement = jax.vjp(of_edges, displacement)
    sender, kind = sender[blocks.atom], jnp.asarray(species)[sender][blocks.atom]
    own = Own(jnp.asarray(blocks.species), kind)
    edge = distance[blocks.atom], harmonic[blocks.atom]
    weight = jnp.asarray(blocks.used, displacement.dtype) * folded.scale

    def of_atoms(block):
        return block.reshape(-1, *block.shape[2:])[blocks.place]

    first = functools.partial(_first_layer, folded)
    energy, feature = jax.lax.map(lambda given: first(given[0], *given[1]), (own, edge))
    send = functools.partial(_by_degree, folded.up)
    sent, to_feature = jax.vjp(send, of_atoms(feature))

    def last(along_sent, given):
        own, edge, sender, feature, weight = given
        layer = functools.partial(_last_layer, folded, convolve, own)
        energy, pull = jax.vjp(layer, *edge, sent[sender], feature)
        *along_edge, along_edge_sent, along_feature = pull(weight)
        if reverse is None:
            added = along_sent.at[sender].add(along_edge_sent, mode="promise_in_bounds")
            return added, (energy, tuple(along_edge), along_feature, None)
        return along_sent, (energy, tuple(along_edge), along_feature, along_edge_sent)

    along_sent, (last_energy, along_edge, along_feature, kept) = jax.lax.scan(
        last, jnp.zeros_like(sent), (own, edge, sender, feature, weight)
    )
    if reverse is not None:
        along_sent = gathered(blocks, kept, sender, reverse)
    along_feature = along_feature + to_feature(along_sent)[0][blocks.atom]

    def first_back(given):
        own, edge, weight, along_feature = given
        _, pull = jax.vjp(functools.partial(_first_layer, folded, own), *edge)
        used = (weight != 0)[:, None, None]
        return pull((weight, jnp.where(used, along_feature, 0.0)))

    along_first = jax.lax.map(first_back, (own, edge, weight, along_feature))
    both = zip(along_first, along_edge, strict=True)
    along_edge = tuple(of_atoms(a + b) for a, b in both)
    total = folded.scale * of_atoms(energy + last_energy) + folded.shift
    return total, to_displacement(along_edge)[0]


def gathered(blocks: Blocks, kept, sender, reverse):
    """Sum over the edges that each atom sends, of values that lie block by block.

    `kept` [blocks, size, places, ...] and `sender` [blocks, size, places]; `reverse`
    [atoms, places] as in `jaxdiff.models.edges.Edges`.
    """
    n_atoms, places = reverse.shape
    row, place = reverse // places, reverse % places
    there = jnp.asarray(blocks.place)[jnp.minimum(row, n_atoms - 1)] * places + place
    there = jnp.where(row < n_atoms, there, sender.size)  # of edges that are none
    kept = kept.reshape(-1, places, *kept.shape[3:])
    return collect(kept, sender.reshape(-1, places), there)


def geometry(max_ell: int, displacement):
    """Lengths of edges, Å, and harmonics of their directions, all degrees in one array."""
    distance = jnp.sqrt(jnp.sum(displacement**2, axis=-1))
    return distance, joined_harmonics(max_ell, displacement)


@struct.dataclass
class Own:
    """Species of a block's atoms [], and of those that send to them [size, places]."""

    receiver: Any
    sender: Any


def _first_layer(folded: Folded, own: Own, distance, harmonic):
    """Energy [size], eV, and features [size, components, C] of a block's atoms."""
    arch, z = folded.architecture, own.receiver
    n_species = len(arch.atomic_numbers)
    function, density = _radial(folded, "0", own, distance)
    moment = moments(n_species, own, function, harmonic)
    mixing = folded.first_mixing[z]
    basis = jnp.concatenate(
        [
            moment[:, ell**2 : (ell + 1) ** 2] @ mixing[ell]
            for ell in range(arch.max_ell + 1)
        ],
        axis=1,
    )
    feature = _product(folded, "0", z, basis / (density[:, None, None] + 1.0))
    feature = feature.at[:, 0].add(folded.first_constant[z])
    energy = _readout(folded, "0", feature[:, 0])
    return energy + pair_energy(folded, own, distance), feature


def moments(n_species: int, own: Own, function, harmonic):
    """Sums over neighbours of functions x harmonics: [size, components, functions * Z].

    Those of each species of the neighbours are apart: species after species within a
    function.
    """
    one_hot = own.sender[..., None] == jnp.arange(n_species)
    by_species = jnp.where(one_hot[..., None, :], function[..., None], 0.0)
    by_species = by_species.reshape(*function.shape[:-1], -1)
    return jnp.einsum("bkd,bke->bde", harmonic, by_species)


def pair_energy(folded: Any, own: Own, distance):
    """Repulsion of a block's atoms from their neighbours [size], eV; 0 without one."""
    if folded.architecture.zbl_power is None:
        return jnp.zeros(distance.shape[0], distance.dtype)
    pair = (jnp.broadcast_to(own.receiver, own.sender.shape), own.sender)
    return jnp.sum(repulsion(folded, distance, pair), axis=-1)


def _last_layer(folded: Folded, convolve, own: Own, distance, harmonic, sent, feature):
    """Energy [size], eV, of a block's atoms, from what is sent along their edges."""
    arch, z = folded.architecture, own.receiver
    function, density = _radial(folded, "1", own, distance)
    coupled = convolve(arch, folded.last_radial[z], function, harmonic, sent)
    message = [coupled[ell] @ folded.last_mixing[ell] for ell in range(arch.max_ell + 1)]
    if folded.last_species is not None:
        message = [m @ folded.last_species[ell][z] for ell, m in enumerate(message)]
    basis = jnp.concatenate(message, axis=1) / (density[:, None, None] + 1.0)
    scalar = _product(folded, "1", z, basis)[:, 0]
    if folded.last_skip is not None:
        scalar = scalar + feature[:, 0] @ folded.last_skip[z]
    return _readout(folded, "1", scalar)


def convolve_by_path(arch: Architecture, radial, function, harmonic, sent):
    """Sums over neighbours of R(r) (h x Y): l -> [size, 2l + 1, paths_l * C].

    Arguments as those of `jaxdiff.models.mace.fused.convolve`.
    """
    by_degree = split_degrees(sent, arch.hidden[0])
    return convolve_degrees(arch.max_ell, radial, function, harmonic, by_degree)


def convolve_degrees(
    max_ell: int, radial, function, harmonic, sent: dict[int, Any]
) -> dict[int, Any]:
    """As `convolve_by_path`, of features sent by degree, l -> [size, places, 2l + 1, C].

    Harmonics are coupled before the sum, which is one product over places and components.
    """
    size, places = function.shape[:2]
    degrees = tuple(sent)
    matrices = _couplings(degrees, max_ell)
    along_paths = jax.lax.split(
        harmonic @ jnp.asarray(np.concatenate(matrices, axis=1), harmonic.dtype),
        [matrix.shape[1] for matrix in matrices],
        axis=2,
    )
    coupled = {ell: [] for ell in range(max_ell + 1)}
    for n, (l1, _, l3) in enumerate(tensor_product_paths(degrees, max_ell)):
        weight = function @ radial[:, n]
        mine = sent[l1] * weight[:, :, None]
        along = along_paths[n].reshape(size, -1, 2 * l3 + 1)
        mine = mine.reshape(size, -1, mine.shape[-1])
        coupled[l3].append(jnp.einsum("bko,bkc->boc", along, mine))
    return {ell: jnp.concatenate(of_paths, axis=-1) for ell, of_paths in coupled.items()}


def _couplings(
    degrees: tuple[int, ...], max_ell: int
) -> list[Float[np.ndarray, "components _coupled"]]:
    """Of each path, from all harmonics to components sent x components of the message."""
    matrices = []
    for l1, l2, l3 in tensor_product_paths(degrees, max_ell):
        matrix = np.zeros(((max_ell + 1) ** 2, 2 * l1 + 1, 2 * l3 + 1))
        matrix[l2**2 : (l2 + 1) ** 2] = np.swapaxes(coupling(l1, l2, l3), 0, 1)
        matrices.append(matrix.reshape(len(matrix), -1))
    return matrices


def _radial(folded: Folded, layer: str, own: Own, distance):
    """Radial functions of the edges, and the density of each atom: 0 in blocks without."""
    radial, gate = folded.radial[layer], folded.radial[layer].get("gate")
    if "table" in radial:
        row = table_row(layer, len(folded.architecture.atomic_numbers))
        function, density = tabulated(radial, row, own, distance)
    else:
        pair = (own.sender, jnp.broadcast_to(own.receiver, own.sender.shape))
        basis = edge_features(folded, distance, pair)
        activation = folded.constants["radial_activation"]
        function = radial_network(radial["hidden"], basis, activation)
        density = None if gate is None else jnp.tanh((basis @ gate) ** 2)
    if density is None:
        return function, jnp.zeros(distance.shape[0], function.dtype)
    return function, jnp.sum(density, axis=-1)


def tabulated(
    radial: dict[str, Any], row: Int[np.ndarray, "_z _z"], own: Own, distance
) -> tuple[Any, Any]:
    """Functions of a block's edges from a table, and the density of each, or None.

    - `radial`: table, and gate [Z, Z, functions] by receiver and sender where neighbours
      have densities; `row`: of the table, by receiver and sender.
    """
    function = radial["table"](distance, jnp.asarray(row)[own.receiver][own.sender])
    if "gate" not in radial:
        return function, None
    by_sender = function @ radial["gate"][own.receiver].T
    is_sender = own.sender[..., None] == jnp.arange(len(row))
    return function, jnp.sum(jnp.where(is_sender, by_sender, 0.0), axis=-1)


def _product(folded: Folded, layer: str, z, basis):
    """Product basis and its linear mixing, all degrees in one array."""
    arch = folded.architecture
    contracted: list[Any] = [
        polynomial(
            monomials(arch.max_ell, ell, arch.correlation[int(layer)]), own[z], basis
        )
        for ell, own in folded.coefficient[layer].items()
    ]
    return _by_degree(folded.linear[layer], jnp.concatenate(contracted, axis=1))


def _by_degree(matrices, feature):
    """One matrix for each degree of [atoms, components, C]."""
    parts = split_degrees(feature, tuple(matrices))
    return join_degrees({ell: parts[ell] @ matrix for ell, matrix in matrices.items()})


def _readout(folded: Folded, layer: str, scalar):
    weights = folded.readout[layer]
    if "linear" in weights:
        return scalar @ weights["linear"]
    hidden = jax.nn.silu(scalar @ weights["linear_1"])
    return folded.constants["readout_activation"] * hidden @ weights["linear_2"]


def prepare(
    model: Parameters,
    request: Request,
    convolve: Callable = convolve_by_path,
    block_size: int | None = None,
) -> tuple[Folded, Evaluate]:
    """A model folded for the atoms of a request, and the function that evaluates it.

    - `convolve`: see `energy_and_gradient`.
    - `block_size`: atoms whose edges are in memory at once; None: as many as a cache holds.
    """
    species = request.species
    folded = fold(model, request.dtype, head=request.head, tolerance=request.tolerance)
    size = block_size or fitting_size(folded, request.replicas)
    blocks = blocks_of(species, size)

    def evaluate(folded, edges):
        reverse = None if jax.default_backend() == "cpu" else edges.reverse
        given = edges.displacement, edges.sender, convolve, reverse
        node, gradient = energy_and_gradient(folded, blocks, species, *given)
        return node, gradient, folded.atomic_energies[species]

    return folded, evaluate


def _worth(model: Parameters) -> str | None:
    if jax.default_backend() != "cpu" or model.architecture.channels < WIDE:
        return None
    return f"faster than the plain one on a CPU from {WIDE} channels on"


COMPILED = Kernel(
    "compiled", tabulates=True, prepare=prepare, why_not_for=reason_not_to, worth=_worth
)
"""Folded for the composition, block by block: the one for CPUs."""
