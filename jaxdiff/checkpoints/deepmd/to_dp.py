"""A DeepPot-SE model to a .dp file, as DeePMD-kit 3 reads it."""

import importlib.metadata
from pathlib import Path
from typing import Any

import ase.data
import numpy as np

from jaxdiff.checkpoints.deepmd.tree import write_dp
from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.models.deepmd import Architecture, DeepPot, Layer

SUFFIX = ".dp"


def save_deepmd(path: str | Path, model: DeepPot) -> str:
    """Write a model for DeePMD-kit, which then predicts the same; its float type.

    Raises `CheckpointError` where the file cannot say what the model does.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise CheckpointError(
            f"{path}: a DeePMD model is written as {SUFFIX}; other formats are made from "
            f"it by `dp convert-backend {path.stem}{SUFFIX} {path.name}`."
        )
    arch = model.architecture
    energies = np.asarray(model.isolated, np.float64)[0]
    if np.any(energies[np.isin(arch.atomic_numbers, arch.silent)]):
        raise CheckpointError(
            "the model has energies of isolated atoms for species whose atoms have none in "
            "DeePMD (atom_exclude_types); set them to zero before it is written."
        )
    content = _model(model, energies)
    tree = {
        "software": "jaxdiff",
        "version": importlib.metadata.version("jaxdiff"),
        "backend": "jaxdiff",
        "model": content,
        "model_def_script": _script(content),
    }
    write_dp(path, tree)
    return str(model.dtype)


def _script(content: dict[str, Any]) -> dict[str, Any]:
    """The model as DeePMD-kit's input files say it, which some of its commands ask for."""
    net = ("neuron", "resnet_dt", "activation_function", "precision")
    own = ("type", "rcut", "rcut_smth", "sel", "axis_neuron", "type_one_side")
    own += ("exclude_types", "env_protection", "set_davg_zero", *net)
    return {
        "type_map": content["type_map"],
        "descriptor": {key: content["descriptor"][key] for key in own},
        "fitting_net": {key: content["fitting"][key] for key in ("type", *net)},
        **{k: content[k] for k in ("atom_exclude_types", "pair_exclude_types")},
    }


def _model(model: DeepPot, energies: np.ndarray) -> dict[str, Any]:
    arch = model.architecture
    return {
        "@class": "Model",
        "type": "standard",
        "@version": 2,
        "type_map": _symbols(arch),
        "atom_exclude_types": [arch.atomic_numbers.index(z) for z in arch.silent],
        "pair_exclude_types": _indices(arch, arch.unseen),
        "rcond": None,
        "preset_out_bias": None,
        "descriptor": _descriptor(model),
        "fitting": _fitting(model),
        "@variables": {
            "out_bias": energies[None, :, None],
            "out_std": np.ones((1, len(energies), 1)),
        },
    }


def _descriptor(model: DeepPot) -> dict[str, Any]:
    arch, weights = model.architecture, model.weights["embedding"]
    selection = _selection(model)
    pairs = 1 if arch.one_sided else 2
    nets = [
        _network("EmbeddingNetwork", arch.embedding, _at(weights, index[::-1]))
        for index in np.ndindex((len(selection),) * pairs)  # the neighbour's goes slowest
    ]
    return {
        "@class": "Descriptor",
        "type": "se_e2_a",
        "@version": 2,
        "rcut": arch.cutoff,
        "rcut_smth": arch.smooth_from,
        "sel": selection,
        "neuron": nets[0]["neuron"],
        "axis_neuron": arch.axis,
        "trainable": True,
        "type_one_side": arch.one_sided,
        "exclude_types": _indices(arch, arch.zeroed),
        "env_protection": arch.protection,
        "set_davg_zero": not np.any(model.constants["mean"]),
        "spin": None,
        "env_mat": {"rcut": arch.cutoff, "rcut_smth": arch.smooth_from},
        "embeddings": _collection("embedding_network", nets, pairs, len(selection)),
        "@variables": {
            "davg": np.repeat(np.asarray(model.constants["mean"]), selection, axis=1),
            "dstd": np.repeat(np.asarray(model.constants["deviation"]), selection, axis=1),
        },
        "type_map": _symbols(arch),
        **{k: nets[0][k] for k in ("resnet_dt", "activation_function", "precision")},
    }


