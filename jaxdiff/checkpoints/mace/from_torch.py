"""Upstream's `.model` files: a pickled mace-torch model to a `Mace`, without torch."""

from pathlib import Path

import numpy as np

from jaxdiff.checkpoints.mace import parts
from jaxdiff.checkpoints.mace.native import FORM
from jaxdiff.checkpoints.modules import (
    Module,
    degree_channels,
    linear,
    read_root,
    species_linear,
)
from jaxdiff.models.mace.architecture import (
    INTERACTIONS,
    Architecture,
)
from jaxdiff.models.mace.model import Mace

SUPPORTED = "MACE and ScaleShiftMACE"

_FLAGS = {
    "apply_cutoff": (True, "models whose radial features carry the cutoff"),
    "use_so3": (False, "O(3) models"),
    "use_agnostic_product": (False, "products with weights per element"),
    "use_last_readout_only": (False, "models with a readout in every layer"),
    "use_edge_irreps_first": (False, "models without edge_irreps"),
}
"""Switches of upstream that the evaluator has in one position only."""


def is_torch(path: Path) -> bool:
    """Whether a file is PyTorch's, by its first bytes or its name."""
    with path.open("rb") as file:
        start = file.read(2)
    return start in (b"PK", b"\x80\x02") or path.suffix in (".model", ".pt", ".pth")


def load_mace_torch(path: str | Path) -> Mace:
    """The model in an upstream `.model` file; see `from_torch`."""
    return from_torch(read_root(path))


def from_torch(root: Module) -> Mace:
    """The model in an upstream `.model` file, in the file's floating-point type.

    Nothing in the file is executed. Weights are upstream's own numbers; constants (U
    matrices, silu normalisation, covalent radii, …) are those of the file.
    """
    return parts.read(root, FORM, _require_supported, _architecture, _weights, _activations)


def _require_supported(root: Module) -> None:
    """An error that names the first thing the evaluator does not know."""
    root.require("mace", "MACE", "ScaleShiftMACE", supported=SUPPORTED)
    for name, (allowed, supported) in _FLAGS.items():
        if bool(root.attribute(name, allowed)) != allowed:
            root.unsupported(f"has {name}={not allowed}", supported)
    if root.has("joint_embedding") or root.attribute("embedding_specs", None):
        root.unsupported("embeds charge, spin or other features", "species alone")

    radial = require_radial(root)
    if not radial.attribute("apply_cutoff", True):
        radial.unsupported("has apply_cutoff=False", _FLAGS["apply_cutoff"][1])

    interactions, products = root.children("interactions"), root.children("products")
    readouts = root.children("readouts")
    if not len(interactions) == len(products) == len(readouts):
        root.unsupported(
            f"has {len(interactions)} interactions and {len(readouts)} readouts",
            _FLAGS["use_last_readout_only"][1],
        )
    for interaction, product in zip(interactions, products, strict=True):
        _require_layer(interaction, product)
    for i, readout in enumerate(readouts):
        last_of_several = i == len(readouts) - 1 and i > 0
        kind = "NonLinearReadoutBlock" if last_of_several else "LinearReadoutBlock"
        readout.require("mace", kind)


def require_radial(root: Module) -> Module:
    """The radial embedding; an error where its functions are others than we know."""
    radial = root.child("radial_embedding")
    radial.child("bessel_fn").require("mace", "BesselBasis", supported="Bessel functions")
    radial.child("cutoff_fn").require("mace", "PolynomialCutoff")
    if radial.has("distance_transform"):
        transform = radial.child("distance_transform")
        supported = "the Agnesi transform, or none"
        transform.require("mace", "AgnesiTransform", supported=supported)
    return radial


def _require_layer(interaction: Module, product: Module) -> None:
    interaction.require("mace", *INTERACTIONS)
    up = interaction.child("linear_up")
    if up.irreps("irreps_in") != up.irreps("irreps_out"):
        interaction.unsupported(
            "has edge_irreps that differ from its node features",
            _FLAGS["use_edge_irreps_first"][1],
        )
    convolution = interaction.child("conv_tp")
    supported = "e3nn's TensorProduct; convert the model back to e3nn"
    convolution.require("e3nn", "TensorProduct", supported=supported)
    parts.require_paths(convolution)

    if product.attribute("use_agnostic_product", False):
        supported = _FLAGS["use_agnostic_product"][1]
        product.unsupported("has use_agnostic_product=True", supported)
    if "Residual" in interaction.kind and not product.attribute("use_sc"):
        product.unsupported("ignores the residual of its interaction", "use_sc=True")
    supported = "mace-torch's SymmetricContraction; convert the model back to e3nn"
    contraction = product.child("symmetric_contractions")
    contraction.require("mace", "SymmetricContraction", supported=supported)


