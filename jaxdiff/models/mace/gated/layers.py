"""MACE with RealAgnosticResidualNonLinearInteractionBlock: energies of atoms.

The blocks of MACE-MH-1 (doi:10.48550/arXiv.2510.25380) and MACE-OMOL-0: radial functions
know the species at both ends, messages pass a gate, products are those of all species. Sums
over neighbours, products and readouts are those of `jaxdiff.models.mace`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdiff.models.edges import Edges
from jaxdiff.models.mace import layers as mace
from jaxdiff.models.mace import radial as functions
from jaxdiff.models.mace.architecture import tensor_product_paths
from jaxdiff.models.mace.gated.architecture import Parameters
from jaxdiff.models.mace.product import contraction_for
from jaxdiff.models.sums import rows_of

_NORM_EPSILON = 1e-5


def node_energy(
    model: Parameters,
    edges: Edges,
    species: Int[Any, " atoms"],
    head: int | Int[Any, ""] | Int[Any, " atoms"] = 0,
) -> Float[Array, " atoms"]:
    """Interaction energy of each atom, eV: everything but `isolated`."""
    distance, pair = mace.pairs(edges, species)
    total = mace.start(model, edges, species, distance, pair)
    features = list(node_features(model, edges, species))
    read = features if len(model.architecture.readouts) > 1 else features[-1:]
    for number, feature in enumerate(read):
        total = total + _readout(model, number, feature[0][:, 0, :], head)
    return mace.scaled(model, total, head) + model.structure_energy(species, head)


def node_features(
    model: Parameters, edges: Edges, species: Int[Any, " atoms"]
) -> Iterator[dict[int, Float[Array, "atoms _components channels"]]]:
    """Features after one layer at a time: l -> [atoms, 2l + 1, channels]."""
    arch = model.architecture
    distance, pair = mace.pairs(edges, species)
    x = functions.transformed(model, distance, pair)
    basis = functions.bessel_basis(x, model.constants["bessel"], arch.cutoff)
    envelope = functions.polynomial_envelope(distance, arch.cutoff, arch.cutoff_power)
    harmonic = mace.spherical_harmonics(arch.max_ell, edges.displacement)
    feature = {0: model.start(species)[:, None, :]}
    for layer in range(len(arch.hidden)):
        edge = basis, envelope[..., None], harmonic
        feature = _layer(model, layer, feature, edges, edge, species)
        yield feature


def _layer(model, layer, feature, edges, edge, species):
    """One interaction and product: features of this layer to features of the next."""
    weights = model.weights["interactions"][str(layer)]
    basis, envelope, harmonic = edge
    n_atoms = len(species)

    skip = mace.linear(weights["skip"], _of(weights["skip"], feature))
    sent = mace.linear(weights["linear_up"], feature)
    residual = mace.linear(weights["residual"], sent)
    networks = (
        _hidden(weights, name, basis, edges, species) for name in ("radial", "density")
    )
    (radial, radial_last), (density, density_last) = networks
    square = (density @ density_last["weight"] + density_last["bias"])[..., 0] ** 2
    number = edges.total(envelope[..., 0] * jnp.tanh(square), n_atoms)

    # the bias is the weight of one more function, which is 1
    one = jnp.ones_like(envelope)
    radial = envelope * jnp.concatenate([radial, one], axis=-1)
    last = jnp.concatenate([radial_last["weight"], radial_last["bias"][None]])
    paths = tensor_product_paths(tuple(sent), model.architecture.max_ell)
    last = jnp.split(last, len(paths), axis=1)
    coupled = mace.convolve(sent, paths, last, edges, radial, harmonic, n_atoms)
    message = mace.linear(weights["linear_1"], mace.by_message(coupled, paths))
    divisor = (weights["beta"] * number + weights["alpha"])[:, None, None]
    message = {ell: value / divisor for ell, value in message.items()}
    for ell, value in residual.items():
        message[ell] = message[ell] + value

    basis = mace.linear(weights["linear_2"], gated(model, message))
    product = _product(model, layer, mace.join_degrees(basis))
    for ell, value in skip.items():
        product[ell] = product[ell] + value
    return product


def _of(weights: Mapping[str, Any], feature: Mapping[int, Array]) -> dict[int, Array]:
    """The degrees for which there are weights."""
    return {ell: value for ell, value in feature.items() if str(ell) in weights}


def _hidden(weights, name, basis, edges, species):
    """Values of a network's last hidden layer on each edge, and its last layer.

    Its input is (basis, embedding of the sender, of the receiver), whose first layer is
    split: species give one vector each, and nothing as wide as the input is formed.
    """
    *hidden, last = weights[name].values()
    ends = basis.shape[-1], basis.shape[-1] + weights["source"].shape[1]
    radial, source, target = jnp.split(hidden[0]["weight"], ends, axis=0)
    root = weights["source"].shape[0] ** 0.5
    sender = rows_of(weights["source"] / root @ source, species)
    receiver = rows_of(weights["target"] / root @ target, species)
    value = basis @ radial + edges.at_sender(sender) + edges.at_receiver(receiver)
    return last_hidden(hidden, value), last


def last_hidden(
    hidden: Sequence[Mapping[str, Any]], value: Float[Array, "*edges width"]
) -> Float[Array, "*edges _hidden"]:
    """Values of a network's last hidden layer, from what its first matrix gives."""
    value = _activated(value, hidden[0])
    for layer in hidden[1:]:
        value = _activated(value @ layer["weight"], layer)
    return value


