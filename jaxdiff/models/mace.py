"""The MACE evaluator: displacements of neighbours in, energy of each atom out.

Batatia et al., doi:10.48550/arXiv.2206.07697 (MACE) and doi:10.48550/arXiv.2401.00096
(density normalisation). Normalisations are those of upstream's PyTorch code, so that its
weights can be used as they are.
"""

import functools
from collections.abc import Iterator
from typing import Any

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.models.architecture import Mace, tensor_product_paths
from jaxdiff.models.product import contraction_for
from jaxdiff.models.radial import edge_features, radial_network, zbl_pair_energy

MAX_TABULATED_SPECIES = 4
"""Up to so many species the first layer sums neighbours species by species."""


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

    displacement: Any
    sender: Any
    receiver: Any = None
    reverse: Any = None

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
        return _collect(edge, self.sender, self.reverse)

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


@jax.custom_vjp
def _gather(node, sender, reverse):
    """Values of the senders, one per edge; its transpose is `_collect`."""
    return node.at[sender].get(mode="promise_in_bounds")


@jax.custom_vjp
def _collect(edge, sender, reverse):
    """Sum over the edges that each atom sends, found through `reverse`."""
    flat = edge.reshape(-1, *edge.shape[2:])
    used = (reverse < len(flat)).reshape(*reverse.shape, *[1] * (flat.ndim - 1))
    sent = flat.at[jnp.minimum(reverse, len(flat) - 1)].get(mode="promise_in_bounds")
    return jnp.where(used, sent, 0.0).sum(axis=1)


_gather.defvjp(
    lambda node, sender, reverse: (_gather(node, sender, reverse), (sender, reverse)),
    lambda indices, edge: (_collect(edge, *indices), None, None),
)
_collect.defvjp(
    lambda edge, sender, reverse: (_collect(edge, sender, reverse), (sender, reverse)),
    lambda indices, node: (_gather(node, *indices), None, None),
)


# The three products of an array of edges a [n, k, d], another e [n, k, c] and one of atoms
# g [n, d, c]. Each is the derivative of the other two; written so, the large arrays enter
# every matrix product as they lie in memory, and none is transposed.


@jax.custom_vjp
def _sum_neighbors(a, e):
    """Sum over neighbours, [n, d, c]."""
    return jnp.einsum("nkd,nkc->ndc", a, e)


@jax.custom_vjp
def _to_channels(a, g):
    """Sum over components, [n, k, c]."""
    return jnp.einsum("nkd,ndc->nkc", a, g)


@jax.custom_vjp
def _to_components(e, g):
    """Sum over channels, [n, k, d]."""
    return jnp.einsum("nkc,ndc->nkd", e, g)


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


def node_energy(
    model: Mace,
    edges: Edges,
    species: Int[Array, " atoms"],
    head: int | Int[Array, " atoms"] = 0,
) -> Float[Array, " atoms"]:
    """Interaction energy of each atom, eV: everything but the isolated-atom energies.

    `species` are indices into the model's species table.
    """
    arch, constants = model.architecture, model.constants
    distance, pair_species = _pairs(edges, species)
    radial = edge_features(model, distance, pair_species)

    n_atoms = species.shape[0]
    total = jnp.zeros(n_atoms, radial.dtype)
    if arch.zbl_power is not None:
        total = edges.total(repulsion(model, distance, pair_species), n_atoms)

    for layer, feature in enumerate(_layers(model, edges, radial, species)):
        total = total + _readout(model, layer, feature[0][:, 0, :], head)

    if arch.scale_shift:
        return constants["scale"][head] * total + constants["shift"][head]
    return total


def node_features(
    model: Mace, edges: Edges, species: Int[Array, " atoms"]
) -> list[dict[int, Float[Array, "atoms components channels"]]]:
    """Features of each atom after each layer: l -> [atoms, 2l + 1, channels].

    `species` are indices into the model's species table.
    """
    radial = edge_features(model, *_pairs(edges, species))
    return list(_layers(model, edges, radial, species))


def _pairs(edges, species):
    """Length of each edge, Å, and the species at its two ends."""
    distance = jnp.sqrt(jnp.sum(edges.displacement**2, axis=-1))
    return distance, (species[edges.sender], edges.at_receiver(species))


def _layers(model, edges, radial, species) -> Iterator[dict[int, Array]]:
    """Features after one layer at a time."""
    arch = model.architecture
    harmonic = spherical_harmonics(arch.max_ell, edges.displacement)
    embedding = model.weights["embedding"] / len(arch.atomic_numbers) ** 0.5
    feature = {0: embedding[species][:, None, :]}
    for layer in range(len(arch.interactions)):
        feature = _layer(model, layer, feature, edges, radial, harmonic, species)
        yield feature


