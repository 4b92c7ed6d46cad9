"""Upstream's `.model` files: a pickled mace-torch model to a `Mace`, without torch."""

import math
from pathlib import Path

import numpy as np

from jaxdiff.checkpoints import layout
from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.modules import Module, degree_channels, linear, species_linear
from jaxdiff.checkpoints.unpickle import Inert, read
from jaxdiff.models.architecture import (
    INTERACTIONS,
    Architecture,
    Mace,
    tensor_product_paths,
)

SUPPORTED = "MACE and ScaleShiftMACE"
HIGHEST_CORRELATION = 3

_FLAGS = {
    "apply_cutoff": (True, "models whose radial features carry the cutoff"),
    "use_so3": (False, "O(3) models"),
    "use_agnostic_product": (False, "products with weights per element"),
    "use_last_readout_only": (False, "models with a readout in every layer"),
    "use_edge_irreps_first": (False, "models without edge_irreps"),
}
"""Switches of upstream that the evaluator has in one position only."""


def load_mace_torch(path: str | Path) -> Mace:
    """The model in an upstream `.model` file, in the file's floating-point type.

    Nothing in the file is executed. Weights are upstream's own numbers; constants (U
    matrices, silu normalisation, covalent radii, …) are those of the file.
    """
    root = _root(read(path), str(path))
    _require_supported(root)
    architecture = _architecture(root)
    weights, constants = _weights(root), _constants(root, architecture)

    dtype = weights["embedding"].dtype
    flat = layout.flatten(weights, "weights") | layout.flatten(constants, "constants")
    for name, value in flat.items():
        kind = np.float64 if name == "constants.atomic_energies" else dtype
        flat[name] = np.asarray(value, kind, order="C")
    layout.check(flat, architecture, str(path))
    tree = layout.nest(flat)
    return Mace(tree["weights"], tree["constants"], architecture)


def _root(tree, file: str) -> Module:
    """The model among what a file may hold: itself, or a dictionary with it."""
    if isinstance(tree, dict) and isinstance(tree.get("model"), Inert):
        tree = tree["model"]
    if isinstance(tree, dict):
        names = ", ".join(str(name) for name in list(tree)[:3])
        raise CheckpointError(
            f"{file} holds a dictionary ({names}, …) without a model: "
            "weights alone do not say the architecture. Save the whole model in "
            "mace-torch with torch.save(model, path)."
        )
    if not isinstance(tree, Inert):
        raise CheckpointError(
            f"{file} holds a {type(tree).__name__}, not a model. "
            "Give a file written by torch.save(model, path)."
        )
    return Module(file, "", tree)


def _require_supported(root: Module) -> None:
    """An error that names the first thing the evaluator does not know."""
    root.require("mace", "MACE", "ScaleShiftMACE", supported=SUPPORTED)
    for name, (allowed, supported) in _FLAGS.items():
        if bool(root.attribute(name, allowed)) != allowed:
            root.unsupported(f"has {name}={not allowed}", supported)
    if root.has("joint_embedding") or root.attribute("embedding_specs", None):
        root.unsupported("embeds charge, spin or other features", "species alone")

    radial = root.child("radial_embedding")
    if not radial.attribute("apply_cutoff", True):
        radial.unsupported("has apply_cutoff=False", _FLAGS["apply_cutoff"][1])
    radial.child("bessel_fn").require("mace", "BesselBasis", supported="Bessel functions")
    radial.child("cutoff_fn").require("mace", "PolynomialCutoff")
    if radial.has("distance_transform"):
        transform = radial.child("distance_transform")
        supported = "the Agnesi transform, or none"
        transform.require("mace", "AgnesiTransform", supported=supported)

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
    _require_paths(convolution)

    if product.attribute("use_agnostic_product", False):
        supported = _FLAGS["use_agnostic_product"][1]
        product.unsupported("has use_agnostic_product=True", supported)
    if "Residual" in interaction.kind and not product.attribute("use_sc"):
        product.unsupported("ignores the residual of its interaction", "use_sc=True")
    supported = "mace-torch's SymmetricContraction; convert the model back to e3nn"
    contraction = product.child("symmetric_contractions")
    contraction.require("mace", "SymmetricContraction", supported=supported)


