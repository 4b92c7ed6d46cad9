"""Keep only some species or heads of a model, exactly."""

import dataclasses
from collections.abc import Iterable

import jax
import numpy as np

from jaxdiff.models.architecture import Mace


def restrict(model: Mace, atomic_numbers: Iterable[int]) -> Mace:
    """The same model for fewer species; energies and forces of these do not change.

    Upstream divides what it reads from a one-hot species vector by the square root of the
    number of species, so these weights shrink by sqrt(n_new / n_old), as in upstream's
    `load_foundations_elements`. The species keep the order of the model's table, and
    `atomic_numbers` may repeat: the numbers of a structure will do.
    """
    known = model.architecture.atomic_numbers
    asked = {int(z) for z in atomic_numbers}
    unknown = sorted(asked - set(known))
    if unknown or not asked:
        given = f"species {unknown} are not in the model" if unknown else "no species given"
        raise ValueError(f"{given}; it knows the atomic numbers {list(known)}.")
    kept = [index for index, z in enumerate(known) if z in asked]
    factor = (len(kept) / len(known)) ** 0.5

    weights = jax.tree.map(
        lambda leaf: leaf, model.weights
    )  # new dictionaries, same arrays
    weights["embedding"] = _scaled(weights["embedding"][np.array(kept)], factor)
    for interaction in weights["interactions"].values():
        interaction["skip"] = {
            ell: _scaled(weight[:, np.array(kept)], factor)
            for ell, weight in interaction["skip"].items()
        }
    for product in weights["products"].values():
        product["contraction"] = jax.tree.map(
            lambda weight: weight[np.array(kept)], product["contraction"]
        )

    constants = jax.tree.map(lambda leaf: leaf, model.constants)
    constants["atomic_energies"] = constants["atomic_energies"][:, np.array(kept)]
    for table in ("agnesi", "zbl"):
        if table in constants:
            constants[table]["radius"] = constants[table]["radius"][np.array(kept)]
    numbers = tuple(known[index] for index in kept)
    architecture = dataclasses.replace(model.architecture, atomic_numbers=numbers)
    return Mace(weights, constants, architecture)


def restrict_heads(model: Mace, names: Iterable[str]) -> Mace:
    """The same model with fewer heads; energies and forces of these do not change.

    Upstream divides by the square root of all hidden channels of the last readout, those
    of other heads included, so its weights shrink by sqrt(n_new / n_old). The heads keep
    the order of the model.
    """
    known = model.architecture.heads
    asked = set(names)
    unknown = sorted(asked - set(known))
    if unknown or not asked:
        given = f"no head is named {', '.join(unknown)}" if unknown else "no head given"
        raise ValueError(f"{given}; the model has the heads {', '.join(known)}.")
    kept = np.array([index for index, name in enumerate(known) if name in asked])
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
                "linear_2": _scaled(last, factor),
            }
    per_head = ("atomic_energies", "scale", "shift")
    constants = model.constants | {name: model.constants[name][kept] for name in per_head}
    architecture = dataclasses.replace(
        model.architecture, heads=tuple(known[index] for index in kept)
    )
    return Mace(model.weights | {"readouts": readouts}, constants, architecture)


def count_parameters(model: Mace) -> int:
    """How many numbers the weights hold, all species included."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(model.weights))


def _scaled(weight, factor: float):
    """The weight times a Python number, in the weight's own type."""
    return weight * weight.dtype.type(factor)
