"""The optimiser: clipped Adam of several kinds, an average of the weights, schedules."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

KINDS = ("amsgrad", "amsgrad_corrected", "adam", "adamw")
PLATEAU_THRESHOLD = 1e-4  # relative: smaller gains count as none, as in PyTorch

Weights = dict[str, Any]
"""Dotted name -> array (or a pair of them): what is trained."""


@struct.dataclass
class TrainState:
    """Everything that one update or one epoch changes.

    - `weights`, `average`: what is trained, and its exponential moving average.
    - `moments`: state of the optax transformation.
    - `learning_rate`, `plateau_loss`, `stale_epochs`: the plateau schedule.
    - `best_loss`, `since_best`: lowest validation loss, and epochs since.
    - `updates`, `epoch`, `batch`: updates made, epochs done, batches done of this epoch.
    - `loss_sum`: of the batches of this epoch.
    """

    weights: Weights
    average: Weights
    moments: optax.OptState
    learning_rate: Float[Array, ""]
    plateau_loss: Float[Array, ""]
    stale_epochs: Int[Array, ""]
    best_loss: Float[Array, ""]
    since_best: Int[Array, ""]
    updates: Int[Array, ""]
    epoch: Int[Array, ""]
    batch: Int[Array, ""]
    loss_sum: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How weights are updated.

    - `kind`: of `KINDS`; "amsgrad" is PyTorch's, "amsgrad_corrected" optax's.
    - `weight_decay`: on the names that `decays` picks; decoupled for "adamw".
    - `rate_factor`: of a name, multiplies the learning rate.
    - `warmup_updates`: over which the rate rises linearly.
    - `cosine_epochs`, `cosine_floor`: the rate falls as half a cosine over so many epochs
      of `updates_per_epoch`, to this fraction; None: it does not. Later ones, those of a
      stage two, have their own rate.
    """

    kind: str
    beta1: float
    clip_norm: float
    weight_decay: float
    decays: Callable[[str], bool]
    rate_factor: Callable[[str], float]
    average_decay: float
    warmup_updates: int = 0
    updates_per_epoch: int = 1
    cosine_epochs: int | None = None
    cosine_floor: float = 0.0


class _AmsgradState(NamedTuple):
    count: Any
    mean: Any
    square: Any
    largest: Any


def _scale_by_amsgrad(
    b1: float, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """PyTorch's AMSGrad (doi:10.48550/arXiv.1904.09237): the maximum, then its correction.

    optax takes the maximum of bias-corrected moments instead, so that parameters with huge
    first gradients keep small steps.
    """

    def init(params):
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(3)]
        return _AmsgradState(jnp.zeros((), jnp.int32), *zeros)

    def update(updates, state, params=None):
        del params
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda s, g: b2 * s + (1 - b2) * g * g, state.square, updates)
        largest = jax.tree.map(jnp.maximum, state.largest, square)

        def direction(m, v):
            n = count.astype(m.dtype)
            return m / (1 - b1**n) / (jnp.sqrt(v) / jnp.sqrt(1 - b2**n) + eps)

        found = jax.tree.map(direction, mean, largest)
        return found, _AmsgradState(count, mean, square, largest)

    return optax.GradientTransformation(init, update)


def _clip(max_norm: float) -> optax.GradientTransformation:
    """Clipping by the global norm; PyTorch adds 1e-6 to the norm it divides by."""

    def clipped(updates, params):
        del params
        factor = jnp.minimum(1.0, max_norm / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates)

    return optax.stateless(clipped)


def transformation(settings: Settings) -> optax.GradientTransformation:
    """Gradient to direction, for a learning rate of one."""
    adam = {
        "amsgrad": _scale_by_amsgrad,
        "amsgrad_corrected": optax.scale_by_amsgrad,
        "adam": optax.scale_by_adam,
        "adamw": optax.scale_by_adam,
    }[settings.kind](b1=settings.beta1)

    def decayed(updates, params):
        rate = settings.weight_decay
        return {
            name: jax.tree.map(lambda u, w: u + rate * w, value, params[name])
            if settings.decays(name)
            else value
            for name, value in updates.items()
        }

    def of_group(updates, params):
        del params
        return {
            name: optax.tree.scale(settings.rate_factor(name), value)
            for name, value in updates.items()
        }

    decay, by_group = optax.stateless(decayed), optax.stateless(of_group)
    if settings.kind == "adamw":
        return optax.chain(_clip(settings.clip_norm), adam, decay, by_group)
    return optax.chain(_clip(settings.clip_norm), decay, adam, by_group)


