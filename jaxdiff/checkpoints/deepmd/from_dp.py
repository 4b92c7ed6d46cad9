"""DeePMD-kit's files to models: what is read, and a sentence for everything else."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.data
import h5py
import numpy as np

from jaxdiff.checkpoints import sound
from jaxdiff.checkpoints.deepmd.native import describe
from jaxdiff.checkpoints.deepmd.tree import YAML, read_tree
from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.io import hdf5
from jaxdiff.io.shown import shown
from jaxdiff.models import dotted
from jaxdiff.models.deepmd import Architecture, DeepPot, Layer
from jaxdiff.models.deepmd.network import activation

_ANY = ...
_OTHER_BACKENDS = {".pb": "TensorFlow", ".pth": "PyTorch", ".hlo": "JAX"}
_TORCH_CODE = "code/__torch__/deepmd/"
_PICKLE = b"\x80\x02"

# What each part may say, by key: the values that are read, or any.
_MODEL = {
    "@class": ("Model",),
    "type": ("standard", "ener"),
    "@version": (1, 2),
    "descriptor": _ANY,
    "fitting": _ANY,
    "type_map": _ANY,
    "atom_exclude_types": _ANY,
    "pair_exclude_types": _ANY,
    "@variables": _ANY,
    "rcond": _ANY,  # of training, like the next
    "preset_out_bias": _ANY,
}
_DESCRIPTOR = {
    "type": ("se_e2_a", "se_a"),
    "compress": (None, False),
    "@class": ("Descriptor",),
    "@version": (1, 2, 3),
    "spin": (None,),
    **dict.fromkeys(
        (
            *("rcut", "rcut_smth", "sel", "neuron", "axis_neuron", "resnet_dt"),
            *("trainable", "type_one_side", "exclude_types", "env_protection", "seed"),
            *("set_davg_zero", "activation_function", "precision", "env_mat", "ntypes"),
            *("embeddings", "@variables", "type_map"),
        ),
        _ANY,
    ),
}
_ENVIRONMENT = {
    "rcut": _ANY,
    "rcut_smth": _ANY,
    "protection": _ANY,
    "use_exp_switch": (False,),
}
_FITTING = {
    "type": ("ener",),
    "@class": ("Fitting",),
    "@version": (1, 2, 3, 4),
    "var_name": ("energy",),
    "numb_fparam": (0,),
    "numb_aparam": (0,),
    "dim_case_embd": (0,),
    "default_fparam": (None,),
    "mixed_types": (False,),
    "dim_out": (1,),
    "atom_ener": (None,),
    "tot_ener_zero": (False,),
    "spin": (None,),
    **dict.fromkeys(
        (
            *("ntypes", "dim_descrpt", "neuron", "resnet_dt", "rcond", "precision", "seed"),
            *("activation_function", "exclude_types", "nets", "@variables", "type_map"),
            *("trainable", "layer_name", "use_aparam_as_mask"),  # of which there are none
        ),
        _ANY,
    ),
}


_UNFIT = (*hdf5.UNREADABLE, ArithmeticError, AttributeError, MemoryError, RecursionError)
"""What a tree that is not that of a model leads to, whichever part notices."""


def is_deepmd(path: Path) -> bool:
    """Whether a file is one of DeePMD-kit's, also one that is not read."""
    suffix = path.suffix.lower()
    if suffix == ".pth" or zipfile.is_zipfile(path):
        return _is_torch_deepmd(path)
    return suffix in (*YAML, *_OTHER_BACKENDS) or h5py.is_hdf5(path)


def load_deepmd(path: Path) -> DeepPot:
    """The model in a .dp or .yaml file, as NumPy arrays in its own precision.

    Raises `CheckpointError` for everything else that DeePMD-kit has, by its name.
    """
    backend = _OTHER_BACKENDS.get(path.suffix.lower())
    if _is_torch_deepmd(path):
        backend = "PyTorch"
    if backend is not None:
        raise CheckpointError(
            f"{path} is a DeePMD model for {backend}; .dp and .yaml are read. Convert it "
            f"once with `dp convert-backend {path.name} {path.stem}.dp`."
        )
    tree = read_tree(path)
    try:
        return _model(tree["model"], str(path))
    except _UNFIT as error:
        reason = shown(" ".join(str(error).split()), quote="")
        raise CheckpointError(
            f"{path} does not hold a whole DeePMD model ({type(error).__name__}: "
            f"{reason}). Write it again with DeePMD-kit."
        ) from None