def spherical_harmonics(max_ell: int, displacement: Array) -> dict[int, Array]:
    """Real harmonics of the directions, component normalised: l -> [*edges, 2l + 1]."""
    y = joined_harmonics(max_ell, displacement)
    return {ell: y[..., ell**2 : (ell + 1) ** 2] for ell in range(max_ell + 1)}


def joined_harmonics(max_ell: int, displacement: Array) -> Array:
    """`spherical_harmonics` as one array [*edges, (max_ell + 1)^2]."""
    irreps = e3nn.Irreps.spherical_harmonics(max_ell)
    square = jnp.sum(displacement**2, axis=-1)
    # times the inverse: the compiler divides in one program, and not in another
    direction = displacement * (1 / jnp.sqrt(jnp.where(square == 0, 1, square)))[..., None]
    return e3nn.spherical_harmonics(irreps, direction, False, "component").array


@functools.cache
def coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    """Clebsch-Gordan coefficients [m1, m2, m3] in component normalisation."""
    return np.asarray(e3nn.clebsch_gordan(l1, l2, l3)) * (2 * l3 + 1) ** 0.5


def _layer(model, layer, feature, edges, radial, harmonic, species):
    """One interaction and product: features of this layer to features of the next."""
    arch, weights = model.architecture, model.weights["interactions"][str(layer)]
    kind = arch.interactions[layer]
    density_block, residual = "Density" in kind, "Residual" in kind
    n_atoms = species.shape[0]

    message = _message(model, layer, feature, edges, radial, harmonic, species)
    if density_block:
        gate = radial @ (weights["density"] / radial.shape[-1] ** 0.5)
        density = edges.total(jnp.tanh(gate[..., 0] ** 2), n_atoms)
        inverse_norm = (1.0 / (density + 1.0))[:, None, None]
    else:
        inverse_norm = 1.0 / arch.average_neighbors
    message = {ell: value * inverse_norm for ell, value in message.items()}

    skip = _species_linear(weights["skip"], feature if residual else message, species)
    atomic_basis = jnp.concatenate(list((message if residual else skip).values()), axis=1)
    product = _product(model, layer, atomic_basis, species)
    if not residual:
        return product
    return {
        ell: value + skip[ell] if ell in skip else value for ell, value in product.items()
    }


def _message(model, layer, feature, edges, radial, harmonic, species):
    """Messages summed over neighbours and mixed: l -> [atoms, 2l + 1, channels]."""
    arch, weights = model.architecture, model.weights["interactions"][str(layer)]
    feature = _linear(weights["linear_up"], feature)
    *hidden, last = weights["radial"].values()
    radial = radial_network(hidden, radial, model.constants["radial_activation"])
    paths = tensor_product_paths(tuple(feature), arch.max_ell)
    last = jnp.split(last / last.shape[0] ** 0.5, len(paths), axis=1)
    if layer == 0 and len(arch.atomic_numbers) <= MAX_TABULATED_SPECIES:
        mixed = model.weights["embedding"] @ weights["linear_up"]["0"]
        table = mixed / (arch.channels * len(arch.atomic_numbers)) ** 0.5
        coupled = _convolve_species(table, last, edges, radial, harmonic, species)
    else:
        coupled = _convolve(feature, paths, last, edges, radial, harmonic, len(species))
    stacked = {
        ell: jnp.concatenate(
            [coupled[n] for n, (_, _, l3) in enumerate(paths) if l3 == ell], axis=-1
        )
        for ell in sorted({l3 for *_, l3 in paths})
    }
    return _linear(weights["linear"], stacked)


def _convolve(feature, paths, last, edges, radial, harmonic, n_atoms):
    """Per path: sum over neighbours of R(r) (h x Y), [atoms, 2 l3 + 1, channels]."""
    sent = split_degrees(edges.at_sender(join_degrees(feature)), tuple(feature))
    coupled = {}
    # path by path: the weights are split and nothing is joined, for edges' values are large
    for n, (l1, l2, l3) in enumerate(paths):
        weighted = sent[l1] * (radial @ last[n])[..., None, :]
        outer = edges.outer_total(_flat(weighted), harmonic[l2], n_atoms)
        outer = outer.reshape(*outer.shape[:2], *weighted.shape[-2:])
        matrix = jnp.asarray(coupling(l1, l2, l3), outer.dtype)
        coupled[n] = jnp.einsum("ndmc,mdo->noc", outer, matrix)
    return coupled


