r"""Static observables of another model from frames that are there (DiffTRe).

doi:10.1038/s41467-021-27241-4: frames of a canonical run with a reference model stand for
the ensemble of another one with the weights

$$ w_i \propto \exp(-(U_\theta(x_i) - U_{ref}(x_i)) / kT) $$

and no trajectory is differentiated:

$$ d\langle O \rangle/d\theta = \sum_i w_i [ \partial_\theta O(x_i)
   - (O(x_i) - \langle O \rangle) \partial_\theta U(x_i) / kT ] $$

Only averages that do not depend on time: pressure, energies, distances; no diffusivities.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

LEAST_FRACTION = 0.5
"""Of the frames that must count: with fewer, run the new model."""


@dataclasses.dataclass(frozen=True)
class Reweighted:
    """A mean under another model.

    - `value`, in the observable's unit; `standard_error`: by a jackknife over blocks of
      frames that follow each other.
    - `gradient`: of the value, in the form of the parameters.
    - `effective_size`: exp of the entropy of the weights, out of `n_frames`.
    """

    value: float
    standard_error: float
    gradient: Any
    effective_size: float
    n_frames: int


def weights(
    energy: Float[Array, " frames"], reference: Float[Array, " frames"], kt: float
) -> Float[Array, " frames"]:
    """Weights of frames, their sum 1; energies and kT in eV."""
    return jax.nn.softmax(-(energy - reference) / kt)


def effective_size(weight: Float[Array, " frames"]) -> Float[Array, ""]:
    """How many equal frames count as much: exp(-sum w ln w)."""
    return jnp.exp(jnp.sum(jax.scipy.special.entr(weight)))


def reweight(
    energy_of: Callable[[Any, Any], Float[Array, ""]],
    observable_of: Callable[[Any, Any], Float[Array, ""]],
    params: Any,
    frames: Any,
    reference: Float[Array, " frames"],
    kt: float,
    *,
    least_fraction: float = LEAST_FRACTION,
    n_blocks: int = 10,
) -> Reweighted:
    """The mean of an observable under a model, and its derivative; a frame at a time.

    - `energy_of`, `observable_of`: (params, frame) -> energy, eV, and observable; of one
      frame, differentiable over params.
    - `frames`: a tree of arrays with a leading axis of frames, of a run at kT, eV, with
      the reference model; `reference` [frames]: its energies of them, eV.

    Raises ValueError where fewer than `least_fraction` of the frames count: their weights
    then tell more of the frames than of the model.
    """
    n_frames = len(reference)
    if n_frames < 2 * n_blocks:
        raise ValueError(
            f"{n_frames} frames in {n_blocks} blocks; give twice as many frames as blocks, "
            "or more."
        )
    energy, observable = _evaluate(energy_of, observable_of, params, frames)
    weight = weights(energy, reference, kt)
    size = float(effective_size(weight))
    if not size >= least_fraction * n_frames:
        raise ValueError(
            f"{size:.1f} of {n_frames} frames count under the new model, and "
            f"{least_fraction * n_frames:.0f} must; the models differ too much at this "
            "temperature. Run the new model and reweight from there, or take a smaller "
            "step."
        )
    params = jax.tree.map(jnp.asarray, params)
    value = jnp.sum(weight * observable)
    # <dO> - cov(O, dU)/kT, as one sum of gradients with fixed factors
    factor = -weight * (observable - value) / kt
    gradient = _gradient(energy_of, observable_of, params, frames, weight, factor)
    return Reweighted(
        float(value),
        _jackknife(np.asarray(weight), np.asarray(observable), n_blocks),
        gradient,
        size,
        n_frames,
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate(energy_of, observable_of, params, frames):
    return jax.lax.map(
        lambda frame: (energy_of(params, frame), observable_of(params, frame)), frames
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _gradient(energy_of, observable_of, params, frames, weight, factor):
    def add(so_far, given):
        frame, w, f = given

        def term(params):
            return w * observable_of(params, frame) + f * energy_of(params, frame)

        return jax.tree.map(jnp.add, so_far, jax.grad(term)(params)), None

    zero = jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add, zero, (frames, weight, factor))[0]


def _jackknife(weight, observable, n_blocks):
    """Standard error of a weighted mean, leaving out one block of frames at a time."""
    blocks = np.array_split(np.arange(len(weight)), n_blocks)
    left = np.array(
        [
            np.average(np.delete(observable, block), weights=np.delete(weight, block))
            for block in blocks
        ]
    )
    spread = np.sum((left - left.mean()) ** 2)
    return float(np.sqrt(spread * (n_blocks - 1) / n_blocks))
