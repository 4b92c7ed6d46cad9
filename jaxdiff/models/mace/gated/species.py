"""Fewer species, fewer heads or more heads of a model, exactly."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from jaxdiff.models.mace import species as mace
from jaxdiff.models.mace.gated.architecture import Parameters

M = TypeVar("M", bound=Parameters)
_OF_SPECIES = ("source", "target")


def restrict(model: M, atomic_numbers: Iterable[int]) -> M:
    """The same model for fewer species; energies and forces of these do not change.

    As `mace.species.restrict`: what is read from a one-hot vector of species, here the
    embeddings, is divided by the square root of its length. Nothing else knows species.
    """
    kept, numbers = mace.kept_species(model, atomic_numbers)
    factor = (len(kept) / len(model.species)) ** 0.5
    weights: dict[str, Any] = jax.tree.map(lambda leaf: leaf, model.weights)
    weights["embedding"] = mace.scaled(weights["embedding"][kept], factor)
    for interaction in weights["interactions"].values():
        for name in _OF_SPECIES:
            interaction[name] = mace.scaled(interaction[name][kept], factor)
    return dataclasses.replace(
        model,
        weights=weights,
        constants=mace.constants_of(model, kept),
        architecture=dataclasses.replace(model.architecture, atomic_numbers=numbers),
    )


def restrict_heads(model: M, names: Iterable[str]) -> M:
    """The same model with fewer heads; energies and forces of these do not change.

    Layers of a readout whose inputs belong to heads shrink by sqrt(n_new / n_old), for
    upstream divides by the square root of all of them; biases do not.
    """
    kept = mace.kept_heads(model, names)
    width = model.architecture.mlp_channels
    hidden = (kept[:, None] * width + np.arange(width)).reshape(-1)
    factor = (len(kept) / len(model.heads)) ** 0.5
    heads = tuple(model.heads[index] for index in kept)
    weights: dict[str, Any] = jax.tree.map(lambda leaf: leaf, model.weights)
    for name, own in weights["readouts"].items():
        found = {}
        for array, value in own.items():
            rows, columns, by = _OF_HEADS[array]
            value = value[hidden] if rows else value
            value = value[..., {"hidden": hidden, "heads": kept}[columns]]
            found[array] = mace.scaled(value, factor) if by else value
        weights["readouts"][name] = found
    if "readout" in weights.get("structure", {}):
        weights["structure"]["readout"] = weights["structure"]["readout"][:, kept]
    return dataclasses.replace(
        model,
        weights=weights,
        constants=mace.constants_of_heads(model, kept),
        architecture=dataclasses.replace(model.architecture, heads=heads),
    )


_OF_HEADS = {
    "linear": (False, "heads", False),
    "linear_1": (False, "hidden", False),
    "middle": (True, "hidden", True),
    "middle_bias": (False, "hidden", False),
    "linear_2": (True, "heads", True),
    "bias": (False, "heads", False),
}
"""Of a readout's arrays: whether rows are hidden channels, what columns are, and whether
it is divided by the square root of the rows' number."""


def with_heads(model: M, heads: Sequence[str], energies: np.ndarray) -> M:
    """The same model with several heads, each of which starts as its only one.

    - `energies` [heads, species]: isolated atoms of each head, eV.
    """
    n = len(heads)
    weights: dict[str, Any] = jax.tree.map(np.asarray, model.weights)
    for own in weights["readouts"].values():
        for array, value in own.items():
            rows, _, by = _OF_HEADS[array]
            tiles = (n, n) if rows else (*(1,) * (value.ndim - 1), n)
            own[array] = mace.scaled(np.tile(value, tiles), n**0.5 if by else 1.0)
    if "readout" in weights.get("structure", {}):
        own = weights["structure"]
        own["readout"] = np.tile(own["readout"], (1, n))
    constants = model.constants | {
        name: np.tile(np.asarray(model.constants[name]), n) for name in ("scale", "shift")
    }
    found = dataclasses.replace(
        model,
        weights=weights,
        constants=constants,
        architecture=dataclasses.replace(model.architecture, heads=tuple(heads)),
    )
    return found.with_isolated(np.asarray(energies, np.float64))  # type: ignore[return-value]
