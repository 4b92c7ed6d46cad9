"""From a model to energy, forces and stress: the only gradient over positions and strain.

Positions and sums are float64; the model computes in the dtype of its own arrays, and
displacements are cast to it here and nowhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff import neighbors
from jaxdiff.checkpoints import restrict
from jaxdiff.models.architecture import Architecture, Mace
from jaxdiff.models.compiled import (
    blocks_of,
    convolve_by_path,
    energy_and_gradient,
    fitting_size,
)
from jaxdiff.models.folded import Folded, can_fold, fold
from jaxdiff.models.fused import convolve as convolve_fused
from jaxdiff.models.mace import Edges, node_energy

WIDE = 24
"""From so many channels on the compiled evaluator was seen to be faster on a CPU."""


@struct.dataclass
class Prediction:
    """What a model says about one configuration (or a batch, with a leading axis).

    - `energy` []: total energy with the isolated-atom energies, eV.
    - `node_energy` [atoms]: its parts, eV.
    - `forces` [atoms, 3]: -dE/dx, eV/Å.
    - `stress` [3, 3]: (1/V) dE/dstrain, eV/Å^3, tension positive.
    """

    energy: Float[Array, ""]
    node_energy: Float[Array, " atoms"]
    forces: Float[Array, "atoms 3"]
    stress: Float[Array, "3 3"]


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


def model_dtype(model: Mace):
    """The dtype that the model computes in."""
    return model.weights["embedding"].dtype


def cast(model: Mace, dtype) -> Mace:
    """The same model in another precision; isolated-atom energies stay float64."""
    energies = model.constants["atomic_energies"]
    converted = jax.tree.map(lambda x: jnp.asarray(x, dtype), model)
    isolated = {"atomic_energies": jnp.asarray(energies, "float64")}
    return replace(converted, constants=converted.constants | isolated)


def interaction_gradient(
    model: Mace,
    edges: Edges,
    species: Int[Array, " atoms"],
    atom_weight: Float[Array, " atoms"] | None = None,
    head: int | Int[Array, " atoms"] = 0,
) -> tuple[Float[Array, " atoms"], Float[Array, "*edges 3"]]:
    """Energy of each atom, eV, and the derivative of their sum over displacements, eV/Å.

    `atom_weight` multiplies each atom's energy: 0 for padding.
    """

    def total(displacement):
        moved = replace(edges, displacement=displacement)
        energy = node_energy(model, moved, species, head)
        if atom_weight is not None:
            energy = energy * atom_weight
        return jnp.sum(energy), energy

    gradient, energy = jax.grad(total, has_aux=True)(edges.displacement)
    return energy, gradient


def forces_from_gradient(
    edges: Edges, gradient: Float[Array, "*edges 3"], n_atoms: int
) -> Float[Array, "atoms 3"]:
    """-dE/dx of each atom: as the receiver and as the sender of its edges, eV/Å."""
    return edges.collect_sent(gradient, n_atoms) - edges.total(gradient, n_atoms)


def predict(
    model: Mace,
    displacement: Float[Array, "*edges 3"],
    edges: Edges,
    species: Int[Array, " atoms"],
    volume: Float[Array, ""] | float,
    head: int | Int[Array, " atoms"] = 0,
) -> Prediction:
    """Energy, forces and stress of one configuration.

    `displacement` is in float64 and replaces the one of `edges`; `volume` in Å^3.
    """
    n_atoms = species.shape[0]
    edges = replace(edges, displacement=displacement.astype(model_dtype(model)))
    energy, gradient = interaction_gradient(model, edges, species, head=head)
    gradient = gradient.astype(displacement.dtype)
    isolated = model.constants["atomic_energies"][head, species]
    node = energy.astype(isolated.dtype) + isolated
    strain = jnp.einsum("...a,...b->ab", displacement, gradient)
    return Prediction(
        energy=jnp.sum(node),
        node_energy=node,
        forces=forces_from_gradient(edges, gradient, n_atoms),
        stress=0.5 * (strain + strain.T) / volume,
    )


def make_energy_and_force(
    architecture: Architecture, atomic_number: Int[np.ndarray, " atoms"]
) -> Callable:
    """The function that molecular dynamics calls, for fixed species.

    (model, position [atoms, 3] Å float64, cell [3, 3], neighbour list) -> energy [], eV,
    force [atoms, 3], eV/Å, and dE/dstrain [3, 3], eV, in float64; for one replica.
    """
    species = species_index(atomic_number, architecture.atomic_numbers)

    def evaluate(model, edges):
        isolated = model.constants["atomic_energies"][0, species]
        return *interaction_gradient(model, edges, jnp.asarray(species)), isolated

    return _energy_and_force(evaluate, model_dtype, architecture.cutoff)


def pays_to_compile(architecture: Architecture) -> bool:
    """Whether `compile_for` is taken by default: on a CPU, but for very narrow models."""
    wide = architecture.channels >= WIDE and jax.default_backend() == "cpu"
    return wide and can_fold(architecture)


def compile_for(
    model: Mace,
    atomic_number: Int[np.ndarray, " atoms"],
    *,
    head: int = 0,
    tolerance: float | None = None,
    block_size: int | None = None,
    fused: bool = False,
) -> tuple[Folded, Callable]:
    """A model folded for one composition, and the function that evaluates it.

    The function is that of `make_energy_and_force`, with the folded model in place of the
    model; the same numbers, sooner. It can be differentiated in reverse over positions; for
    derivatives with respect to weights use the plain function.

    - `tolerance`: None for the exact radial functions; otherwise they are tabulated, with
      at most this error relative to the largest of them.
    - `block_size`: atoms whose edges are in memory at once; None: as many as a cache holds.
    - `fused`: the last layer's sum over neighbours is one operation of cuequivariance, of
      the `[cuda]` extra: a kernel on a CUDA GPU, slow elsewhere.

    Raises ValueError where the architecture is not one of `folded.can_fold`.
    """
    present = tuple(np.unique(atomic_number).tolist())
    model = restrict(model, present)
    species = species_index(atomic_number, present)
    folded = fold(model, head=head, tolerance=tolerance)
    blocks = blocks_of(species, block_size or fitting_size(folded))
    convolve = convolve_fused if fused else convolve_by_path

    def evaluate(folded, edges):
        node, gradient = energy_and_gradient(
            folded, blocks, species, edges.displacement, edges.sender, convolve
        )
        return node, gradient, folded.atomic_energies[species]

    def dtype_of(folded):
        return folded.first_mixing.dtype

    return folded, _energy_and_force(evaluate, dtype_of, model.architecture.cutoff)


def _energy_and_force(evaluate: Callable, dtype_of: Callable, cutoff: float) -> Callable:
    """A function of (params, edges) as one of positions, for dynamics."""

    def energy_and_force(params, position, cell, lists):
        n_atoms = position.shape[0]
        displacement, sender, reverse = neighbors.within(position, cell, lists, cutoff)
        is_pair = sender < n_atoms
        sender = jnp.where(is_pair, sender, 0)
        edges = Edges(displacement.astype(dtype_of(params)), sender, reverse=reverse)
        node, gradient, isolated = evaluate(params, edges)
        energy = jnp.sum(node.astype(isolated.dtype)) + jnp.sum(isolated)
        force = forces_from_gradient(edges, gradient, n_atoms)
        used = jnp.where(is_pair[..., None], gradient, 0)
        # row by row first: the places of a row then leave no trace (PLACES_MULTIPLE)
        row = jnp.einsum("nka,nkb->nab", displacement, used.astype(position.dtype))
        strain = jnp.sum(row, axis=0)
        return energy, force.astype(position.dtype), (strain + strain.T) / 2

    return energy_and_force
