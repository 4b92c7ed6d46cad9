"""Losses over a batch, with upstream's definitions, and the errors users read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxdiff.finetune.batches import Batch
from jaxdiff.models.contract import Model
from jaxdiff.models.derivative import (
    forces_from_gradient,
    interaction_gradient,
    strain_rows,
)
from jaxdiff.models.edges import Edges
from jaxdiff.models.sums import total_by

FORCE_BANDS = ((100.0, 1.0), (200.0, 0.7), (300.0, 0.4), (float("inf"), 0.1))
"""Upper bound of |F| in eV/Å, factor on delta: the conditional Huber loss on forces."""

KINDS = ("weighted", "huber", "universal")

_Weight = Float[Array, ""] | float
LossWeights = tuple[_Weight, _Weight, _Weight]
"""Of energy, forces and stress (or virials)."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """Which loss: upstream's `weighted`, `huber` or `universal`.

    - `delta`: where the Huber losses go over from quadratic to linear.
    - `virials`: compare -stress times volume per atom, eV, rather than stress.

    Means run over all present elements of the batch, as upstream's. The weight of a
    configuration multiplies its terms in every loss; upstream's `huber` and `universal`
    ignore it. A label that is missing counts as met.
    """

    kind: str = "universal"
    delta: float = 0.01
    virials: bool = False


@struct.dataclass
class BatchPrediction:
    """Interaction energy [graphs] eV, forces [atoms, 3] eV/Å, stress [graphs, 3, 3]."""

    energy: Float[Array | np.ndarray, " graphs"]
    forces: Float[Array | np.ndarray, "atoms 3"]
    stress: Float[Array | np.ndarray, "graphs 3 3"]


def predict_batch(model: Model, batch: Batch) -> BatchPrediction:
    """Evaluate a batch; padded atoms contribute nothing."""
    n_graphs, n_rows = batch.energy.shape[0], batch.species.shape[0]
    own = batch.charge[batch.graph], batch.multiplicity[batch.graph]
    model = model.of_structures(*own)
    edges = Edges(batch.displacement, batch.sender, reverse=batch.reverse)
    energy, gradient = interaction_gradient(
        model, edges, batch.species, batch.atom_weight, batch.head[batch.graph]
    )
    rows = strain_rows(batch.displacement, gradient)
    strain = total_by(rows, batch.graph, n_graphs)
    strain = 0.5 * (strain + jnp.swapaxes(strain, 1, 2))
    return BatchPrediction(
        energy=total_by(energy, batch.graph, n_graphs),
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


def batch_loss(
    model: Model, batch: Batch, loss: Loss, weights: LossWeights
) -> Float[Array, ""]:
    """The loss of a batch: the weighted sum of its three means."""
    terms = loss_terms(predict_batch(model, batch), batch, loss)
    return sum((w * t for w, t in zip(weights, terms, strict=True)), jnp.zeros(()))


def loss_terms(
    predicted: BatchPrediction, batch: Batch, loss: Loss
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Means over the batch of the terms of energy per atom, forces, and stress."""
    per_tensor = batch.present[:, None, None]
    scale = jnp.ones_like(per_tensor)
    if loss.virials:
        scale = -(batch.volume / batch.n_atoms)[:, None, None]
    energy = _elements(
        loss,
        batch.energy / batch.n_atoms,
        predicted.energy / batch.n_atoms,
        batch.energy_weight,
    )
    forces = _elements(
        loss,
        batch.forces,
        predicted.forces,
        batch.forces_weight[batch.graph][:, None],
        conditional=True,
    )
    stress = _elements(
        loss,
        scale * batch.stress,
        scale * predicted.stress,
        batch.stress_weight[:, None, None],
    )
    outer = batch.weight * batch.present
    of_atom = (outer[batch.graph] * batch.atom_weight)[:, None]
    n_graphs, n_atoms = jnp.sum(batch.present), jnp.sum(batch.atom_weight)
    return (
        jnp.sum(outer * energy) / n_graphs,
        jnp.sum(of_atom * forces) / (3 * n_atoms),
        jnp.sum(outer[:, None, None] * stress) / (9 * n_graphs),
    )


def _elements(loss, reference, predicted, weight, *, conditional=False):
    """The loss of each element: its weight multiplies what upstream lets it multiply."""
    if loss.kind == "weighted":
        return weight * (reference - predicted) ** 2
    if loss.kind == "huber":
        return jnp.where(weight > 0, huber(reference, predicted, loss.delta), 0)
    banded = conditional_huber if conditional else huber
    return banded(weight * reference, weight * predicted, loss.delta)


def batch_errors(
    model: Model, batch: Batch, loss: Loss
) -> tuple[dict[str, Array], tuple[Array, Array, Array]]:
    """Errors of each graph, and the loss terms of the batch, with one evaluation.

    Error of E/N (eV/atom), mean squared and absolute errors of the others; a label that is
    missing gives not-a-number.
    """
    predicted = predict_batch(model, batch)
    n_graphs = batch.energy.shape[0]
    error = (predicted.forces - batch.forces) * batch.atom_weight[:, None]

    def of_forces(value):
        total = jax.ops.segment_sum(jnp.sum(value, axis=1), batch.graph, n_graphs)
        return jnp.where(batch.forces_weight > 0, total / (3 * batch.n_atoms), jnp.nan)

    energy = (predicted.energy - batch.energy) / batch.n_atoms
    stress = jnp.mean((predicted.stress - batch.stress) ** 2, axis=(1, 2))
    found = {
        "energy": jnp.where(batch.energy_weight > 0, energy, jnp.nan),
        "forces_square": of_forces(error**2),
        "forces_absolute": of_forces(jnp.abs(error)),
        "stress_square": jnp.where(batch.stress_weight > 0, stress, jnp.nan),
    }
    return found, loss_terms(predicted, batch, loss)
