"""From a model to energy, forces and stress, and to the function that dynamics calls.

Positions and sums are float64; the model computes in the dtype of its own arrays, and
displacements are cast to it here and nowhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff import neighbors
from jaxdiff.models import evaluators
from jaxdiff.models.contract import Evaluate, Kernel, Model, Request, Term, cast
from jaxdiff.models.derivative import (
    PRECISION,
    forces_from_gradient,
    interaction_gradient,
    strain_rows,
)
from jaxdiff.models.edges import Edges

__all__ = [
    "Evaluator",
    "Prediction",
    "cast",
    "compile_for",
    "evaluator",
    "make_energy_and_force",
    "predict",
    "species_index",
    "with_terms",
]


@struct.dataclass
class Prediction:
    """What a model says about one configuration (or a batch, with a leading axis).

    - `energy` []: total energy with the isolated-atom energies, eV.
    - `node_energy` [atoms]: its parts, eV.
    - `forces` [atoms, 3]: -dE/dx, eV/Å.
    - `stress` [3, 3]: (1/V) dE/dstrain, eV/Å^3, tension positive.
    """

    energy: Float[Array | np.ndarray, "*batch"]
    node_energy: Float[Array | np.ndarray, "*batch atoms"]
    forces: Float[Array | np.ndarray, "*batch atoms 3"]
    stress: Float[Array | np.ndarray, "*batch 3 3"]


def species_index(
    atomic_number: np.ndarray, atomic_numbers: Sequence[int]
) -> Int[np.ndarray, " atoms"]:
    """Index of each atom in the model's species table."""
    table = {z: k for k, z in enumerate(atomic_numbers)}
    unknown = sorted({int(z) for z in atomic_number} - set(table))
    if unknown:
        names = ", ".join(ase.data.chemical_symbols[z] for z in unknown)
        known = ", ".join(ase.data.chemical_symbols[z] for z in atomic_numbers)
        raise ValueError(
            f"the model does not know {names}; it knows {known}. Use a model that was "
            "trained on these elements."
        )
    return np.array([table[int(z)] for z in atomic_number], np.int32)


def predict(
    model: Model,
    displacement: Float[Array, "*edges 3"],
    edges: Edges,
    species: Int[Array, " atoms"],
    volume: Float[Array, ""] | float,
    head: int | Int[Array, ""] | Int[Array, " atoms"] = 0,
) -> Prediction:
    """Energy, forces and stress of one configuration.

    `displacement` is in float64 and replaces the one of `edges`; `volume` in Å^3.
    """
    n_atoms = species.shape[0]
    edges = replace(edges, displacement=displacement.astype(model.dtype))
    energy, gradient = interaction_gradient(model, edges, species, head=head)
    gradient = gradient.astype(displacement.dtype)
    isolated = jnp.asarray(model.isolated)[head, species]
    node = energy.astype(isolated.dtype) + isolated
    strain = jnp.einsum("...a,...b->ab", displacement, gradient, precision=PRECISION)
    return Prediction(
        energy=jnp.sum(node),
        node_energy=node,
        forces=forces_from_gradient(edges, gradient, n_atoms),
        stress=0.5 * (strain + strain.T) / volume,
    )


class Evaluator(NamedTuple):
    """A force field ready for dynamics, for fixed atoms.

    - `energy_and_force`: (params, position [atoms, 3] Å float64, cell [3, 3], neighbour
      list) -> energy [], eV, force [atoms, 3], eV/Å, and dE/dstrain [3, 3], eV, in float64;
      for one replica.
    - `cutoff`, Å; `name` of the kernel, and `reason` why it was taken, in words.
    """

    params: Any
    energy_and_force: Callable
    cutoff: float
    name: str
    reason: str