def _require_paths(convolution: Module) -> None:
    """The tensor product must have upstream's paths, in its order and normalisation."""
    degrees, channels = degree_channels(convolution, "irreps_in1")
    harmonics, _ = degree_channels(convolution, "irreps_in2")
    outputs = convolution.irreps("irreps_out")
    expected = tensor_product_paths(degrees, harmonics[-1])
    found = []
    for instruction in convolution.attribute("instructions"):
        first, second, out, mode, has_weight, path_weight, shape = instruction.arguments
        path = (degrees[first], harmonics[second], outputs[out][1])
        norm = math.sqrt(2 * path[2] + 1)
        usual = mode == "uvu" and has_weight and tuple(shape) == (channels, 1)
        if not usual or not math.isclose(path_weight, norm, rel_tol=1e-6):
            given = f"has the path {path} of mode {mode} weighted by {path_weight:.6g}"
            convolution.unsupported(given, f"mode uvu weighted by {norm:.6g}")
        found.append(path)
    if tuple(found) != expected or harmonics != tuple(range(len(harmonics))):
        convolution.unsupported(
            f"has {len(found)} paths from degrees {degrees} and {harmonics}",
            f"the {len(expected)} paths of mace-torch, in its order",
        )


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
    heads = _heads(root)
    return Architecture(
        scale_shift=root.kind == "ScaleShiftMACE",
        atomic_numbers=_atomic_numbers(root),
        heads=heads,
        cutoff=radial.child("cutoff_fn").scalar("r_max"),
        num_bessel=radial.child("bessel_fn").array("bessel_weights").size,
        cutoff_power=int(radial.child("cutoff_fn").scalar("p")),
        max_ell=harmonics[-1],
        channels=channels,
        hidden=tuple(degrees for degrees, _ in hidden),
        correlation=tuple(_correlation(p) for p in products),
        interactions=tuple(i.kind for i in interactions),
        radial_mlp=networks.pop(),
        mlp_channels=_mlp_channels(root, len(heads)),
        agnesi=radial.has("distance_transform"),
        zbl_power=_zbl_power(root),
        average_neighbors=_average_neighbors(interactions),
    )


def _atomic_numbers(root: Module) -> tuple[int, ...]:
    """A buffer, or in the files of 2022 a list of NumPy numbers."""
    return tuple(int(z) for z in np.asarray(root.attribute("atomic_numbers")).reshape(-1))


def _heads(root: Module) -> tuple[str, ...]:
    """Names of the heads; files from before there were heads have one."""
    n_heads = np.atleast_2d(_e0(root)).shape[0]
    names = root.attribute("heads", None)
    if names is None:
        names = ["Default"] if n_heads == 1 else [f"head_{i}" for i in range(n_heads)]
    if len(names) != n_heads:
        root.fail(
            f"has {len(names)} heads and isolated-atom energies for {n_heads}",
            "The file is inconsistent: save the model again.",
        )
    return tuple(str(name) for name in names)


def _e0(root: Module) -> np.ndarray:
    return root.child("atomic_energies_fn").array("atomic_energies")


def _radial_widths(interaction: Module) -> tuple[int, ...]:
    layers = interaction.child("conv_tp_weights")
    layers.require("e3nn", "FullyConnectedNet", supported="radial networks without biases")
    return tuple(w.shape[1] for w in _network(layers))[:-1]


def _network(layers: Module) -> list[np.ndarray]:
    """The matrices [fan_in, fan_out] of a fully connected network."""
    names = layers.attribute("_modules")
    return [layers.child(name).array("weight") for name in names]


def _correlation(product: Module) -> int:
    contractions = product.child("symmetric_contractions").children("contractions")
    orders = {len(c.child("weights").attribute("_parameters")) + 1 for c in contractions}
    if len(orders) != 1:
        given = f"has correlation orders {sorted(orders)}"
        product.unsupported(given, "one order for all irreps of a layer")
    order = orders.pop()
    if order > HIGHEST_CORRELATION:
        product.unsupported(f"has correlation order {order}", f"1 to {HIGHEST_CORRELATION}")
    return order


def _mlp_channels(root: Module, n_heads: int) -> int:
    readout = root.children("readouts")[-1]
    if readout.kind == "LinearReadoutBlock":
        return 0
    return linear(readout.child("linear_1"))[0].shape[1] // n_heads


def _zbl_power(root: Module) -> int | None:
    if not root.has("pair_repulsion_fn"):
        return None
    return int(root.child("pair_repulsion_fn").scalar("p"))


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
    interactions, products, readouts = {}, {}, {}
    for i, interaction in enumerate(root.children("interactions")):
        radial = _network(interaction.child("conv_tp_weights"))
        interactions[str(i)] = {
            "linear_up": _by_degree(linear(interaction.child("linear_up"))),
            "radial": {str(n): w for n, w in enumerate(radial)},
            "linear": _by_degree(linear(interaction.child("linear"))),
            "skip": _by_degree(species_linear(interaction.child("skip_tp"))),
        }
        if "Density" in interaction.kind:
            (density,) = _network(interaction.child("density_fn"))
            interactions[str(i)]["density"] = density
    for i, product in enumerate(root.children("products")):
        contraction = {
            str(ell): {str(nu): w for nu, (w, _) in orders.items()}
            for ell, orders in _contractions(product).items()
        }
        products[str(i)] = {
            "contraction": contraction,
            "linear": _by_degree(linear(product.child("linear"))),
        }
    for i, readout in enumerate(root.children("readouts")):
        single = readout.kind == "LinearReadoutBlock"
        names = ("linear",) if single else ("linear_1", "linear_2")
        readouts[str(i)] = {name: linear(readout.child(name))[0] for name in names}
    return {
        "embedding": embedding,
        "interactions": interactions,
        "products": products,
        "readouts": readouts,
    }


