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
from jaxtyping import Array, Float, Int

from jaxdiff.models.edges import Edges
from jaxdiff.models.mace.architecture import Parameters, tensor_product_paths
from jaxdiff.models.mace.product import contraction_for
from jaxdiff.models.mace.radial import edge_features, radial_network, zbl_pair_energy
from jaxdiff.models.sums import rows_of

MAX_TABULATED_SPECIES = 4
"""Up to so many species the first layer sums neighbours species by species."""


def node_energy(
    model: Parameters,
    edges: Edges,
    species: Int[Array, " atoms"],
    head: int | Int[Array, ""] | Int[Array, " atoms"] = 0,
) -> Float[Array, " atoms"]:
    """Interaction energy of each atom, eV: everything but the isolated-atom energies.

    `species` are indices into the model's species table.
    """
    distance, pair_species = pairs(edges, species)
    radial = edge_features(model, distance, pair_species)

    total = start(model, edges, species, distance, pair_species)
    for layer, feature in enumerate(_layers(model, edges, radial, species)):
        own = model.weights["readouts"][str(layer)]
        total = total + readout(model, own, feature[0][:, 0, :], head)
    return scaled(model, total, head)


def start(model, edges, species, distance, pair_species):
    """Energy of each atom before any layer, eV: its pairs' repulsion, if there is any."""
    if model.architecture.zbl_power is None:
        return jnp.zeros(species.shape[0], distance.dtype)
    return edges.total(repulsion(model, distance, pair_species), species.shape[0])


def scaled(model, total, head):
    """The sum of the readouts in eV, for the head of each atom."""
    if not model.architecture.scale_shift:
        return total
    scale, shift = (jnp.asarray(model.constants[n])[head] for n in ("scale", "shift"))
    return scale * total + shift


def node_features(
    model: Parameters, edges: Edges, species: Int[Array, " atoms"]
) -> list[dict[int, Float[Array, "atoms _components channels"]]]:
    """Features of each atom after each layer: l -> [atoms, 2l + 1, channels].

    `species` are indices into the model's species table.
    """
    radial = edge_features(model, *pairs(edges, species))
    return list(_layers(model, edges, radial, species))


def pairs(edges, species):
    """Length of each edge, Å, and the species at its two ends."""
    distance = jnp.sqrt(jnp.sum(edges.displacement**2, axis=-1))
    return distance, (species[edges.sender], edges.at_receiver(species))


def _layers(model, edges, radial, species) -> Iterator[dict[int, Array]]:
    """Features after one layer at a time."""
    arch = model.architecture
    harmonic = spherical_harmonics(arch.max_ell, edges.displacement)
    embedding = model.weights["embedding"] / len(arch.atomic_numbers) ** 0.5
    feature = {0: rows_of(embedding, species)[:, None, :]}
    for layer in range(len(arch.interactions)):
        feature = _layer(model, layer, feature, edges, radial, harmonic, species)
        yield feature


def spherical_harmonics(
    max_ell: int, displacement: Float[Any, "*edges 3"]
) -> dict[int, Array]:
    """Real harmonics of the directions, component normalised: l -> [*edges, 2l + 1]."""
    y = joined_harmonics(max_ell, displacement)
    return {ell: y[..., ell**2 : (ell + 1) ** 2] for ell in range(max_ell + 1)}


def joined_harmonics(max_ell: int, displacement: Float[Any, "*edges 3"]) -> Array:
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
    feature = linear(weights["linear_up"], feature)
    *hidden, last = weights["radial"].values()
    radial = radial_network(hidden, radial, model.constants["radial_activation"])
    paths = tensor_product_paths(tuple(feature), arch.max_ell)
    last = jnp.split(last / last.shape[0] ** 0.5, len(paths), axis=1)
    if layer == 0 and len(arch.atomic_numbers) <= MAX_TABULATED_SPECIES:
        mixed = model.weights["embedding"] @ weights["linear_up"]["0"]
        table = mixed / (arch.channels * len(arch.atomic_numbers)) ** 0.5
        coupled = _convolve_species(table, last, edges, radial, harmonic, species)
    else:
        coupled = convolve(feature, paths, last, edges, radial, harmonic, len(species))
    return linear(weights["linear"], by_message(coupled, paths))


def by_message(coupled, paths):
    """Paths to the same degree of message side by side: l -> [atoms, 2l + 1, paths * E]."""
    return {
        ell: jnp.concatenate(
            [coupled[n] for n, (_, _, l3) in enumerate(paths) if l3 == ell], axis=-1
        )
        for ell in sorted({l3 for *_, l3 in paths})
    }


def convolve(feature, paths, last, edges, radial, harmonic, n_atoms):
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
    """`convolve` where features are a table [species, channels]: the first layer.

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
    return linear(weights["linear"], contracted)


def linear(weights, feature):
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


def readout(model, weights, scalar, head):
    """Energy of each atom from its scalar features, for its own head."""
    arch = model.architecture
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
    radius = jnp.asarray(constants["radius"])
    radius_sum = radius[pair_species[0]] + radius[pair_species[1]]
    return zbl_pair_energy(
        distance, charge, radius_sum, constants, model.architecture.zbl_power
    )
