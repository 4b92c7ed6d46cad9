"""A model for one composition: all that depends on weights alone, computed once.

The identities are exact. With tabulated radial functions (`jaxdiff.models.table`) the
model is an approximation of stated error.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Int

from jaxdiff.models.mace.architecture import Architecture, Parameters
from jaxdiff.models.mace.polynomial import joined_coefficients
from jaxdiff.models.mace.radial import edge_features, radial_network
from jaxdiff.models.table import tabulate


@struct.dataclass
class Folded:
    """What the evaluator for a fixed composition computes with; Z species, C channels.

    - `radial`: "0", "1" -> `table`, a `RadialTable` with the rows that `table_row` tells,
      or `hidden`, the layers of the exact network; and in blocks with densities `gate`,
      which gives that of a neighbour: of the network [basis], of a table [Z, Z, functions],
      by receiver and sender. `constants`: those of the radial functions and of the
      repulsion.
    - `first_mixing` [Z, max_ell + 1, functions * Z, C]: from moments to the atomic basis.
    - `first_constant` [Z, C]: added to the scalar features of the first layer.
    - `up` l -> [C, C]: from features to what is sent.
    - `last_radial` [Z, functions, paths, C], by receiver; `last_mixing` l ->
      [paths_l * C, C].
    - `last_species` l -> [Z, C, C], of a last layer without a residual, or None;
      `last_skip` [Z, C, C], of one with it, or None.
    - `coefficient` "0", "1" -> l -> [Z, monomials, C], `linear` "0", "1" -> l -> [C, C].
    - `readout` "0", "1" -> matrices; `atomic_energies` [Z] float64, eV; `scale` and
      `shift` [] of the interaction energy, eV.
    """

    radial: dict
    constants: dict
    first_mixing: Any
    first_constant: Any
    up: dict
    last_radial: Any
    last_mixing: dict
    last_species: dict | None
    last_skip: Any
    coefficient: dict
    linear: dict
    readout: dict
    scale: Any
    shift: Any
    atomic_energies: Any
    architecture: Architecture = struct.field(pytree_node=False)


def reason_not_to(model: Parameters) -> str | None:
    """Why a model cannot be folded: it can with two layers, scalars out of the last."""
    arch = model.architecture
    if len(arch.interactions) == 2 and arch.hidden[1] == (0,):
        return None
    return (
        f"a model with {len(arch.interactions)} layers and the degrees "
        f"{arch.hidden[-1]} after the last cannot be folded; models with two layers "
        "and scalars after the last can"
    )


def fold(
    model: Parameters, dtype: Any, *, head: int = 0, tolerance: float | None = None
) -> Folded:
    """Fold a model that is restricted to the species present, in float64.

    - `dtype`: of the result, which is rounded once.
    - `tolerance`: None for the exact radial network; otherwise the largest error of a
      tabulated radial function relative to the largest one.
    """
    arch = model.architecture
    if reason := reason_not_to(model):
        raise ValueError(f"{reason}. Use the plain evaluator.")
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), model)
    weights, constants = exact.weights, exact.constants
    radial, back = _radial(exact, tolerance)
    last_radial = back["1"][:, 0]  # that of all senders
    folded = Folded(
        radial=radial,
        constants={
            k: constants[k]
            for k in ("bessel", "radial_activation", "readout_activation", "agnesi", "zbl")
            if k in constants
        },
        first_mixing=_first_mixing(exact, back["0"]),
        first_constant=_first_constant(exact),
        up=by_fan_in(weights["interactions"]["1"]["linear_up"]),
        last_radial=last_radial.reshape(*last_radial.shape[:2], -1, arch.channels),
        last_mixing=by_fan_in(weights["interactions"]["1"]["linear"], _norm(arch, 1)),
        last_species=None if _residual(arch, 1) else _skip(exact, 1),
        last_skip=_skip(exact, 1)[0] if _residual(arch, 1) else None,
        coefficient={i: coefficients(exact, i) for i in ("0", "1")},
        linear={i: by_fan_in(weights["products"][i]["linear"]) for i in ("0", "1")},
        readout={i: readout_matrices(exact, i, head) for i in ("0", "1")},
        scale=constants["scale"][head] if arch.scale_shift else np.ones(()),
        shift=constants["shift"][head] if arch.scale_shift else np.zeros(()),
        atomic_energies=constants["atomic_energies"][head],
        architecture=arch,
    )
    folded = jax.tree.map(lambda x: jnp.asarray(x, dtype), folded)
    energies = jnp.asarray(constants["atomic_energies"][head])
    return replace(folded, atomic_energies=energies)


def pair_index(n_species: int) -> np.ndarray:
    """[Z, Z]: the number of each unordered pair of species."""
    first, second = np.triu_indices(n_species)
    index = np.zeros((n_species, n_species), np.int32)
    index[first, second] = index[second, first] = np.arange(len(first))
    return index


def table_row(layer: str, n_species: int) -> Int[np.ndarray, "receivers senders"]:
    """Rows of a layer's table.

    In the first, each pair has functions of its own, for its sums are by sender. In the
    last, where a receiver's senders are summed together, they share theirs.
    """
    if layer == "0":
        return pair_index(n_species)
    return np.arange(n_species**2).reshape(n_species, n_species)


def _radial(model: Parameters, tolerance):
    """Radial part of both layers, and the matrices from their functions to the weights.

    Those are [receivers, senders, functions, weights].
    """
    radial, back = {}, {}
    n_species = len(model.architecture.atomic_numbers)
    for i in ("0", "1"):
        own = model.weights["interactions"][i]
        *hidden, last = own["radial"].values()
        last = last / last.shape[0] ** 0.5
        gate = None
        if "density" in own:
            gate = own["density"][:, 0] / own["density"].shape[0] ** 0.5
        if tolerance is None:
            radial[i] = {"hidden": hidden}
            back[i] = np.broadcast_to(last, (n_species, n_species, *last.shape))
        else:
            pair = pair_index(n_species)
            groups = np.arange(pair.max() + 1)[:, None] if i == "0" else pair
            table, joined = _table(model, hidden, last, gate, groups, tolerance)
            radial[i] = {"table": table}
            joined = joined[table_row(i, n_species) // groups.shape[1]]
            back[i] = joined[..., : last.shape[1]]
            gate = None if gate is None else joined[..., -1]
        if gate is not None:
            radial[i]["gate"] = gate
    return radial, back


def _table(model: Parameters, hidden, last, gate, groups, tolerance):
    """Weights, and the density of a neighbour where there is one, from a table."""
    arch = model.architecture
    constants = replace(model, constants=jax.tree.map(jnp.asarray, model.constants))
    pairs = list(zip(*np.triu_indices(len(arch.atomic_numbers)), strict=True))

    def function(distance, pair):
        species = tuple(jnp.full(distance.shape, s) for s in pairs[pair])
        basis = edge_features(constants, distance, species)
        found = radial_network(hidden, basis, model.constants["radial_activation"]) @ last
        if gate is None:
            return found
        density = jnp.tanh((basis @ gate) ** 2)
        return jnp.concatenate([found, density[:, None]], axis=-1)

    with jax.enable_x64(True):
        return tabulate(function, groups, arch.cutoff, tolerance)


def _first_mixing(model: Parameters, back):
    """Moments are sums over neighbours before channels exist: all matrices at once."""
    arch, own = model.architecture, model.weights["interactions"]["0"]
    n_species = len(arch.atomic_numbers)
    sent = model.weights["embedding"] @ own["linear_up"]["0"]
    sent = sent / (arch.channels * n_species) ** 0.5
    linear = by_fan_in(own["linear"], _norm(arch, 0))
    by_degree = []
    for ell, part in enumerate(np.split(back, arch.max_ell + 1, axis=-1)):
        mixed = np.swapaxes(part * sent[:, None], 1, 2) @ linear[ell]
        if not _residual(arch, 0):
            mixed = np.einsum("zqsc,zcd->zqsd", mixed, _skip(model, 0)[ell])
        by_degree.append(mixed.reshape(n_species, -1, arch.channels))
    return np.stack(by_degree, axis=1)


def _first_constant(model: Parameters):
    """What a residual adds to the scalars of the first layer: zero without one."""
    n_species, _ = (embedding := model.weights["embedding"]).shape
    if not _residual(model.architecture, 0):
        return np.zeros_like(embedding)
    return np.einsum("zc,zcd->zd", embedding / n_species**0.5, _skip(model, 0)[0])


def _residual(arch: Architecture, layer: int) -> bool:
    return "Residual" in arch.interactions[layer]


def _norm(arch: Architecture, layer: int) -> float:
    """Divisor of messages; blocks with densities divide by those."""
    return 1.0 if "Density" in arch.interactions[layer] else arch.average_neighbors


def coefficients(model: Any, layer: str) -> dict[int, Float[np.ndarray, "..."]]:
    """Degree -> coefficients of a layer's product basis [species, monomials, C]."""
    u_matrices, max_ell = model.constants["products"][layer], model.architecture.max_ell
    return {
        int(ell): joined_coefficients(max_ell, int(ell), u_matrices[ell], weights)
        for ell, weights in model.weights["products"][layer]["contraction"].items()
    }