def _by_degree(weights: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    return {str(ell): weight for ell, weight in weights.items()}


def _contractions(product: Module) -> dict[int, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """l -> nu -> (weights, U matrix); upstream squeezes the first axis of U for l = 0."""
    block = product.child("symmetric_contractions")
    degrees, _ = degree_channels(block, "irreps_out")
    dimension = sum(2 * ell + 1 for ell in degree_channels(block, "irreps_in")[0])
    found: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    for ell, contraction in zip(degrees, block.children("contractions"), strict=True):
        lower = contraction.child("weights")
        top = len(lower.attribute("_parameters")) + 1
        found[ell] = {}
        for nu in range(1, top + 1):
            source = contraction if nu == top else lower
            weight = source.array("weights_max" if nu == top else str(top - 1 - nu))
            u_matrix = contraction.array(f"U_matrix_{nu}")
            shape = (2 * ell + 1, *(dimension,) * nu, weight.shape[1])
            if u_matrix.size != math.prod(shape):
                contraction.fail(
                    f"has U_matrix_{nu} of shape {u_matrix.shape}, and its weights need "
                    f"{shape}",
                    "The file is damaged: fetch or save it again.",
                )
            found[ell][nu] = (weight, u_matrix.reshape(shape))
    return found


def _constants(root: Module, architecture: Architecture) -> dict:
    n_heads = len(architecture.heads)
    numbers = np.array(architecture.atomic_numbers)
    radial = root.child("radial_embedding")
    constants = {
        "atomic_energies": np.atleast_2d(_e0(root)),
        "scale": np.ones(n_heads),
        "shift": np.zeros(n_heads),
        "bessel": radial.child("bessel_fn").array("bessel_weights").reshape(-1),
        **_activations(root),
        "products": {
            str(i): {
                str(ell): {str(nu): u for nu, (_, u) in orders.items()}
                for ell, orders in _contractions(product).items()
            }
            for i, product in enumerate(root.children("products"))
        },
    }
    if architecture.scale_shift:
        block = root.child("scale_shift")
        constants["scale"] = np.atleast_1d(block.array("scale"))
        constants["shift"] = np.atleast_1d(block.array("shift"))
    if architecture.agnesi:
        transform = radial.child("distance_transform")
        constants["agnesi"] = {k: transform.array(k).reshape(()) for k in ("q", "p", "a")}
        constants["agnesi"]["radius"] = transform.array("covalent_radii")[numbers]
    if architecture.zbl_power is not None:
        repulsion = root.child("pair_repulsion_fn")
        constants["zbl"] = {
            "c": repulsion.array("c"),
            "a_exp": repulsion.array("a_exp").reshape(()),
            "a_prefactor": repulsion.array("a_prefactor").reshape(()),
            "radius": repulsion.array("covalent_radii")[numbers],
        }
    return constants


def _activations(root: Module) -> dict[str, np.ndarray]:
    """The silu constants; a model with one layer has no readout activation of its own."""
    radial = {
        _silu_constant(layers.child(name))
        for layers in (i.child("conv_tp_weights") for i in root.children("interactions"))
        for name in list(layers.attribute("_modules"))[:-1]
    }
    block = root.children("readouts")[-1]
    readout = set()
    if block.kind == "NonLinearReadoutBlock":
        (activation,) = block.child("non_linearity").children("acts")
        readout = {_silu_constant(activation, "")}
    for found in (radial, readout):
        if len(found) > 1:
            root.unsupported(f"has silu constants {sorted(found)}", "one for all layers")
    (first,) = radial or readout or {1.0}
    (last,) = readout or {first}
    return {"radial_activation": np.asarray(first), "readout_activation": np.asarray(last)}


def _silu_constant(module: Module, name: str = "act") -> float:
    """1/sqrt(<silu(x)^2>) as e3nn estimated it when the model was made."""
    activation = module.child(name) if name else module
    activation.require("e3nn", "normalize2mom")
    function = activation.attribute("f")
    kind = getattr(function, "name", "") or getattr(function, "__name__", repr(function))
    if kind.rpartition(".")[2] not in ("silu", "SiLU"):
        activation.unsupported(f"applies {kind}", "silu")
    return activation.scalar("cst")
