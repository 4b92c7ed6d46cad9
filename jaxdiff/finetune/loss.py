"""Losses over a batch, with upstream's definitions, and the errors users read."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxdiff.finetune.data import Batch
from jaxdiff.models.architecture import Mace
from jaxdiff.models.mace import Edges
from jaxdiff.potential import forces_from_gradient, interaction_gradient

FORCE_BANDS = ((100.0, 1.0), (200.0, 0.7), (300.0, 0.4), (float("inf"), 0.1))
"""Upper bound of |F| in eV/Å, factor on delta: the conditional Huber loss on forces."""


@struct.dataclass
class BatchPrediction:
    """Interaction energy [graphs] eV, forces [atoms, 3] eV/Å, stress [graphs, 3, 3]."""

    energy: Float[Array, " graphs"]
    forces: Float[Array, "atoms 3"]
    stress: Float[Array, "graphs 3 3"]


def predict_batch(model: Mace, batch: Batch) -> BatchPrediction:
    """Evaluate a batch; padded atoms contribute nothing."""
    n_graphs, n_rows = batch.energy.shape[0], batch.species.shape[0]
    edges = Edges(batch.displacement, batch.sender, reverse=batch.reverse)
    energy, gradient = interaction_gradient(model, edges, batch.species, batch.atom_weight)
    strain = jnp.einsum(
        "gnka,gnkb->gab",
        batch.displacement.reshape(n_graphs, -1, *batch.displacement.shape[1:]),
        gradient.reshape(n_graphs, -1, *gradient.shape[1:]),
    )
    strain = 0.5 * (strain + jnp.swapaxes(strain, 1, 2))
    return BatchPrediction(
        energy=energy.reshape(n_graphs, -1).sum(axis=1),
        forces=forces_from_gradient(edges, gradient, n_rows),
        stress=strain / batch.volume[:, None, None],
    )


def huber(reference: Array, predicted: Array, delta: Array | float) -> Array:
    """Quadratic within `delta`, linear beyond, elementwise."""
    error = jnp.abs(reference - predicted)
    return jnp.where(error < delta, 0.5 * error**2, delta * (error - 0.5 * delta))


def conditional_huber(reference: Array, predicted: Array, delta: float) -> Array:
    """Huber loss on forces [atoms, 3] with a delta that shrinks for large forces."""
    squared = jnp.sum(reference**2, axis=-1, keepdims=True)
    scaled = jnp.full_like(squared, delta * FORCE_BANDS[-1][1])
    for bound, factor in reversed(FORCE_BANDS[:-1]):
        scaled = jnp.where(squared < bound**2, delta * factor, scaled)
    return huber(reference, predicted, scaled)


def universal_loss(
    model: Mace,
    batch: Batch,
    energy_weight: float,
    forces_weight: float,
    stress_weight: float,
    delta: float,
) -> Float[Array, ""]:
    """Huber on E/N and stress, conditional Huber on forces: upstream's "universal" loss.

    As upstream, the per-configuration weights multiply reference and prediction inside
    the Huber function, and means run over all elements of the batch (padding excluded).
    """
    predicted = predict_batch(model, batch)
    e_weight = batch.energy_weight / batch.n_atoms
    energy = huber(e_weight * batch.energy, e_weight * predicted.energy, delta)
    per_atom = jnp.repeat(batch.forces_weight, batch.species.shape[0] // len(batch.energy))
    f_weight = (per_atom * batch.atom_weight)[:, None]
    forces = conditional_huber(f_weight * batch.forces, f_weight * predicted.forces, delta)
    s_weight = batch.stress_weight[:, None, None]
    stress = huber(s_weight * batch.stress, s_weight * predicted.stress, delta)
    return (
        energy_weight * jnp.mean(energy)
        + forces_weight * jnp.sum(forces) / (3.0 * jnp.sum(batch.atom_weight))
        + stress_weight * jnp.mean(stress)
    )


def batch_errors(model: Mace, batch: Batch) -> dict[str, Array]:
    """Per graph: error of E/N (eV/atom), mean squared errors of forces and stress."""
    predicted = predict_batch(model, batch)
    n_graphs = batch.energy.shape[0]
    squared = jnp.sum((predicted.forces - batch.forces) ** 2, axis=1) * batch.atom_weight
    absolute = jnp.sum(jnp.abs(predicted.forces - batch.forces), axis=1) * batch.atom_weight
    return {
        "energy": (predicted.energy - batch.energy) / batch.n_atoms,
        "forces_square": squared.reshape(n_graphs, -1).sum(axis=1) / (3 * batch.n_atoms),
        "forces_absolute": absolute.reshape(n_graphs, -1).sum(axis=1) / (3 * batch.n_atoms),
        "stress_square": jnp.mean((predicted.stress - batch.stress) ** 2, axis=(1, 2)),
        "weight": jax.lax.stop_gradient(batch.energy_weight),
    }
