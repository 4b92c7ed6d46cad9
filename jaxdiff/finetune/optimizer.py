"""The optimiser: clipped AMSGrad, an average of the weights, a plateau schedule."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int


@struct.dataclass
class TrainState:
    """Everything that one update changes.

    - `weights`, `average`: the model's weights and their exponential moving average.
    - `moments`: state of the optax transformation.
    - `learning_rate`, `best_loss`, `stale_epochs`: the plateau schedule.
    - `updates`, `epoch`: updates made and epochs done.
    """

    weights: dict
    average: dict
    moments: optax.OptState
    learning_rate: Float[Array, ""]
    best_loss: Float[Array, ""]
    stale_epochs: Int[Array, ""]
    updates: Int[Array, ""]
    epoch: Int[Array, ""]


def transformation(clip_norm: float) -> optax.GradientTransformation:
    """Global-norm clipping, then AMSGrad's direction (doi:10.48550/arXiv.1904.09237).

    optax takes the maximum of bias-corrected moments, so that parameters with huge first
    gradients keep small steps; PyTorch corrects after the maximum.
    """
    return optax.chain(optax.clip_by_global_norm(clip_norm), optax.scale_by_amsgrad())


def initial_state(
    weights: dict, optimizer: optax.GradientTransformation, learning_rate: float
) -> TrainState:
    """State before the first update; the average starts at the weights."""
    return TrainState(
        weights=weights,
        average=jax.tree.map(jnp.array, weights),
        moments=optimizer.init(weights),
        learning_rate=jnp.asarray(learning_rate, jnp.float32),
        best_loss=jnp.asarray(jnp.inf, jnp.float32),
        stale_epochs=jnp.asarray(0, jnp.int32),
        updates=jnp.asarray(0, jnp.int32),
        epoch=jnp.asarray(0, jnp.int32),
    )


def update(
    state: TrainState,
    gradient: dict,
    optimizer: optax.GradientTransformation,
    average_decay: float,
) -> TrainState:
    """One step along `gradient`; the average follows."""
    direction, moments = optimizer.update(gradient, state.moments, state.weights)
    rate = state.learning_rate
    weights = jax.tree.map(
        lambda w, d: w - rate.astype(w.dtype) * d, state.weights, direction
    )
    # the average forgets its random start: its memory grows with the updates made
    done = (state.updates + 1).astype(rate.dtype)
    decay = jnp.minimum(average_decay, (1.0 + done) / (10.0 + done))
    average = optax.incremental_update(weights, state.average, 1.0 - decay)
    return replace(
        state, weights=weights, average=average, moments=moments, updates=state.updates + 1
    )


def begin_stage(state: TrainState, learning_rate: float) -> TrainState:
    """Go on with other loss weights: a new learning rate, and no best loss so far."""
    return replace(
        state,
        learning_rate=jnp.asarray(learning_rate, jnp.float32),
        best_loss=jnp.asarray(jnp.inf, jnp.float32),
        stale_epochs=jnp.asarray(0, jnp.int32),
    )


def end_epoch(
    state: TrainState, loss: float, *, decay: float, factor: float, patience: int
) -> TrainState:
    """Lower the learning rate: by `decay`, and by `factor` on a plateau.

    A plateau is reached when the validation `loss` did not improve for more than
    `patience` epochs.
    """
    improved = loss < float(state.best_loss)
    stale = 0 if improved else int(state.stale_epochs) + 1
    shrink = stale > patience
    return replace(
        state,
        best_loss=jnp.asarray(min(loss, float(state.best_loss)), jnp.float32),
        stale_epochs=jnp.asarray(0 if shrink else stale, jnp.int32),
        learning_rate=state.learning_rate * decay * (factor if shrink else 1.0),
        epoch=state.epoch + 1,
    )
