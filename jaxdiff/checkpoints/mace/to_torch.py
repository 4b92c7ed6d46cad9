"""A MACE to upstream's `.model` file; the only module that imports torch, when called.

mace-torch makes the module, and all numbers in it are then replaced. Where each number
goes is asked of our own reader: it reads the module with every number replaced by its
running index, so that the layout of upstream's arrays is written down once.
"""

import contextlib
import dataclasses
import io
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.mace.from_torch import load_mace_torch
from jaxdiff.io import durable
from jaxdiff.models import dotted
from jaxdiff.models.contract import Model
from jaxdiff.models.mace import Architecture

Arrays = dict[str, np.ndarray]
"""Dotted name -> array, as in `models.mace.layout`."""


@dataclasses.dataclass(frozen=True)
class Writer:
    """How the models of a family become modules of mace-torch.

    - `settings`: (torch, modules, o3, architecture) -> what its constructor takes beside
      what all families give.
    - `read`: the family's own reader of a `.model` file.
    - `activations`: constant of an activation -> the weights that multiply what it has
      multiplied, as a pattern of names.
    - `set_activations`: puts these constants, by name, into a module.
    """

    settings: Callable[[Any, Any, Any, Any], dict[str, Any]]
    read: Callable[[Path], Any]
    activations: dict[str, str]
    set_activations: Callable[[Any, Arrays], None]


_ROUNDINGS = 16  # within so many of the model's type, constants are the same


def save_mace_torch(path: str | Path, model: Model) -> str:
    """Write a model as mace-torch's whole module, at once or not at all; its float type.

    Energies are those of the model. Product basis and silu constants that mace-torch
    would not make itself, as in models trained from scratch here, become its own, and the
    weights change to match: its tools make them anew. The type is the model's own where
    it holds every number, else float64, which those tools convert where asked.

    Raises `CheckpointError` where mace-torch is not installed or cannot build the
    architecture, and `OSError` where the file cannot be written.
    """
    _architecture(model)
    return write(Path(path), model, MACE)


def write(path: Path, model: Any, writer: Writer) -> str:
    """As `save_mace_torch`, for the models of any family."""
    with _upstream() as (torch, modules, o3):
        module = _build(torch, modules, o3, model.architecture, writer)
        tensors = _tensors(module)
        values = np.concatenate([t.detach().numpy().reshape(-1) for t in tensors])
        places, activations = _places(torch, module, tensors, model.architecture, writer)
        arrays = dotted.flatten(model.weights, "weights")
        arrays |= dotted.flatten(model.constants, "constants")
        own = np.asarray(arrays["weights.embedding"]).dtype
        arrays = {k: np.asarray(v, np.float64) for k, v in arrays.items()}
        isolated = arrays["constants.atomic_energies"]
        fits = np.array_equal(isolated, isolated.astype(own))
        epsilon = float(np.finfo(own).eps)
        changed = _into_upstreams_basis(arrays, places, values, epsilon)
        changed |= _into_upstreams_activations(arrays, activations, epsilon, writer)
        dtype = str(own if fits and not changed else np.dtype(np.float64))

        for key, place in places.items():
            values[place] = arrays[key]
        _fill(torch, tensors, values)
        writer.set_activations(module, arrays)
        module.to(getattr(torch, dtype))
        buffer = io.BytesIO()
        torch.save(module, buffer)
    durable.write_bytes(path, buffer.getbuffer())
    return dtype


def _architecture(model: Model) -> Any:
    found = getattr(model, "architecture", None)
    if hasattr(found, "interactions") or hasattr(found, "edge_channels"):
        return found
    raise CheckpointError(
        f"mace-torch has no {type(model).__name__} models; give a MACE model."
    )


