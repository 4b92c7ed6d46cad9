"""Errors that a model's energies have, from its last layer: no ensemble, no new training.

The energy is linear in the last weights w of the readouts, E = f . w, so a Gaussian
posterior of w gives the error of every energy and, correlations included, of every
difference of energies (last-layer prediction rigidity, doi:10.1088/2632-2153/ad805f):

    s^2 = alpha^2 f (F^T F + lambda)^-1 f

F holds the features per atom of the training frames. alpha and lambda are those that make
the residuals of other frames most likely. What the fixed layers before the last one lack,
or the labels, s does not see, but for what alpha takes up.
"""

import dataclasses
import functools
from collections.abc import Sequence

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from jaxdiff.calculator import model_input
from jaxdiff.io.frame import Frame
from jaxdiff.models.contract import Model
from jaxdiff.potential import cast

_RIDGES = 10.0 ** np.arange(-12, 3)  # of the mean square of a feature, tried one by one


@dataclasses.dataclass(frozen=True)
class LastLayer:
    """A posterior of the last weights.

    - `covariance` [features, features], scaled: s^2 = f . covariance . f, eV^2.
    - `n_train`, `n_valid`: frames that it was made of, and scaled on.
    - `within_one`, `within_two`: fraction of further frames whose residual is within one
      and two standard errors; 0.68 and 0.95 for Gaussian ones.
    """

    covariance: Float[np.ndarray, "features features"]
    n_train: int
    n_valid: int
    within_one: float
    within_two: float

    def standard_error(self, feature: Float[np.ndarray, " features"]) -> float:
        """Of an energy, or of a difference of energies whose features these are, eV."""
        return float(np.sqrt(feature @ self.covariance @ feature))

    def scaled(self, factor: float) -> "LastLayer":
        """The same with all errors multiplied by a factor."""
        return dataclasses.replace(self, covariance=factor**2 * self.covariance)


def energy_feature(
    model: Model, atoms: ase.Atoms, head: int = 0
) -> Float[np.ndarray, " features"]:
    """Derivative of the energy of a structure with respect to the last weights, eV."""
    with jax.enable_x64(True):
        small, edges, species = model_input(cast(model, jnp.float64), atoms)
        _, feature = _compiled()(small, edges, jnp.asarray(species), head)
    return np.asarray(feature)


def fit_last_layer(
    model: Model, train: Sequence[Frame], valid: Sequence[Frame], head: int = 0
) -> LastLayer:
    """The posterior, from frames with energies.

    `train` should be what the model was trained on; every second frame of `valid` sets the
    scale, and the others say whether it holds.
    """
    features, _ = _per_atom(model, train, head)
    others, residual = _per_atom(model, valid, head)
    gram, size = features.T @ features, np.mean(features**2)
    best = None
    for ridge in _RIDGES:
        inverse = np.linalg.inv(gram + ridge * size * np.eye(len(gram)))
        square = np.einsum("nf,fg,ng->n", others, inverse, others)
        own, rest = slice(None, None, 2), slice(1, None, 2)
        scale = np.mean(residual[own] ** 2 / square[own])
        cost = np.mean(np.log(scale * square[own]))
        if best is None or cost < best[0]:
            score = np.abs(residual[rest]) / np.sqrt(scale * square[rest])
            best = cost, scale * inverse, score
    assert best is not None
    _, covariance, score = best
    return LastLayer(
        (covariance + covariance.T) / 2,
        len(features),
        (len(others) + 1) // 2,
        float(np.mean(score <= 1)),
        float(np.mean(score <= 2)),
    )


def residuals(
    model: Model, frames: Sequence[Frame], head: int = 0
) -> tuple[Float[np.ndarray, "frames features"], Float[np.ndarray, " frames"]]:
    """Features of frames with energies, and label less energy, eV."""
    feature, residual = _per_atom(model, frames, head)
    atoms = np.array([len(f.atomic_number) for f in frames if f.energy is not None])
    return feature * atoms[:, None], residual * atoms


def _per_atom(model: Model, frames: Sequence[Frame], head: int):
    """Features [frames, features] and residuals of energies, eV, both per atom."""
    labelled = [frame for frame in frames if frame.energy is not None]
    if len(labelled) < 4:
        raise ValueError(
            f"{len(labelled)} of {len(frames)} frames have an energy; errors of a model "
            "need the energies of 4 frames or more, and better of a hundred."
        )
    model = cast(model, jnp.float64)
    feature, residual = [], []
    for frame in labelled:
        assert frame.energy is not None  # chosen so
        atoms = ase.Atoms(
            frame.atomic_number, frame.position, cell=frame.cell, pbc=frame.pbc
        )
        with jax.enable_x64(True):
            small, edges, species = model_input(model, atoms)
            energy, own = _compiled()(small, edges, jnp.asarray(species), head)
        feature.append(np.asarray(own) / len(atoms))
        residual.append((frame.energy - float(energy)) / len(atoms))
    return np.stack(feature), np.array(residual)


def _energy_and_feature(model, edges, species, head):
    last, with_last = model.last_layer()

    def energy(last):
        return jnp.sum(with_last(last).node_energy(edges, species, head))

    value, gradient = jax.value_and_grad(energy)(last)
    isolated = jnp.sum(model.isolated[head, species])
    return value + isolated, ravel_pytree(gradient)[0]


@functools.cache
def _compiled():
    return jax.jit(_energy_and_feature)