def _selection(model: DeepPot) -> list[int]:
    """sel: that of species that were left out is added to the last, where it is inert."""
    arch = model.architecture
    rest = arch.places - sum(arch.selection)
    if rest and (np.any(model.constants["absent"]) or np.any(model.constants["mean"])):
        raise CheckpointError(
            "species were left out of the model, and their empty places count in it (davg "
            "is not zero); write the model with all species of its file."
        )
    return [*arch.selection[:-1], arch.selection[-1] + rest]


def _fitting(model: DeepPot) -> dict[str, Any]:
    arch, weights = model.architecture, model.weights["fitting"]
    n_species = len(arch.atomic_numbers)
    nets = [
        _network("FittingNetwork", arch.fitting, _at(weights, (k,)))
        for k in range(n_species)
    ]
    empty = ("case_embd", "fparam_avg", "fparam_inv_std", "aparam_avg", "aparam_inv_std")
    return {
        "@class": "Fitting",
        "type": "ener",
        "@version": 3,
        "var_name": "energy",
        "dim_out": 1,
        "ntypes": n_species,
        "dim_descrpt": nets[0]["in_dim"],
        "neuron": nets[0]["neuron"],
        "numb_fparam": 0,
        "numb_aparam": 0,
        "dim_case_embd": 0,
        "mixed_types": False,
        "rcond": None,
        "atom_ener": None,
        "exclude_types": [arch.atomic_numbers.index(z) for z in arch.silent],
        "nets": _collection("fitting_network", nets, 1, n_species),
        "@variables": {
            "bias_atom_e": np.zeros((n_species, 1)),
            **dict.fromkeys(empty),
        },
        "type_map": _symbols(arch),
        "tot_ener_zero": False,
        "trainable": [True] * len(arch.fitting),
        "layer_name": None,
        "use_aparam_as_mask": False,
        "spin": None,
        **{k: nets[0][k] for k in ("resnet_dt", "activation_function", "precision")},
    }


def _network(
    kind: str, layers: tuple[Layer, ...], weights: dict[str, dict[str, np.ndarray]]
) -> dict[str, Any]:
    found = [
        {
            "@class": "Layer",
            "@version": 2,
            "bias": True,
            "use_timestep": "step" in weights[str(n)],
            "activation_function": layer.activation,
            "resnet": layer.residual,
            "precision": weights[str(n)]["matrix"].dtype.name,
            "trainable": True,
            "@variables": {
                "w": weights[str(n)]["matrix"],
                "b": weights[str(n)]["bias"],
                "idt": weights[str(n)].get("step"),
            },
        }
        for n, layer in enumerate(layers)
    ]
    widths = [layer["@variables"]["b"].size for layer in found]
    tree = {
        "@class": kind,
        "@version": 2 if kind == "EmbeddingNetwork" else 1,
        "in_dim": len(found[0]["@variables"]["w"]),
        "neuron": widths,
        "activation_function": layers[0].activation,
        "resnet_dt": any(layer["use_timestep"] for layer in found),
        "precision": found[0]["precision"],
        "layers": found,
    }
    if kind == "EmbeddingNetwork":
        return {**tree, "bias": True}
    return {**tree, "neuron": widths[:-1], "out_dim": widths[-1], "bias_out": True}


def _collection(kind: str, nets: list[dict], pairs: int, n_species: int) -> dict[str, Any]:
    return {
        "@class": "NetworkCollection",
        "@version": 1,
        "ndim": pairs,
        "ntypes": n_species,
        "network_type": kind,
        "networks": nets,
    }


def _at(weights, index: tuple[int, ...]) -> dict[str, dict[str, np.ndarray]]:
    return {
        n: {name: np.asarray(array)[index] for name, array in own.items()}
        for n, own in weights.items()
    }


def _symbols(arch: Architecture) -> list[str]:
    return [ase.data.chemical_symbols[z] for z in arch.atomic_numbers]


def _indices(arch: Architecture, pairs: tuple[tuple[int, int], ...]) -> list[list[int]]:
    found = {tuple(sorted(map(arch.atomic_numbers.index, pair))) for pair in pairs}
    return [list(pair) for pair in sorted(found)]
