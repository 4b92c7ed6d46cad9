"""A MACE of gated blocks for one composition: all that depends on weights alone.

As `jaxdiff.models.mace.folded`, with its identities as far as the gate lets them be: what
comes before it, and what comes after it, are joined, each for itself. Radial functions and
densities are those of a receiver and a sender, which are not the same the other way round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.models.mace.folded import by_fan_in, coefficients, readout_matrices
from jaxdiff.models.mace.gated.architecture import Architecture, Parameters
from jaxdiff.models.mace.gated.layers import last_hidden
from jaxdiff.models.mace.radial import bessel_basis, polynomial_envelope, transformed
from jaxdiff.models.table import SHORTEST, tabulate

LAYERS = ("0", "1")


@struct.dataclass
class Folded:
    """What the evaluator for a fixed composition computes with.

    Z species, C channels, E on edges of the last layer, G of the gate's input (`gate`).

    - `radial`: "0", "1" -> `table`, a `RadialTable` with the rows that `table_row` tells,
      and `gate` [Z, Z, functions], the density from it; or `radial` and `density`, the
      layers of the exact networks, biases of the first [Z, Z, width]. By receiver and
      sender. `constants`: those of radial functions, repulsion, gate and readout.
    - `alpha`, `beta` "0", "1" -> []: messages are divided by alpha + beta * density.
    - `first_mixing` l -> [Z, functions * Z, G_l]: from moments to the gate;
      `first_residual` [Z, G_0]: added to its scalars.
    - `linear_2` "0", "1" -> l -> [C, C]: from the gate to the atomic basis.
    - `coefficient` "0", "1" -> l -> [monomials, C].
    - `out` l -> [C, E], and for l = 0 [C, E + 1 + mlp]: from the first product to what is
      sent, to the first layer's energy, and to what skips the last layer;
      `out_constant` [Z, E + 1 + mlp].
    - `last_radial` [Z, functions, paths, E], by receiver; `last_mixing` l -> [paths_l E, or
      (paths_l + 1) E, G_l]: from the message, and from an atom's own features, to the gate.
    - `last_out` [C, mlp], `readout` [mlp]: from the last product to its energy.
    - `scale`, `shift` [] of the interaction energy, eV; `atomic_energies` [Z] float64, eV.
    """

    radial: dict
    constants: dict
    alpha: dict
    beta: dict
    first_mixing: dict
    first_residual: Any
    linear_2: dict
    coefficient: dict
    out: dict
    out_constant: Any
    last_radial: Any
    last_mixing: dict
    last_out: Any
    readout: Any
    scale: Any
    shift: Any
    atomic_energies: Any
    architecture: Architecture = struct.field(pytree_node=False)


def reason_not_to(model: Parameters) -> str | None:
    """Why a model cannot be folded: it can with two layers and a readout after each."""
    arch = model.architecture
    if arch.readouts == ("linear", "nonlinear") and arch.hidden[1:] == ((0,),):
        return None
    return (
        f"a model of gated blocks with {len(arch.hidden)} layers, the degrees "
        f"{arch.hidden[-1]} after the last and the readouts {', '.join(arch.readouts)} "
        "cannot be folded; those with two layers, scalars after the last and the readouts "
        "linear, nonlinear can"
    )


def fold(
    model: Parameters, dtype: Any, *, head: int = 0, tolerance: float | None = None
) -> Folded:
    """Fold a model that is restricted to the species present, in float64.

    - `dtype`: of the result, which is rounded once.
    - `tolerance`: None for the exact networks; otherwise the largest error of a tabulated
      radial function relative to the largest one, and of a density to the largest density.
    """
    if reason := reason_not_to(model):
        raise ValueError(f"{reason}. Use the plain evaluator.")
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), model)
    constants, own = exact.constants, exact.weights["interactions"]
    with jax.enable_x64(True):
        start = np.asarray(jax.tree.map(jnp.asarray, exact).embedding())
        radial, back = _radial(exact, tolerance)
    sent = start @ by_fan_in(own["0"]["linear_up"])[0]
    out, out_constant, last_out, readout = _out(exact, start, head)
    arch, last_radial = exact.architecture, back["1"][:, 0]  # that of all senders
    folded = Folded(
        radial=radial,
        constants={
            k: constants[k]
            for k in ("bessel", "readout_activation", "agnesi", "zbl", "gate")
            if k in constants
        },
        alpha={i: own[i]["alpha"] for i in LAYERS},
        beta={i: own[i]["beta"] for i in LAYERS},
        first_mixing=_first_mixing(own["0"], sent, back["0"]),
        first_residual=sent @ by_fan_in(own["0"]["residual"])[0],
        linear_2={i: by_fan_in(own[i]["linear_2"]) for i in LAYERS},
        coefficient={
            i: {ell: of_all[0] for ell, of_all in coefficients(exact, i).items()}
            for i in LAYERS
        },
        out=out,
        out_constant=out_constant,
        last_radial=last_radial.reshape(*last_radial.shape[:2], -1, arch.edge_channels[1]),
        last_mixing=_last_mixing(own["1"]),
        last_out=last_out,
        readout=readout,
        scale=constants["scale"][head] if arch.scale_shift else np.ones(()),
        shift=constants["shift"][head] if arch.scale_shift else np.zeros(()),
        atomic_energies=np.zeros(()),
        architecture=arch,
    )
    folded = jax.tree.map(lambda x: jnp.asarray(x, dtype), folded)
    energies = jnp.asarray(np.asarray(exact.isolated)[head])  # not rounded
    return replace(folded, atomic_energies=energies)


def table_row(n_species: int) -> Int[np.ndarray, "receivers senders"]:
    """Rows of the tables: one for each receiver and sender, the other way round another."""
    return np.arange(n_species**2).reshape(n_species, n_species)


def edge_functions(
    model: Any,
    radial: Mapping[str, Any],
    distance: Float[Array, "*edges"],
    receiver: Int[Array, "*edges"],
    sender: Int[Array, "*edges"],
) -> tuple[Float[Array, "*edges functions"], Float[Array, "*edges"]]:
    """Of the exact networks: what the last layer takes to weights, and the density.

    The functions are zero at and beyond the cutoff; the last of them is that of the bias.
    """
    arch = model.architecture
    x = transformed(model, distance, (sender, receiver))
    basis = bessel_basis(x, model.constants["bessel"], arch.cutoff)
    envelope = polynomial_envelope(distance, arch.cutoff, arch.cutoff_power)[..., None]

    def hidden(layers: Sequence[Mapping[str, Any]]) -> Array:
        first, *others = layers
        of_pair = {**first, "bias": jnp.asarray(first["bias"])[receiver, sender]}
        return last_hidden([of_pair, *others], basis @ first["weight"])

    value = hidden(radial["radial"])
    function = jnp.concatenate([value, jnp.ones_like(envelope)], axis=-1) * envelope
    *layers, last = radial["density"]
    number = hidden(layers) @ last["weight"] + last["bias"]
    return function, (envelope * jnp.tanh(number**2))[..., 0]


def _radial(model: Parameters, tolerance: float | None):
    """Radial part of both layers, and the matrices from their functions to the weights.

    Those are [receivers, senders, functions, weights].
    """
    radial, back = {}, {}
    row = table_row(len(model.architecture.atomic_numbers))
    for i in LAYERS:
        networks = {name: _network(model, i, name) for name in ("radial", "density")}
        *networks["radial"], last = networks["radial"]
        matrix = np.concatenate([last["weight"], last["bias"][None]])
        if tolerance is None:
            radial[i] = networks
            joined = np.broadcast_to(matrix, (*row.shape, *matrix.shape))
        else:
            # sums of the first layer are by sender; in the last a receiver's share theirs
            groups = row.reshape(-1, 1) if i == "0" else row
            radial[i], joined = _table(model, networks, matrix, groups, tolerance)
            joined = joined[row // groups.shape[1]]
        back[i] = joined
    return radial, back


def _network(model: Parameters, layer: str, name: str) -> list[dict[str, Any]]:
    """Layers of a network; those of the species at both ends are biases of the first."""
    own = model.weights["interactions"][layer]
    first, *others = own[name].values()
    width, root = own["source"].shape[1], len(own["source"]) ** 0.5
    basis, source, target = np.split(first["weight"], [-2 * width, -width])
    sender, receiver = own["source"] / root @ source, own["target"] / root @ target
    bias = first["bias"] + receiver[:, None] + sender[None]
    return [{**first, "weight": basis, "bias": bias}, *others]


def _table(model: Parameters, networks, matrix, groups, tolerance: float):
    """A table, with the density of a neighbour as one more column, and the way back."""
    arch = model.architecture
    constants = replace(model, constants=jax.tree.map(jnp.asarray, model.constants))
    n_species = len(arch.atomic_numbers)

    def function(distance, pair):
        ends = (jnp.full(distance.shape, s) for s in divmod(pair, n_species))
        found, density = edge_functions(constants, networks, distance, *ends)
        return found @ matrix, density[:, None]

    # both as large, so that the tolerance is that of each
    grid = jnp.linspace(SHORTEST, arch.cutoff, 129)
    sizes = [
        [jnp.abs(x).max() for x in function(grid, pair)] for pair in range(n_species**2)
    ]
    largest, densest = np.max(sizes, axis=0)
    factor = largest / densest if densest > 0 else 1.0

    def both(distance, pair):
        found, density = function(distance, pair)
        return jnp.concatenate([found, factor * density], axis=-1)

    table, joined = tabulate(both, groups, arch.cutoff, tolerance)
    gate = joined[table_row(n_species) // groups.shape[1], :, -1] / factor
    return {"table": table, "gate": gate}, joined[..., :-1]


def _first_mixing(own: Mapping[str, Any], sent, back):
    """Moments are sums over neighbours before channels exist: all matrices at once."""
    linear, mixing = by_fan_in(own["linear_1"]), {}
    for ell, part in enumerate(np.split(back, len(linear), axis=-1)):
        mixed = np.swapaxes(part * sent[:, None], 1, 2) @ linear[ell]
        mixing[ell] = mixed.reshape(len(sent), -1, mixed.shape[-1])
    return mixing


def _out(model: Parameters, start, head: int):
    """From both products on; see `Folded`."""
    weights = model.weights
    last, product = (
        weights["interactions"]["1"],
        [by_fan_in(weights["products"][i]["linear"]) for i in LAYERS],
    )
    first_readout, last_readout = (readout_matrices(model, i, head) for i in LAYERS)
    skip = by_fan_in(last["skip"])[0] @ last_readout["linear_1"]
    readers = by_fan_in(last["linear_up"])
    energy = first_readout["linear"][:, None]
    readers[0] = np.concatenate([readers[0], energy, skip], axis=1)
    out = {ell: product[0][ell] @ reader for ell, reader in readers.items()}
    skipped = start @ by_fan_in(weights["interactions"]["0"]["skip"])[0]
    last_out = product[1][0] @ last_readout["linear_1"]
    return out, skipped @ readers[0], last_out, last_readout["linear_2"]


def _last_mixing(own: Mapping[str, Any]):
    """The message's matrices, and below them those of an atom's own features."""
    residual = by_fan_in(own["residual"])
    return {
        ell: np.concatenate([matrix, residual[ell]]) if ell in residual else matrix
        for ell, matrix in by_fan_in(own["linear_1"]).items()
    }