def require_like(model: Model, base: Model, name: str) -> None:
    """An error that names the first difference; there may be fewer species, other heads.

    `name` is what the error calls the base.
    """
    if type(model) is not type(base):
        raise CheckpointError(
            f"the model is a {type(model).__name__}, and {name} a {type(base).__name__}. "
            "Give the file that training started from."
        )
    ours = _architecture(model)
    theirs = dataclasses.replace(_architecture(base), heads=ours.heads)
    unknown = sorted(set(ours.atomic_numbers) - set(theirs.atomic_numbers))
    if not unknown:
        theirs = dataclasses.replace(theirs, atomic_numbers=ours.atomic_numbers)
    _require_same(ours, theirs, name, "Give the file that training started from.")


def _require_same(ours: Any, theirs: Any, name: str, remedy: str) -> None:
    for field in dataclasses.fields(ours):
        given, other = getattr(ours, field.name), getattr(theirs, field.name)
        if given != other:
            raise CheckpointError(
                f"the model has {field.name} = {given}, and {name} has {other}. {remedy}"
            )


@contextlib.contextmanager
def _upstream() -> Iterator[tuple[Any, Any, Any]]:
    """torch, mace.modules and e3nn.o3, in float64 and without their warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what else it misses
                import mace.modules  # before e3nn, which it teaches to load with new torch
            import torch
            from e3nn import o3
        except ImportError as error:
            raise CheckpointError(
                f"writing a .model file needs mace-torch, which is absent ({error}). "
                "Install it with pip install 'jaxdiff[oracle]'."
            ) from None
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            yield torch, mace.modules, o3
        finally:
            torch.set_default_dtype(before)


def _build(torch, modules, o3, arch: Any, writer: Writer):
    """mace-torch's module of this architecture, with numbers of its own."""
    zeros = np.zeros((len(arch.heads), len(arch.atomic_numbers)))
    settings = dict(
        r_max=arch.cutoff,
        num_bessel=arch.num_bessel,
        num_polynomial_cutoff=arch.cutoff_power,
        max_ell=arch.max_ell,
        num_interactions=len(arch.hidden),
        num_elements=len(arch.atomic_numbers),
        hidden_irreps=o3.Irreps(irreps(arch.channels, arch.hidden[0])),
        MLP_irreps=o3.Irreps(f"{arch.mlp_channels or 1}x0e"),
        atomic_energies=zeros,
        atomic_numbers=list(arch.atomic_numbers),
        correlation=list(arch.correlation),
        gate=torch.nn.functional.silu,
        pair_repulsion=arch.zbl_power is not None,
        distance_transform="Agnesi" if arch.agnesi else "None",
        radial_MLP=list(arch.radial_mlp),
        heads=list(arch.heads),
        use_reduced_cg=False,  # the basis that does not depend on what is installed
        keep_last_layer_irreps=len(arch.hidden) > 1 and arch.hidden[-1] == arch.hidden[0],
        **writer.settings(torch, modules, o3, arch),
    )
    if arch.scale_shift:
        settings["atomic_inter_scale"] = settings["atomic_inter_shift"] = zeros[:, 0]
        module = modules.ScaleShiftMACE(**settings)
    else:
        module = modules.MACE(**settings)
    if arch.zbl_power is not None:
        module.pair_repulsion_fn.p.fill_(arch.zbl_power)
    return module


def _tensors(module) -> list:
    """Every parameter and every buffer of floats but the cutoff radii, which are set."""
    buffers = (b for name, b in module.named_buffers() if not name.endswith("r_max"))
    return [*module.parameters(), *(b for b in buffers if b.is_floating_point())]


def _fill(torch, tensors: list, values: np.ndarray) -> None:
    """Give the tensors, one after another, the numbers of one flat array."""
    start = 0
    with torch.no_grad():
        for tensor in tensors:
            piece = values[start : start + tensor.numel()].reshape(tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(piece))
            start += tensor.numel()


