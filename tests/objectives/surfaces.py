"""A surface whose stationary points are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdiff.models.contract import Model
from jaxdiff.objectives.surface import Surface

SCALE = 0.01
"""Müller and Brown's energy unit, eV: curvatures as in a crystal."""

MINIMUM = np.array([[-0.558224, 1.441726, 0.0]]), np.array([[0.623499, 0.028038, 0.0]])
SADDLE = np.array([[-0.822002, 0.624313, 0.0]])
SADDLE_ENERGY = -40.6648435 * SCALE
"""The highest between the two minima (doi:10.1007/BF00547608)."""

_A = np.array([-200.0, -100.0, -170.0, 15.0])
_XX, _XY = np.array([-1.0, -1.0, -6.5, 0.7]), np.array([0.0, 0.0, 11.0, 0.6])
_YY = np.array([-10.0, -10.0, -6.5, 0.7])
_X0, _Y0 = np.array([1.0, 0.0, -0.5, -1.0]), np.array([0.0, 0.5, 1.5, 1.0])


@struct.dataclass
class Toy(Model):
    """Weights of an energy in closed form, and nothing else of a model."""


@struct.dataclass
class ClosedForm(Surface):
    """A surface whose energy is a formula: it has neither a cell nor neighbours."""

    cell: None = None
    mass: Any = None
    lists: None = None
    atomic_number: None = struct.field(pytree_node=False, default=None)


def with_force(energy):
    """Energy and force of an energy."""

    def both(position):
        value, slope = jax.value_and_grad(energy)(position)
        return value, -slope

    return both


@with_force
def muller_brown(position):
    """One particle on Müller and Brown's surface; a spring holds it at z = 0."""
    x, y, z = position[0]
    dx, dy = x - _X0, y - _Y0
    terms = _A * jnp.exp(_XX * dx**2 + _XY * dx * dy + _YY * dy**2)
    return SCALE * jnp.sum(terms) + 5.0 * z**2