def initial_state(
    weights: Weights, transform: optax.GradientTransformation, learning_rate: float
) -> TrainState:
    """State before the first update; the average starts at the weights."""
    return TrainState(
        weights=weights,
        average=jax.tree.map(jnp.array, weights),
        moments=transform.init(weights),
        learning_rate=jnp.asarray(learning_rate, float),
        plateau_loss=jnp.asarray(jnp.inf, float),
        stale_epochs=jnp.asarray(0, jnp.int32),
        best_loss=jnp.asarray(jnp.inf, float),
        since_best=jnp.asarray(0, jnp.int32),
        updates=jnp.asarray(0, jnp.int32),
        epoch=jnp.asarray(0, jnp.int32),
        batch=jnp.asarray(0, jnp.int32),
        loss_sum=jnp.asarray(0.0, float),
    )


def scheduled_rate(state: TrainState, settings: Settings) -> Float[Array, ""]:
    """The learning rate of the next update."""
    rate = state.learning_rate
    if settings.warmup_updates:
        done = state.updates.astype(rate.dtype)
        rate = rate * jnp.minimum(1.0, (done + 1) / settings.warmup_updates)
    if settings.cosine_epochs:
        done = state.epoch + state.batch.astype(rate.dtype) / settings.updates_per_epoch
        floor, part = settings.cosine_floor, done / settings.cosine_epochs
        factor = floor + (1 - floor) * 0.5 * (1 + jnp.cos(jnp.pi * part))
        rate = rate * jnp.where(state.epoch < settings.cosine_epochs, factor, 1.0)
    return rate


def update(
    state: TrainState,
    gradient: Weights,
    loss: Float[Array, ""],
    transform: optax.GradientTransformation,
    settings: Settings,
) -> TrainState:
    """One step along `gradient`; the average follows."""
    direction, moments = transform.update(gradient, state.moments, state.weights)
    rate = scheduled_rate(state, settings)
    weights = jax.tree.map(
        lambda w, d: w - rate.astype(w.dtype) * d, state.weights, direction
    )
    # the average forgets its random start: its memory grows with the updates made
    done = (state.updates + 1).astype(rate.dtype)
    decay = jnp.minimum(settings.average_decay, (1.0 + done) / (10.0 + done))
    average = jax.tree.map(
        lambda a, w: a - (1.0 - decay).astype(a.dtype) * (a - w), state.average, weights
    )
    return replace(
        state,
        weights=weights,
        average=average,
        moments=moments,
        updates=state.updates + 1,
        batch=state.batch + 1,
        loss_sum=state.loss_sum + loss,
    )


def begin_stage(state: TrainState, learning_rate: float) -> TrainState:
    """Go on with other loss weights: a new learning rate, and no best loss so far."""
    return replace(
        state,
        learning_rate=jnp.asarray(learning_rate, float),
        plateau_loss=jnp.asarray(jnp.inf, float),
        best_loss=jnp.asarray(jnp.inf, float),
        stale_epochs=jnp.asarray(0, jnp.int32),
        since_best=jnp.asarray(0, jnp.int32),
    )


def end_epoch(
    state: TrainState, loss: float, *, decay: float, factor: float, patience: int
) -> TrainState:
    """Lower the learning rate: by `decay`, and by `factor` on a plateau.

    A plateau is reached when the validation `loss` did not improve for more than
    `patience` epochs, as in PyTorch's ReduceLROnPlateau.
    """
    risen = loss < float(state.plateau_loss) * (1 - PLATEAU_THRESHOLD)
    stale = 0 if risen else int(state.stale_epochs) + 1
    shrink = stale > patience
    better = loss < float(state.best_loss)
    return replace(
        state,
        plateau_loss=jnp.asarray(loss if risen else state.plateau_loss, float),
        stale_epochs=jnp.asarray(0 if shrink else stale, jnp.int32),
        best_loss=jnp.asarray(loss if better else state.best_loss, float),
        since_best=jnp.asarray(0 if better else int(state.since_best) + 1, jnp.int32),
        learning_rate=state.learning_rate * decay * (factor if shrink else 1.0),
        epoch=state.epoch + 1,
        batch=jnp.asarray(0, jnp.int32),
        loss_sum=jnp.asarray(0.0, float),
    )