def _places(
    torch, module, tensors: list, architecture: Any, writer: Writer
) -> tuple[Arrays, Arrays]:
    """For each of our arrays, where its numbers are in the flat array of `_fill`.

    And the silu constants of the module, which are not in its tensors.
    """
    _fill(torch, tensors, np.arange(sum(t.numel() for t in tensors), dtype=np.float64))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "places.model"
        torch.save(module, path)
        found = writer.read(path)
    remedy = "No model file of mace-torch has this architecture."
    _require_same(architecture, found.architecture, "the module of mace-torch", remedy)
    if not found.architecture.scale_shift:  # not numbers of the file
        del found.constants["scale"], found.constants["shift"]
    flat = dotted.flatten(found.weights, "weights")
    flat |= dotted.flatten(found.constants, "constants")
    activations = {name: flat.pop(f"constants.{name}") for name in writer.activations}
    return {name: place.astype(np.int64) for name, place in flat.items()}, activations


def _into_upstreams_basis(
    arrays: Arrays, places: Arrays, values: np.ndarray, epsilon: float
) -> bool:
    """Express product weights in the U matrices of the module; whether any had to be.

    Those of the module, U', are a basis of all equivariant tensors: U w = U' (U'^+ U w).
    Where both agree to the rounding of the model's type, the model's stay.
    """
    changed = False
    for name in [n for n in arrays if n.startswith("constants.products.")]:
        _, _, layer, ell, order = name.split(".")
        weight = f"weights.products.{layer}.contraction.{ell}.{order}"
        own, theirs = arrays[name], values[places[name]]
        tolerance = _ROUNDINGS * epsilon * np.abs(own).max()
        if own.shape == theirs.shape and np.abs(own - theirs).max() <= tolerance:
            continue
        source, target = (u.reshape(-1, u.shape[-1]) for u in (own, theirs))
        change = np.linalg.pinv(target) @ source
        if np.abs(target @ change - source).max() > tolerance:
            raise CheckpointError(
                f"the U matrix {name} of the model has tensors that mace-torch's has not. "
                "Give a model of MACE's own product basis."
            )
        arrays[weight] = np.einsum("pk,zkc->zpc", change, arrays[weight])
        arrays[name] = theirs
        changed = True
    return changed


def _into_upstreams_activations(
    arrays: Arrays, activations: Arrays, epsilon: float, writer: Writer
) -> bool:
    """Move what differs in activations' constants to the weights; whether any does."""
    changed = False
    for name, theirs in activations.items():
        ratio = arrays[f"constants.{name}"] / theirs
        if abs(ratio - 1) <= _ROUNDINGS * epsilon:
            continue
        for key in [k for k in arrays if re.fullmatch(writer.activations[name], k)]:
            arrays[key] = arrays[key] * ratio
        arrays[f"constants.{name}"] = theirs
        changed = True
    return changed


def _set_activations(module, arrays: Arrays) -> None:
    """The silu constants, which e3nn keeps as Python numbers."""
    for name, part in module.named_modules():
        if type(part).__name__ == "normalize2mom":
            block = "readout" if name.startswith("readouts") else "radial"
            part.cst = float(arrays[f"constants.{block}_activation"])


def irreps(channels: int, degrees: Sequence[int]) -> str:
    """As e3nn writes them, of natural parity."""
    return "+".join(f"{channels}x{ell}{'eo'[ell % 2]}" for ell in degrees)


def _settings(torch, modules, o3, arch: Architecture) -> dict[str, Any]:
    kinds = modules.interaction_classes
    return {
        "interaction_cls": kinds[arch.interactions[-1]],
        "interaction_cls_first": kinds[arch.interactions[0]],
        "avg_num_neighbors": arch.average_neighbors,
    }


MACE = Writer(
    settings=_settings,
    read=load_mace_torch,
    activations={
        "radial_activation": r"weights\.interactions\.\d+\.radial\.[1-9]\d*",
        "readout_activation": r"weights\.readouts\.\d+\.linear_2",
    },
    set_activations=_set_activations,
)