def _is_torch_deepmd(path: Path) -> bool:
    """A program of PyTorch with DeePMD's code in it, or a .pth that is no pickle either."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return path.suffix.lower() == ".pth" and file.read(2) != _PICKLE
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_TORCH_CODE in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False  # damaged: for the reader of PyTorch's files to say


def _model(tree: Mapping[str, Any], file: str) -> DeepPot:
    if "model_dict" in tree:
        raise CheckpointError(
            f"{file} holds several models, trained together; models of one task are read. "
            "Give the file of one branch: `dp freeze --head NAME`, then convert it."
        )
    _require(tree, _MODEL, "the model", file)
    descriptor, fitting = tree["descriptor"], tree["fitting"]
    _require(descriptor, _DESCRIPTOR, "the descriptor", file)
    _require(descriptor.get("env_mat", {}), _ENVIRONMENT, "env_mat", file)
    if not any(given is not None for given in fitting.get("atom_ener") or ()):
        fitting = {**fitting, "atom_ener": None}
    _require(fitting, _FITTING, "the fitting net", file)
    numbers = _atomic_numbers(tree["type_map"], file)
    one_sided = bool(descriptor.get("type_one_side", True))
    embedding, embedding_weights = _networks(descriptor["embeddings"], file)
    layers, fitting_weights = _networks(fitting["nets"], file)
    dtype = np.result_type(np.float32, *(a.dtype for a in _leaves(embedding_weights)))
    dtype = np.result_type(dtype, *(a.dtype for a in _leaves(fitting_weights)))
    selection = tuple(int(n) for n in descriptor["sel"])
    mean, deviation = _statistics(descriptor, selection, file)
    arch = Architecture(
        atomic_numbers=numbers,
        cutoff=float(descriptor["rcut"]),
        smooth_from=float(descriptor["rcut_smth"]),
        selection=selection,
        places=sum(selection),
        one_sided=one_sided,
        axis=int(descriptor["axis_neuron"]),
        embedding=embedding,
        fitting=layers,
        protection=float(descriptor.get("env_protection", 0.0)),
        zeroed=_pairs(descriptor.get("exclude_types", ()), numbers),
        unseen=_pairs(tree.get("pair_exclude_types", ()), numbers),
        silent=tuple(numbers[t] for t in tree.get("atom_exclude_types", ())),
    )
    shape = (len(numbers),) * (1 if one_sided else 2)
    weights = {
        "embedding": _shaped(embedding_weights, shape, dtype),
        "fitting": _shaped(fitting_weights, shape[:1], dtype),
    }
    width = weights["embedding"][str(len(embedding) - 1)]["matrix"].shape[-1]
    constants = {
        "energies": _energies(tree, arch),
        "mean": mean.astype(dtype),
        "deviation": deviation.astype(dtype),
        "absent": np.zeros((len(numbers), 4, width), dtype),
    }
    found = _whole(DeepPot(weights, constants, arch), file)
    sound.require_floats(dotted.flatten(weights, "weights"), file)
    sound.require_floats(dotted.flatten(constants, "constants"), file)
    return found


def _require(
    node: Mapping[str, Any], allowed: Mapping[str, Any], part: str, file: str
) -> None:
    """An error where a part says something that is not read, by its key."""
    for key in (k for k in allowed if k in node):
        if allowed[key] is not _ANY and node[key] not in allowed[key]:
            known = " or ".join(repr(value) for value in allowed[key])
            given = repr(node[key])
            if key == "compress":
                given, known = "tables of compressed networks", "none"
            raise CheckpointError(
                f"{file}: {part} has {key} = {given}; DeePMD models with {key} = {known} "
                "are read." + (" Give the file before `dp compress`." * (key == "compress"))
            )
    for key in node.keys() - allowed.keys():
        raise CheckpointError(
            f"{file}: {part} has {key!r}, which is not known; the file comes from a newer "
            "DeePMD-kit than 3.2.0, or is another kind of model."
        )


def _atomic_numbers(names: Sequence[str], file: str) -> tuple[int, ...]:
    wrong = [name for name in names if not ase.data.atomic_numbers.get(name)]
    if wrong or len(set(names)) < len(names):
        raise CheckpointError(
            f"{file} has the types {', '.join(map(str, names))}; each must be an element, "
            "and none twice, for atoms are told by element."
        )
    return tuple(ase.data.atomic_numbers[name] for name in names)


def _pairs(
    pairs: Sequence[Sequence[int]], numbers: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    both = {(numbers[a], numbers[b]) for x, y in pairs for a, b in ((x, y), (y, x))}
    return tuple(sorted(both))


def _networks(
    collection: Mapping[str, Any], file: str
) -> tuple[tuple[Layer, ...], dict[str, dict[str, np.ndarray]]]:
    """Layers, and their arrays with the networks along the first axis."""
    found = [[_layer(layer) for layer in net["layers"]] for net in collection["networks"]]
    kinds = {tuple(kind for kind, _ in net) for net in found}
    if len(kinds) != 1:
        raise CheckpointError(
            f"{file} has networks of different layers side by side, which are not read."
        )
    layers = kinds.pop()
    for layer in layers:
        activation(layer.activation)
    stacked = {
        str(n): {
            name: np.stack([net[n][1][name] for net in found]) for name in found[0][n][1]
        }
        for n in range(len(layers))
    }
    return layers, stacked


def _layer(tree: Mapping[str, Any]) -> tuple[Layer, dict[str, np.ndarray]]:
    variables = tree["@variables"]
    matrix = np.asarray(variables["w"])
    bias = variables.get("b")
    arrays = {
        "matrix": matrix,
        "bias": np.zeros_like(matrix[0]) if bias is None else np.ravel(bias),
    }
    if variables.get("idt") is not None:
        arrays["step"] = np.ravel(variables["idt"])
    name = str(tree["activation_function"] or "none").lower()
    return Layer("none" if name == "linear" else name, bool(tree["resnet"])), arrays


def _shaped(weights, shape: tuple[int, ...], dtype) -> dict[str, dict[str, np.ndarray]]:
    """Networks by species; of pairs they are stored at centre + species * neighbour."""

    def one(array):
        return array.reshape(*shape, *array.shape[1:]).astype(dtype)

    shaped = {n: {k: one(a) for k, a in own.items()} for n, own in weights.items()}
    if len(shape) == 1:
        return shaped
    return {n: {k: a.swapaxes(0, 1) for k, a in own.items()} for n, own in shaped.items()}


def _statistics(descriptor, selection: tuple[int, ...], file: str):
    """davg and dstd by (centre, neighbour): one row for all places of a neighbour."""
    ends = np.cumsum((0, *selection))
    found = []
    for name, empty in (("davg", 0.0), ("dstd", 1.0)):
        given = np.asarray(descriptor["@variables"][name], np.float64)
        if given.shape != (len(selection), ends[-1], 4):
            raise ValueError(f"{name} has the shape {given.shape}")
        table = np.full((len(selection), len(selection), 4), empty)
        for t, (begin, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
            own = given[:, begin:end]
            if np.any(own != own[:, :1]):
                raise CheckpointError(
                    f"{file}: {name} differs from place to place of one type; files in "
                    "which it is the same, as training writes it, are read."
                )
            if begin < end:
                table[:, t] = own[:, 0]
        found.append(table)
    if np.any(found[1] == 0):
        raise CheckpointError(f"{file}: dstd holds zeros; it must be positive.")
    return found


def _energies(tree: Mapping[str, Any], arch: Architecture) -> np.ndarray:
    """bias_atom_e + out_bias, which out_std does not touch; zero for silent species."""
    energies = np.zeros(len(arch.atomic_numbers))
    own = tree["fitting"]["@variables"]["bias_atom_e"]
    out = tree.get("@variables", {}).get("out_bias")
    for given in (own, None if out is None else out[0]):
        if given is not None:
            energies += np.asarray(given, np.float64).reshape(len(energies))
    return np.where(np.isin(arch.atomic_numbers, arch.silent), 0.0, energies)[None]


def _leaves(weights) -> list[np.ndarray]:
    return [array for own in weights.values() for array in own.values()]


def _whole(model: DeepPot, file: str) -> DeepPot:
    """The model, if its numbers are finite and its shapes fit together."""
    axis, width = model.architecture.axis, model.constants["absent"].shape[-1]
    if not 0 < axis <= width:
        raise CheckpointError(
            f"{file}: the descriptor has axis_neuron = {axis}; it must be from 1 to "
            f"{width}, the last of neuron."
        )
    arrays, _ = describe(model)
    for name, array in arrays.items():
        if not np.all(np.isfinite(array)):
            raise CheckpointError(f"{file} has numbers in {name} that are not finite.")
    return model