def by_fan_in(
    matrices: Mapping[str, Float[np.ndarray, "_in _out"]], divisor: float = 1.0
) -> dict[int, Float[np.ndarray, "_in _out"]]:
    """Degree -> matrix, with e3nn's normalisation."""
    return {
        int(ell): matrix / (matrix.shape[0] ** 0.5 * divisor)
        for ell, matrix in matrices.items()
    }


def _skip(model: Parameters, layer: int):
    """Degree -> [Z, C, C] of the fully connected product with the species."""
    found = {}
    for ell, weight in model.weights["interactions"][str(layer)]["skip"].items():
        n_in, n_species, _ = weight.shape
        found[int(ell)] = np.swapaxes(weight, 0, 1) / (n_in * n_species) ** 0.5
    return found


def readout_matrices(model: Any, layer: str, head: int) -> dict[str, Any]:
    """Those of one head, with e3nn's normalisation."""
    weights, arch = model.weights["readouts"][layer], model.architecture
    if "linear" in weights:
        return {"linear": weights["linear"][:, head] / weights["linear"].shape[0] ** 0.5}
    own = slice(head * arch.mlp_channels, (head + 1) * arch.mlp_channels)
    first, second = weights["linear_1"], weights["linear_2"]
    return {
        "linear_1": first[:, own] / first.shape[0] ** 0.5,
        "linear_2": second[own, head] / second.shape[0] ** 0.5,
    }