def _activated(value, layer):
    """A hidden layer's end: bias, norm, silu without a constant."""
    normalised = _normalised(value + layer["bias"])
    return jax.nn.silu(normalised * layer["scale"] + layer["offset"])


def _normalised(value: Array) -> Array:
    """Of PyTorch's LayerNorm: mean 0 and variance 1 over the last axis."""
    centred = value - value.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt(variance + _NORM_EPSILON)


def gated(model: Any, message: Mapping[int, Array]) -> dict[int, Array]:
    """Scalars through silu; each higher degree times the sigmoid of scalars of its own."""
    channels, constants = model.architecture.channels, model.constants["gate"]
    scalar, *gates = jnp.split(message[0], message[0].shape[-1] // channels, axis=-1)
    gated = {0: constants["scalar"] * jax.nn.silu(scalar)}
    for ell, gate in enumerate(gates, start=1):
        gated[ell] = message[ell] * (constants["gate"] * jax.nn.sigmoid(gate))
    return gated


def _product(model, layer, atomic_basis):
    """Product basis with the weights of all species, and its linear mixing."""
    arch, weights = model.architecture, model.weights["products"][str(layer)]
    u_matrices = model.constants["products"][str(layer)]
    same = jnp.zeros(atomic_basis.shape[0], jnp.int32)
    contracted = {}
    for ell in arch.hidden[layer]:
        contract = contraction_for(arch.max_ell, ell, arch.correlation[layer])
        contracted[ell] = contract(
            u_matrices[str(ell)], weights["contraction"][str(ell)], atomic_basis, same
        )
    return mace.linear(weights["linear"], contracted)


def _readout(model, number, scalar, head):
    """Energy of each atom from its scalar features, for its own head."""
    weights = model.weights["readouts"][str(number)]
    if "middle" not in weights:
        return mace.readout(model, weights, scalar, head)
    arch, constant = model.architecture, model.constants["readout_activation"]
    atoms = jnp.arange(scalar.shape[0])
    head = jnp.broadcast_to(jnp.asarray(head), scalar.shape[:1])
    selected = jax.nn.one_hot(head, len(arch.heads), dtype=scalar.dtype)
    own = jnp.repeat(selected, arch.mlp_channels, axis=1)
    first, middle, last = (
        weights[name] / weights[name].shape[0] ** 0.5
        for name in ("linear_1", "middle", "linear_2")
    )
    hidden = own * constant * jax.nn.silu(scalar @ first)
    hidden = own * constant * jax.nn.silu(hidden @ middle + weights["middle_bias"])
    return (hidden @ last + weights["bias"])[atoms, head]
