"""Upstream's `.model` files with ResidualNonLinear blocks, read without torch."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.checkpoints.mace import parts
from jaxdiff.checkpoints.mace.from_torch import is_torch, require_radial
from jaxdiff.checkpoints.mace.gated.native import FORM
from jaxdiff.checkpoints.modules import Module, degree_channels, linear, read_root
from jaxdiff.checkpoints.pickle_stack import Global
from jaxdiff.checkpoints.unpickle import Inert
from jaxdiff.io.shown import shown
from jaxdiff.models.mace.gated.architecture import Architecture
from jaxdiff.models.mace.gated.model import GatedMace

BLOCK = "RealAgnosticResidualNonLinearInteractionBlock"
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError,
    ValueError,
)  # fmt: skip
_MOST_BYTES = 1 << 26  # of the pickle without its arrays; 0.7 MB in the largest published
_FLAGS = {
    "apply_cutoff": (False, "models whose cutoff multiplies the radial network"),
    "use_so3": (False, "O(3) models"),
    "use_agnostic_product": (True, "products with the same weights for all elements"),
}
"""Switches of upstream that the evaluator has in one position only."""
_READOUTS = {
    "LinearReadoutBlock": "linear",
    "NonLinearReadoutBlock": "nonlinear",
    "NonLinearBiasReadoutBlock": "bias",
}
_ARRAYS = {"linear_1": "linear_1", "linear_mid": "middle", "linear_2": "linear_2"}


def recognises(path: Path) -> bool:
    """Whether a file of PyTorch names the class of these blocks."""
    if not is_torch(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            if archive.getinfo(name).file_size > _MOST_BYTES:
                return False
            return BLOCK.encode() in archive.read(name)
    except _UNREADABLE:
        return False  # the reader of PyTorch's files says what is wrong with it


def load_gated(path: str | Path) -> GatedMace:
    """The model in an upstream `.model` file; see `from_torch`."""
    return from_torch(read_root(path))


def from_torch(root: Module) -> GatedMace:
    """The model in an upstream `.model` file, in the file's floating-point type.

    Nothing in the file is executed. Weights are upstream's own numbers, matrices of
    PyTorch's Linear transposed.
    """
    return parts.read(root, FORM, _require_supported, _architecture, _weights, _activations)


def _require_supported(root: Module) -> None:
    """An error that names the first thing the evaluator does not know."""
    root.require("mace", "MACE", "ScaleShiftMACE", supported="MACE and ScaleShiftMACE")
    for name, (allowed, supported) in _FLAGS.items():
        if bool(root.attribute(name, allowed)) != allowed:
            root.unsupported(f"has {name}={not allowed}", supported)
    radial = require_radial(root)
    if radial.attribute("apply_cutoff", True):
        radial.unsupported("has apply_cutoff=True", _FLAGS["apply_cutoff"][1])

    interactions, products = root.children("interactions"), root.children("products")
    readouts = root.children("readouts")
    if len(interactions) != len(products) or len(readouts) not in (1, len(products)):
        given = f"has {len(interactions)} interactions and {len(readouts)} readouts"
        root.unsupported(given, "a readout for each layer, or one for the last")
    for interaction, product in zip(interactions, products, strict=True):
        _require_layer(interaction, product)
    for readout in readouts:
        readout.require("mace", *_READOUTS)
    _require_embedding(root)


def _require_layer(interaction: Module, product: Module) -> None:
    supported = f"{BLOCK} in all layers, or none"
    interaction.require("mace", BLOCK, supported=supported)
    convolution = interaction.child("conv_tp")
    supported = "e3nn's TensorProduct; convert the model back to e3nn"
    convolution.require("e3nn", "TensorProduct", supported=supported)
    parts.require_paths(convolution)
    for name in ("conv_tp_weights", "density_fn"):
        interaction.child(name).require("mace", "RadialMLP")
    if not product.attribute("use_agnostic_product", False):
        product.unsupported("has use_agnostic_product=False", "products for all elements")
    if not product.attribute("use_sc"):
        product.unsupported("ignores the residual of its interaction", "use_sc=True")
    supported = "mace-torch's SymmetricContraction; convert the model back to e3nn"
    contraction = product.child("symmetric_contractions")
    contraction.require("mace", "SymmetricContraction", supported=supported)


def _require_embedding(root: Module) -> None:
    """Of whole numbers of a structure, charge and spin alone, in tables."""
    if root.has("embedding_readout") and not root.has("joint_embedding"):
        root.unsupported("has an embedding_readout without embeddings", "both or none")
    for name, spec in _specs(root).items():
        known = name in ("total_charge", "total_spin")
        if not known or spec.get("type") != "categorical" or spec.get("per") != "graph":
            root.unsupported(f"embeds {shown(str(name))}", "charge and spin of a structure")
    if root.has("embedding_readout"):
        root.child("embedding_readout").require("mace", "LinearReadoutBlock")


def _specs(root: Module) -> dict[str, dict[str, Any]]:
    if not root.has("joint_embedding"):
        return {}
    specs = root.attribute("embedding_specs")
    if not isinstance(specs, dict) or not all(isinstance(s, dict) for s in specs.values()):
        root.fail("has embedding_specs that are no tables", "Save the model again.")
    return specs


def _architecture(root: Module) -> Architecture:
    interactions, products = root.children("interactions"), root.children("products")
    radial = root.child("radial_embedding")
    hidden = [degree_channels(p.child("linear"), "irreps_out") for p in products]
    _, channels = degree_channels(root.child("node_embedding", "linear"), "irreps_out")
    sent = [degree_channels(i.child("linear_up"), "irreps_out") for i in interactions]
    harmonics, _ = degree_channels(interactions[0].child("conv_tp"), "irreps_in2")
    heads = parts.heads(root)
    kinds = tuple(_READOUTS[r.kind] for r in root.children("readouts"))
    tables = {
        name: root.child("joint_embedding", "embedders", name).array("weight").shape
        for name in _specs(root)
    }
    embedded = tuple(
        (name, tables[name][0], int(spec.get("offset", 0)), tables[name][1])
        for name, spec in _specs(root).items()
    )
    return Architecture(
        scale_shift=root.kind == "ScaleShiftMACE",
        atomic_numbers=parts.atomic_numbers(root),
        heads=heads,
        cutoff=radial.child("cutoff_fn").scalar("r_max"),
        num_bessel=radial.child("bessel_fn").array("bessel_weights").size,
        cutoff_power=radial.child("cutoff_fn").integer("p"),
        max_ell=harmonics[-1],
        channels=channels,
        edge_channels=tuple(width for _, width in sent),
        edge_degrees=tuple(degrees for degrees, _ in sent),
        hidden=tuple(degrees for degrees, _ in hidden),
        correlation=tuple(parts.correlation(p) for p in products),
        radial_mlp=_widths(root, interactions, "conv_tp_weights"),
        density_mlp=_widths(root, interactions, "density_fn"),
        readouts=kinds,
        mlp_channels=_mlp_channels(root.children("readouts")[-1], len(heads)),
        agnesi=radial.has("distance_transform"),
        zbl_power=parts.zbl_power(root),
        embedded=embedded,
    )


def _widths(root: Module, interactions: list[Module], name: str) -> tuple[int, ...]:
    """Of the hidden layers of a network, which must be the same in all layers."""
    found = {
        tuple(layer["bias"].size for layer in _network(i.child(name)).values())[:-1]
        for i in interactions
    }
    if len(found) != 1:
        root.unsupported(f"has networks {sorted(found)}", "one shape for all layers")
    return found.pop()


def _mlp_channels(readout: Module, n_heads: int) -> int:
    if readout.kind == "LinearReadoutBlock":
        return 0
    return linear(readout.child("linear_1"))[0].shape[1] // n_heads


def _network(module: Module) -> dict[str, dict[str, np.ndarray]]:
    """Layers of a RadialMLP: Linear, and for all but the last LayerNorm and SiLU."""
    members = [module.child("net", name) for name in module.child("net").names()]
    found: dict[str, dict[str, np.ndarray]] = {}
    for start in range(0, len(members), 3):
        dense, *rest = members[start : start + 3]
        dense.require("torch", "Linear")
        layer = {"weight": dense.array("weight").T, "bias": dense.array("bias")}
        if rest:
            norm, activation = rest
            norm.require("torch", "LayerNorm")
            activation.require("torch", "SiLU")
            if abs(norm.scalar("eps") - 1e-5) > 1e-12:
                norm.unsupported(f"has eps={norm.scalar('eps')}", "eps=1e-5")
            layer |= {"scale": norm.array("weight"), "offset": norm.array("bias")}
        found[str(len(found))] = layer
    return found


def _weights(root: Module) -> dict[str, Any]:
    interactions, readouts = {}, {}
    for i, block in enumerate(root.children("interactions")):
        names = {"linear_up": "linear_up", "residual": "linear_res", "skip": "skip_tp"}
        names |= {"linear_1": "linear_1", "linear_2": "linear_2"}
        interactions[str(i)] = {
            name: parts.by_degree(linear(block.child(theirs)))
            for name, theirs in names.items()
        } | {
            "source": linear(block.child("source_embedding"))[0],
            "target": linear(block.child("target_embedding"))[0],
            "radial": _network(block.child("conv_tp_weights")),
            "density": _network(block.child("density_fn")),
            "alpha": block.array("alpha").reshape(()),
            "beta": block.array("beta").reshape(()),
        }
    for i, readout in enumerate(root.children("readouts")):
        readouts[str(i)] = _readout(readout)
    found = {
        "embedding": linear(root.child("node_embedding", "linear"))[0],
        "interactions": interactions,
        "products": parts.product_weights(root),
        "readouts": readouts,
    }
    return found | ({"structure": _structure(root)} if _specs(root) else {})


def _readout(readout: Module) -> dict[str, np.ndarray]:
    if readout.kind == "LinearReadoutBlock":
        return {"linear": linear(readout.child("linear"))[0]}
    biased = readout.kind == "NonLinearBiasReadoutBlock"
    found = {
        name: linear(readout.child(theirs), biased=biased)[0]
        for theirs, name in _ARRAYS.items()
        if biased or name != "middle"
    }
    if biased:
        found["middle_bias"] = readout.child("linear_mid").array("bias").reshape(-1)
        found["bias"] = readout.child("linear_2").array("bias").reshape(-1)
    return found


def _structure(root: Module) -> dict[str, np.ndarray]:
    embedding = root.child("joint_embedding")
    found = {
        name: embedding.child("embedders", name).array("weight") for name in _specs(root)
    }
    embedding.child("project", "1").require("torch", "SiLU")
    found["project"] = embedding.child("project", "0").array("weight").T
    if root.has("embedding_readout"):
        found["readout"] = linear(root.child("embedding_readout", "linear"))[0]
    return found


def _activations(root: Module) -> dict[str, Any]:
    """Constants of the gates and of the readout, the same in all layers."""
    gates = {_gate(i.child("equivariant_nonlin")) for i in root.children("interactions")}
    readout = parts.readout_constants(root) or {1.0}
    for found in (gates, readout):
        if len(found) > 1:
            root.unsupported(f"has constants {sorted(found)}", "one for all layers")
    ((scalar, gate),) = gates
    return {
        "gate": {"scalar": np.asarray(scalar), "gate": np.asarray(gate)},
        "readout_activation": np.asarray(readout.pop()),
    }


def _gate(module: Module) -> tuple[float, float]:
    """Constants of silu and sigmoid: of e3nn's gate, or of upstream's own since 0.3.16."""
    if module.record.name.startswith("e3nn."):
        module.require("e3nn", "Gate")
        acts = {
            name: [(_function(act.attribute("f")), act.scalar("cst"))
                   for act in module.child(name).children("acts")]
            for name in ("act_scalars", "act_gates")
        }  # fmt: skip
    else:
        module.require("mace", "GatedEquivariantBlock")
        if module.attribute("_layout_is_ir_mul"):
            supported = "e3nn's layout; convert the model back to e3nn"
            module.unsupported("has cuequivariance's layout", supported)
        acts = {
            f"act_{name}s": [
                (_function(module.attribute(f"_act_{name}")), module.scalar(f"_{name}_cst"))
            ]
            for name in ("scalar", "gate")
        }
    found = []
    for name, function in (("act_scalars", "silu"), ("act_gates", "sigmoid")):
        kinds = set(acts[name])
        if len(kinds) != 1 or next(iter(kinds))[0] != function:
            given = ", ".join(sorted({kind for kind, _ in kinds}))
            module.unsupported(f"has {name} {given or 'none'}", function)
        found.append(kinds.pop()[1])
    return found[0], found[1]


def _function(value: Any) -> str:
    name = value.name if isinstance(value, Global | Inert) else "something else"
    return shown(name.rpartition(".")[2].lower(), quote="")