def _convolve_species(table, last, edges, radial, harmonic, species):
    """`_convolve` where features are a table [species, channels]: the first layer.

    Neighbours are summed before channels exist: the sum over neighbours of one species
    of (radial functions) x (harmonics) is all that the messages need. Path n is
    (0, n, n), whose coupling is the identity.
    """
    n_species, n_radial = table.shape[0], radial.shape[-1]
    one_hot = species[edges.sender][..., None] == jnp.arange(n_species)
    by_species = jnp.where(one_hot[..., None, :], radial[..., None], 0.0)
    joined = jnp.concatenate(list(harmonic.values()), axis=-1)
    moments = edges.outer_total(_flat(by_species), joined, len(species))
    coupled = {}
    for n in harmonic:
        mixing = last[n][:, None, :] * table[None]
        part = moments[:, n**2 : (n + 1) ** 2].reshape(len(species), 2 * n + 1, -1)
        coupled[n] = part @ mixing.reshape(n_radial * n_species, -1)
    return coupled


def _flat(edge):
    """The last two axes as one."""
    return edge.reshape(*edge.shape[:-2], -1)


def join_degrees(feature):
    """l -> [atoms, 2l + 1, channels] to one array [atoms, components, channels]."""
    return jnp.concatenate(list(feature.values()), axis=1)


def split_degrees(joined, degrees):
    """The inverse of `join_degrees`, on any leading axes."""
    starts = np.cumsum([0, *(2 * ell + 1 for ell in degrees)])
    return {ell: joined[..., starts[n] : starts[n + 1], :] for n, ell in enumerate(degrees)}


def _product(model, layer, atomic_basis, species):
    """Product basis and its linear mixing: l -> [atoms, 2l + 1, channels]."""
    arch, weights = model.architecture, model.weights["products"][str(layer)]
    u_matrices = model.constants["products"][str(layer)]
    contracted = {}
    for ell in arch.hidden[layer]:
        contract = contraction_for(arch.max_ell, ell, arch.correlation[layer])
        contracted[ell] = contract(
            u_matrices[str(ell)], weights["contraction"][str(ell)], atomic_basis, species
        )
    return _linear(weights["linear"], contracted)


def _linear(weights, feature):
    """e3nn Linear: a matrix per degree, divided by the square root of its fan-in."""
    return {
        ell: value @ (weights[str(ell)] / weights[str(ell)].shape[0] ** 0.5)
        for ell, value in feature.items()
    }


def _species_linear(weights, feature, species):
    """e3nn FullyConnectedTensorProduct with one-hot species: a matrix per species.

    Degrees without weights are dropped (the last layer keeps scalars only).
    """
    out = {}
    for ell, value in feature.items():
        if str(ell) not in weights:
            continue
        weight = weights[str(ell)]
        n_in, n_species, _ = weight.shape
        one_hot = jnp.asarray(species[:, None] == jnp.arange(n_species), value.dtype)
        mixed = jnp.einsum("nmu,uzw,nz->nmw", value, weight, one_hot)
        out[ell] = mixed / (n_in * n_species) ** 0.5
    return out


def _readout(model, layer, scalar, head):
    """Energy of each atom from its scalar features, for its own head."""
    arch, weights = model.architecture, model.weights["readouts"][str(layer)]
    n_heads = len(arch.heads)
    atoms = jnp.arange(scalar.shape[0])
    head = jnp.broadcast_to(jnp.asarray(head), scalar.shape[:1])
    if "linear" in weights:
        per_head = scalar @ (weights["linear"] / scalar.shape[-1] ** 0.5)
        return per_head[atoms, head]
    hidden = scalar @ (weights["linear_1"] / scalar.shape[-1] ** 0.5)
    hidden = model.constants["readout_activation"] * jax.nn.silu(hidden)
    selected = jax.nn.one_hot(head, n_heads, dtype=hidden.dtype)
    hidden = hidden * jnp.repeat(selected, arch.mlp_channels, axis=1)
    per_head = hidden @ (weights["linear_2"] / weights["linear_2"].shape[0] ** 0.5)
    return per_head[atoms, head]


def repulsion(model, distance, pair_species):
    """ZBL energy of each directed edge, eV."""
    constants = model.constants["zbl"]
    number = jnp.asarray(model.architecture.atomic_numbers, distance.dtype)
    charge = (number[pair_species[0]], number[pair_species[1]])
    radius = constants["radius"]
    radius_sum = radius[pair_species[0]] + radius[pair_species[1]]
    return zbl_pair_energy(
        distance, charge, radius_sum, constants, model.architecture.zbl_power
    )
