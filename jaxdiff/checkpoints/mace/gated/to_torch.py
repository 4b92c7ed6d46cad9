"""A `GatedMace` to upstream's `.model` file; see `mace.to_torch`."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.mace.gated.from_torch import BLOCK, load_gated
from jaxdiff.checkpoints.mace.to_torch import Arrays, Writer, irreps, write
from jaxdiff.models.mace.gated import Architecture, GatedMace


def save_gated(path: Path, model: GatedMace) -> str:
    """Write a model as mace-torch's whole module; its float type.

    Charge and multiplicity are not in such a file: they come with a structure.

    Raises `CheckpointError` where mace-torch is not installed or cannot build the
    architecture, and `OSError` where the file cannot be written.
    """
    return write(path, model.with_charge(0, 1), _WRITER)


def _settings(torch, modules, o3, arch: Architecture) -> dict[str, Any]:
    if arch.density_mlp != (64,):
        raise CheckpointError(
            f"mace-torch's density networks have widths (64,), this {arch.density_mlp}."
        )
    kind, one = modules.interaction_classes[BLOCK], len(arch.readouts) == 1
    first = arch.edge_channels[0] != arch.channels or len(arch.hidden) == 1
    edges = irreps(arch.edge_channels[-1], arch.edge_degrees[-1])
    found = {
        "interaction_cls": kind,
        "interaction_cls_first": kind,
        "avg_num_neighbors": 1.0,  # kept in the file, and not used by these blocks
        "edge_irreps": o3.Irreps(edges),
        "use_edge_irreps_first": first,
        "apply_cutoff": False,
        "use_agnostic_product": True,
        "use_last_readout_only": one and len(arch.hidden) > 1,
    }
    if "bias" in arch.readouts:
        found["readout_cls"] = modules.NonLinearBiasReadoutBlock
    if arch.embedded:
        found |= {"embedding_specs": _specs(arch), "use_embedding_readout": True}
    return found


def _specs(arch: Architecture) -> dict[str, dict[str, Any]]:
    return {
        name: {"type": "categorical", "per": "graph", "in_dim": 1, "emb_dim": width,
               "num_classes": rows, "offset": zero}
        for name, rows, zero, width in arch.embedded
    }  # fmt: skip


def _set_activations(module, arrays: Arrays) -> None:
    """Constants that mace-torch and e3nn keep as Python numbers."""
    value = {name: float(np.asarray(arrays[f"constants.{name}"])) for name in _NAMES}
    for part in module.modules():
        kind = type(part).__name__
        if kind == "GatedEquivariantBlock":
            part._scalar_cst, part._gate_cst = value["gate.scalar"], value["gate.gate"]
        elif kind == "normalize2mom":
            part.cst = value["readout_activation"]


_NAMES = {
    "gate.scalar": r"weights\.interactions\.\d+\.linear_2\.0",
    "gate.gate": r"weights\.interactions\.\d+\.linear_2\.[1-9]\d*",
    "readout_activation": r"weights\.readouts\.\d+\.(middle|linear_2)",
}
_WRITER = Writer(
    settings=_settings,
    read=load_gated,
    activations=_NAMES,
    set_activations=_set_activations,
)
