"""Names and shapes of the arrays of a DeepPot-SE model in a native file."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdiff.checkpoints.shapes import check
from jaxdiff.models import dotted
from jaxdiff.models.contract import Shape
from jaxdiff.models.deepmd import Architecture, DeepPot, Layer

_FIELDS = tuple(field.name for field in dataclasses.fields(Architecture))


def describe(model: DeepPot) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and architecture, as a native file holds them."""
    flat = dotted.flatten(model.weights, "weights")
    flat |= dotted.flatten(model.constants, "constants")
    check(flat, _layout(model.architecture, flat), "the model to be saved")
    return flat, {name: getattr(model.architecture, name) for name in _FIELDS}


def assemble(arrays: Mapping[str, Any], architecture: Architecture, file: str) -> DeepPot:
    """The model of these arrays, which must be those of the architecture."""
    check(arrays, _layout(architecture, arrays), file)
    tree = dotted.nest(arrays)
    return DeepPot(tree["weights"], tree["constants"], architecture)


def architecture(fields: dict[str, Any]) -> Architecture:
    """The inverse of the fields of `describe` after JSON, where tuples are lists."""
    if fields.keys() != set(_FIELDS):
        wrong = ", ".join(sorted(fields.keys() ^ set(_FIELDS)))
        raise ValueError(f"unknown or missing fields of the architecture: {wrong}")
    given = {name: _tuples(value) for name, value in fields.items()}
    networks = {k: tuple(Layer(*x) for x in given[k]) for k in ("embedding", "fitting")}
    return Architecture(**{**given, **networks})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _layout(arch: Architecture, arrays: Mapping[str, Any]) -> dict[str, Shape]:
    """Shape of every array; hidden widths and which layers have steps are the arrays'."""
    n_species = len(arch.atomic_numbers)
    pairs = (n_species,) * (1 if arch.one_sided else 2)
    shapes, width = _network("weights.embedding", arch.embedding, arrays, pairs, 1)
    fitting, _ = _network(
        "weights.fitting", arch.fitting, arrays, (n_species,), (width or 0) * arch.axis, 1
    )
    return {
        **shapes,
        **fitting,
        "constants.energies": (1, n_species),
        "constants.mean": (n_species, n_species, 4),
        "constants.deviation": (n_species, n_species, 4),
        "constants.absent": (n_species, 4, width),
    }


def _network(
    prefix: str,
    layers: tuple[Layer, ...],
    arrays: Mapping[str, Any],
    leading: tuple[int, ...],
    width: int | None,
    last: int | None = None,
) -> tuple[dict[str, Shape], int | None]:
    """Shapes of one kind of networks, and the width of their output."""
    shapes: dict[str, Shape] = {}
    for n in range(len(layers)):
        name = f"{prefix}.{n}"
        own = np.shape(arrays.get(f"{name}.bias", ()))
        width_out = own[-1] if own else None
        if n == len(layers) - 1 and last is not None:
            width_out = last
        shapes[f"{name}.matrix"] = (*leading, width, width_out)
        shapes[f"{name}.bias"] = (*leading, width_out)
        if f"{name}.step" in arrays:
            shapes[f"{name}.step"] = (*leading, width_out)
        width = width_out
    return shapes, width