def evaluator(
    model: Model,
    atomic_number: Int[np.ndarray, " atoms"],
    kind: str | Kernel = "auto",
    *,
    head: int = 0,
    tolerance: float | None = None,
    dtype: Any = None,
    replicas: int = 1,
) -> Evaluator:
    """The function that molecular dynamics calls, of a kind in `evaluators.table`.

    The model is restricted to the species present, which does not change its numbers. All
    kinds can be differentiated in reverse over positions; for derivatives over weights use
    `make_energy_and_force`.

    - `tolerance`: None for exact radial functions; otherwise kernels that tabulate them
      have at most this error relative to the largest of them.
    - `dtype`: to compute in; the model's own if None.
    - `replicas`: the most that `jax.vmap` makes of it at once; on an accelerator they share
      the memory that is set aside for blocks of atoms.

    Raises ValueError where the kind cannot be used, with the reason.
    """
    species_index(atomic_number, model.species)
    model = model.restrict(np.unique(atomic_number).tolist())
    kernel, reason = evaluators.choose(model, kind)
    if tolerance is not None and not kernel.tabulates:
        reason += "; its radial functions are exact, so their tolerance has no effect"
    species = species_index(atomic_number, model.species)
    dtype = model.dtype if dtype is None else jnp.dtype(dtype)
    request = Request(species, dtype, head, tolerance, replicas)
    params, evaluate = kernel.prepare(model, request)
    function = _energy_and_force(evaluate, lambda params: dtype, model.cutoff)
    return Evaluator(params, function, float(model.cutoff), kernel.name, reason)


def compile_for(
    model: Model,
    atomic_number: Int[np.ndarray, " atoms"],
    *,
    head: int = 0,
    tolerance: float | None = None,
    fused: bool = False,
) -> tuple[Any, Callable]:
    """The first two of `evaluator`, "compiled" or "fused", by a former name."""
    kernels = {kernel.name: kernel for kernel in model.kernels}
    kernel = kernels["fused" if fused else "compiled"]
    return evaluator(model, atomic_number, kernel, head=head, tolerance=tolerance)[:2]


def make_energy_and_force(
    model: Model, atomic_number: Int[np.ndarray, " atoms"]
) -> Callable:
    """As `Evaluator.energy_and_force`, with a model in place of the parameters.

    It takes any model with the species and cutoff of this one, and can be differentiated
    over weights.
    """
    evaluate = evaluators.of_nodes(species_index(atomic_number, model.species))
    return _energy_and_force(evaluate, lambda model: model.dtype, model.cutoff)


def with_terms(
    found: tuple[Array, Array, Array],
    terms: Sequence[Term],
    position: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
) -> tuple[Array, Array, Array]:
    """Energy, forces and dE/dstrain of a model with what stands beside it."""
    with jax.default_matmul_precision(PRECISION):
        for term in terms:
            own = term.energy_force_strain(position, cell)
            found = jax.tree.map(jnp.add, found, own)
    return found


def _energy_and_force(evaluate: Evaluate, dtype_of: Callable, cutoff: float) -> Callable:
    """A function of (params, edges) as one of positions, for dynamics."""

    def energy_and_force(params, position, cell, lists):
        n_atoms = position.shape[0]
        displacement, sender, reverse = neighbors.within(position, cell, lists, cutoff)
        is_pair = sender < n_atoms
        sender = jnp.where(is_pair, sender, 0)
        edges = Edges(displacement.astype(dtype_of(params)), sender, reverse=reverse)
        with jax.default_matmul_precision(PRECISION):
            node, gradient, isolated = evaluate(params, edges)
        energy = jnp.sum(node.astype(isolated.dtype)) + jnp.sum(isolated)
        force = forces_from_gradient(edges, gradient, n_atoms)
        used = jnp.where(is_pair[..., None], gradient, 0)
        # row by row first: the places of a row then leave no trace (PLACES_MULTIPLE)
        row = strain_rows(displacement, used.astype(position.dtype))
        strain = jnp.sum(row, axis=0)
        return energy, force.astype(position.dtype), (strain + strain.T) / 2

    return energy_and_force