def _architecture(root: Module) -> Architecture:
    interactions, products = root.children("interactions"), root.children("products")
    radial = root.child("radial_embedding")
    hidden = [degree_channels(p.child("linear"), "irreps_out") for p in products]
    _, channels = degree_channels(root.child("node_embedding", "linear"), "irreps_out")
    for product, (_, width) in zip(products, hidden, strict=True):
        if width != channels:
            product.unsupported(
                f"has {width} channels after an embedding of {channels}",
                "the same number of channels everywhere",
            )
    networks = {_radial_widths(i) for i in interactions}
    if len(networks) != 1:
        given = f"has radial networks {sorted(networks)}"
        root.unsupported(given, "one shape for all layers")
    harmonics, _ = degree_channels(interactions[0].child("conv_tp"), "irreps_in2")
    heads = parts.heads(root)
    return Architecture(
        scale_shift=root.kind == "ScaleShiftMACE",
        atomic_numbers=parts.atomic_numbers(root),
        heads=heads,
        cutoff=radial.child("cutoff_fn").scalar("r_max"),
        num_bessel=radial.child("bessel_fn").array("bessel_weights").size,
        cutoff_power=radial.child("cutoff_fn").integer("p"),
        max_ell=harmonics[-1],
        channels=channels,
        hidden=tuple(degrees for degrees, _ in hidden),
        correlation=tuple(parts.correlation(p) for p in products),
        interactions=tuple(i.kind for i in interactions),
        radial_mlp=networks.pop(),
        mlp_channels=_mlp_channels(root, len(heads)),
        agnesi=radial.has("distance_transform"),
        zbl_power=parts.zbl_power(root),
        average_neighbors=_average_neighbors(interactions),
    )


def _radial_widths(interaction: Module) -> tuple[int, ...]:
    layers = interaction.child("conv_tp_weights")
    layers.require("e3nn", "FullyConnectedNet", supported="radial networks without biases")
    return tuple(w.shape[1] for w in _network(layers))[:-1]


def _network(layers: Module) -> list[np.ndarray]:
    """The matrices [fan_in, fan_out] of a fully connected network."""
    return [layers.child(name).array("weight") for name in layers.names()]


def _mlp_channels(root: Module, n_heads: int) -> int:
    readout = root.children("readouts")[-1]
    if readout.kind == "LinearReadoutBlock":
        return 0
    return linear(readout.child("linear_1"))[0].shape[1] // n_heads


def _average_neighbors(interactions: list[Module]) -> float:
    """The divisor of messages; the density blocks store it too but do not use it."""
    values = {i.scalar("avg_num_neighbors") for i in interactions}
    used = {i.scalar("avg_num_neighbors") for i in interactions if "Density" not in i.kind}
    if len(used) > 1:
        interactions[0].unsupported(
            f"and others have avg_num_neighbors {sorted(used)}", "one value for all layers"
        )
    return max(used or values)


def _weights(root: Module) -> dict:
    embedding = linear(root.child("node_embedding", "linear"))[0]
    interactions, readouts = {}, {}
    for i, interaction in enumerate(root.children("interactions")):
        radial = _network(interaction.child("conv_tp_weights"))
        interactions[str(i)] = {
            "linear_up": parts.by_degree(linear(interaction.child("linear_up"))),
            "radial": {str(n): w for n, w in enumerate(radial)},
            "linear": parts.by_degree(linear(interaction.child("linear"))),
            "skip": parts.by_degree(species_linear(interaction.child("skip_tp"))),
        }
        if "Density" in interaction.kind:
            (density,) = _network(interaction.child("density_fn"))
            interactions[str(i)]["density"] = density
    for i, readout in enumerate(root.children("readouts")):
        single = readout.kind == "LinearReadoutBlock"
        names = ("linear",) if single else ("linear_1", "linear_2")
        readouts[str(i)] = {name: linear(readout.child(name))[0] for name in names}
    return {
        "embedding": embedding,
        "interactions": interactions,
        "products": parts.product_weights(root),
        "readouts": readouts,
    }


def _activations(root: Module) -> dict[str, np.ndarray]:
    """The silu constants; a model with one layer has no readout activation of its own."""
    radial = {
        parts.silu_constant(layers.child(name))
        for layers in (i.child("conv_tp_weights") for i in root.children("interactions"))
        for name in layers.names()[:-1]
    }
    readout = parts.readout_constants(root)
    for found in (radial, readout):
        if len(found) > 1:
            root.unsupported(f"has silu constants {sorted(found)}", "one for all layers")
    (first,) = radial or readout or {1.0}
    (last,) = readout or {first}
    return {"radial_activation": np.asarray(first), "readout_activation": np.asarray(last)}
