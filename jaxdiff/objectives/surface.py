"""The energy surface of a crystal: a function of the model and of positions alone."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxdiff import neighbors, potential
from jaxdiff.models.contract import Model, Term
from jaxdiff.neighbors import Neighbors
from jaxdiff.system import System

Weights = dict[str, Any]
"""As `Model.weights`."""

_MARGIN = 0.75  # Å: rows have room for all within the cutoff and this, times _HEADROOM
_HEADROOM = 1.2  # atoms that pass each other crowd


@struct.dataclass
class Surface:
    """Species, cell and room for neighbours of a crystal.

    - `cell` [3, 3], Å; `mass` [atoms], u.
    - `lists`: of some configuration; their capacity counts, their content does not.
    - `atomic_number`: static.
    - `terms`: energies beside that of the model.
    """

    cell: Float[Any, "3 3"]
    mass: Float[Any, " atoms"]
    lists: Neighbors
    atomic_number: tuple[int, ...] = struct.field(pytree_node=False)
    terms: tuple[Term, ...] = ()

    def energy_force_strain(
        self, model: Model, position: Float[Array, "atoms 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "atoms 3"], Float[Array, "3 3"]]:
        """Energy, eV, forces, eV/Å, and dE/dstrain, eV; see `energy_and_force`."""
        fixed = jax.lax.stop_gradient(position)
        lists = neighbors.update(fixed, self.cell, self.lists, model.cutoff, 0.0)
        number = np.array(self.atomic_number)
        function = potential.make_energy_and_force(model, number)
        found = function(model, position, self.cell, lists)
        found = potential.with_terms(found, self.terms, position, self.cell)
        valid = jnp.where(lists.overflow, jnp.nan, 1.0)
        energy, force, strain_gradient = (x * valid for x in found)
        return energy, force, strain_gradient

    def energy_and_force(
        self, model: Model, position: Float[Array, "atoms 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "atoms 3"]]:
        """Energy, eV, and forces, eV/Å; not-a-number where a row of neighbours is full.

        Neighbours are found anew for every position: no list can be stale.
        """
        return self.energy_force_strain(model, position)[:2]

    def energy(self, model: Model, position: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        """Energy, eV; differentiable over the model's weights and over positions."""
        return self.energy_and_force(model, position)[0]


@jax.jit
def evaluate(
    surface: Surface, model: Model, position: Float[Array, "atoms 3"]
) -> tuple[Float[Array, ""], Float[Array, "atoms 3"]]:
    """Energy and forces, compiled once for all models of one shape."""
    return surface.energy_and_force(model, position)


@jax.jit
def hessian_product(
    surface: Surface,
    model: Model,
    position: Float[Array, "atoms 3"],
    vector: Float[Array, "atoms 3"],
) -> Float[Array, "atoms 3"]:
    """The Hessian of the energy times a vector, eV/Å^2 times its unit; compiled once."""

    def along(x):
        force = surface.energy_and_force(model, x)[1]
        return -jnp.sum(force * jax.lax.stop_gradient(vector))

    return jax.grad(along)(position)


def energy_gradient(
    surface: Surface, model: Model, position: Float[Array, "atoms 3"]
) -> tuple[Weights, Float[Array, "atoms 3"]]:
    """Derivatives of the energy over the weights, as `model.weights`, and positions."""

    def energy(weights, position):
        return surface.energy(dataclasses.replace(model, weights=weights), position)

    return jax.grad(energy, argnums=(0, 1))(model.weights, position)


def weighted_gradient(
    surface: Surface,
    model: Model,
    positions: Float[Array, "points atoms 3"],
    factors: Float[np.ndarray, " points"],
) -> tuple[Weights, Float[Array, "atoms 3"]]:
    """`energy_gradient` of many points times their factors, summed; compiled once."""
    total = jax.tree.map(jnp.zeros_like, (model.weights, jnp.asarray(positions[0])))
    for position, factor in zip(positions, factors, strict=True):
        total = _add_gradient(total, factor, surface, model, position)
    return total


@jax.jit
def _add_gradient(total, factor, surface, model, position):
    own = energy_gradient(surface, model, position)
    return jax.tree.map(lambda t, g: t + factor * g, total, own)


EnergyAndForce = Callable[
    [Float[Array, "atoms 3"]], tuple[Float[Array, ""], Float[Array, "atoms 3"]]
]
"""Positions, Å, to energy, eV, and forces, eV/Å: what searches are given."""


def make_surface(model: Model, system: System, terms: tuple[Term, ...] = ()) -> Surface:
    """The surface of a system, for models with the cutoff of this one."""
    potential.species_index(np.asarray(system.atomic_number), model.species)
    position, cell, cutoff = system.position, system.cell, model.cutoff
    wide = neighbors.neighbor_rows(position, cell, cutoff + _MARGIN)[0]
    capacity = math.ceil(wide.shape[1] * _HEADROOM)
    lists = neighbors.allocate(position, cell, cutoff, 0.0, capacity=capacity)
    return Surface(
        cell=jnp.asarray(system.cell),
        mass=jnp.asarray(system.mass),
        lists=lists,
        atomic_number=tuple(int(z) for z in system.atomic_number),
        terms=terms,
    )
