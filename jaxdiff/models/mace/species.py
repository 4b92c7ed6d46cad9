"""Fewer species, fewer heads or more heads of a model, exactly."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Int

from jaxdiff.models.contract import Model
from jaxdiff.models.mace.architecture import Parameters

M = TypeVar("M", bound=Parameters)


def restrict(model: M, atomic_numbers: Iterable[int]) -> M:
    """The same model for fewer species; energies and forces of these do not change.

    Upstream divides what it reads from a one-hot species vector by the square root of the
    number of species, so these weights shrink by sqrt(n_new / n_old), as in upstream's
    `load_foundations_elements`. The species keep the order of the model's table, and
    `atomic_numbers` may repeat: the numbers of a structure will do.
    """
    kept, numbers = kept_species(model, atomic_numbers)
    factor = (len(kept) / len(model.species)) ** 0.5

    weights = jax.tree.map(
        lambda leaf: leaf, model.weights
    )  # new dictionaries, same arrays
    weights["embedding"] = scaled(weights["embedding"][kept], factor)
    for interaction in weights["interactions"].values():
        interaction["skip"] = {
            ell: scaled(weight[:, kept], factor)
            for ell, weight in interaction["skip"].items()
        }
    for product in weights["products"].values():
        product["contraction"] = jax.tree.map(
            lambda weight: weight[kept], product["contraction"]
        )

    return dataclasses.replace(
        model,
        weights=weights,
        constants=constants_of(model, kept),
        architecture=dataclasses.replace(model.architecture, atomic_numbers=numbers),
    )


def kept_species(
    model: Model, atomic_numbers: Iterable[int]
) -> tuple[Int[np.ndarray, " kept"], tuple[int, ...]]:
    """Indices and atomic numbers of the species asked for, in the model's order."""
    known, asked = model.species, {int(z) for z in atomic_numbers}
    unknown = sorted(asked - set(known))
    if unknown or not asked:
        given = f"species {unknown} are not in the model" if unknown else "no species given"
        raise ValueError(f"{given}; it knows the atomic numbers {list(known)}.")
    kept = np.array([index for index, z in enumerate(known) if z in asked])
    return kept, tuple(known[index] for index in kept)


def constants_of(model: Any, kept: Int[np.ndarray, " kept"]) -> dict[str, Any]:
    """The constants of a MACE for fewer species."""
    constants = jax.tree.map(lambda leaf: leaf, model.constants)
    constants["atomic_energies"] = constants["atomic_energies"][:, kept]
    for table in ("agnesi", "zbl"):
        if table in constants:
            constants[table]["radius"] = constants[table]["radius"][kept]
    return constants


def restrict_heads(model: M, names: Iterable[str]) -> M:
    """The same model with fewer heads; energies and forces of these do not change.

    Upstream divides by the square root of all hidden channels of the last readout, those
    of other heads included, so its weights shrink by sqrt(n_new / n_old). The heads keep
    the order of the model.
    """
    known, kept = model.heads, kept_heads(model, names)
    width = model.architecture.mlp_channels
    hidden = (kept[:, None] * width + np.arange(width)).reshape(-1)
    factor = (len(kept) / len(known)) ** 0.5

    readouts = {}
    for layer, weights in model.weights["readouts"].items():
        if "linear" in weights:
            readouts[layer] = {"linear": weights["linear"][:, kept]}
        else:
            last = weights["linear_2"][hidden][:, kept]
            readouts[layer] = {
                "linear_1": weights["linear_1"][:, hidden],
                "linear_2": scaled(last, factor),
            }
    architecture = dataclasses.replace(
        model.architecture, heads=tuple(known[index] for index in kept)
    )
    return dataclasses.replace(
        model,
        weights=model.weights | {"readouts": readouts},
        constants=constants_of_heads(model, kept),
        architecture=architecture,
    )


def kept_heads(model: Model, names: Iterable[str]) -> Int[np.ndarray, " kept"]:
    """Indices of the heads asked for, in the model's order."""
    known, asked = model.heads, set(names)
    unknown = sorted(asked - set(known))
    if unknown or not asked:
        given = f"no head is named {', '.join(unknown)}" if unknown else "no head given"
        raise ValueError(f"{given}; the model has the heads {', '.join(known)}.")
    return np.array([index for index, name in enumerate(known) if name in asked])


def constants_of_heads(model: Any, kept: Int[np.ndarray, " kept"]) -> dict[str, Any]:
    """The constants of a MACE for fewer heads."""
    per_head = ("atomic_energies", "scale", "shift")
    return model.constants | {name: model.constants[name][kept] for name in per_head}


def with_heads(model: M, heads: Sequence[str], energies: np.ndarray) -> M:
    """The same model with several heads, each of which starts as its only one.

    - `energies` [heads, species]: isolated atoms of each head, eV.

    The last layer's weights grow with the square root of the number of heads, for upstream
    divides by that of all its inputs, also those of other heads.
    """
    n = len(heads)

    def tiled(name, value):
        value = np.asarray(value)
        if name == "linear_2":
            return np.tile(value, (n, n)) * value.dtype.type(n**0.5)
        return np.tile(value, (1, n))

    readouts = {
        layer: {name: tiled(name, value) for name, value in readout.items()}
        for layer, readout in model.weights["readouts"].items()
    }
    constants = model.constants | {
        "atomic_energies": np.asarray(energies, np.float64),
        "scale": np.tile(np.asarray(model.constants["scale"]), n),
        "shift": np.tile(np.asarray(model.constants["shift"]), n),
    }
    return dataclasses.replace(
        model,
        weights=model.weights | {"readouts": readouts},
        constants=constants,
        architecture=dataclasses.replace(model.architecture, heads=tuple(heads)),
    )


def scaled(weight, factor: float):
    """The weight times a Python number, in the weight's own type."""
    return weight * weight.dtype.type(factor)
