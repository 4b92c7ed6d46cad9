"""Observables of one frame that do not depend on time, to be averaged or reweighted.

The lattice parameter needs none of its own: in frames of a run at constant pressure it is
the cell's (`dataclasses.replace(surface, cell=cell)` has the energy that goes with it).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdiff.models.contract import Model
from jaxdiff.objectives.surface import Surface


def pressure(
    surface: Surface,
    model: Model,
    position: Float[Array, "atoms 3"],
    kt: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """Mean over velocities of the instantaneous pressure, eV/Å^3; kT in eV.

    Differentiable over the model's weights. Total momentum is zero: N - 1 atoms count.
    """
    strain_gradient = surface.energy_force_strain(model, position)[2]
    volume = jnp.abs(jnp.linalg.det(surface.cell))
    ideal = (len(position) - 1) * kt
    return (ideal - jnp.trace(strain_gradient) / 3) / volume


def radial_distribution(
    position: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    first: Bool[Array, " atoms"],
    second: Bool[Array, " atoms"],
    distance: Float[Array, " distances"],
    width: float,
) -> Float[Array, " distances"]:
    """g(r) of two kinds of atoms at the given distances, Å, smoothed by a Gaussian.

    Nearest images only: distances and a few widths must lie within half the cell's
    thickness. `width`: the Gaussian's standard deviation, Å. Differentiable over positions.
    """
    vector = position[:, None] - position[None]
    vector = vector - jnp.round(vector @ jnp.linalg.inv(cell)) @ cell
    pairs = first[:, None] & second[None] & ~jnp.eye(len(position), dtype=bool)
    square = jnp.where(pairs, jnp.sum(vector**2, axis=-1), 1.0)
    apart = (distance - jnp.sqrt(square)[..., None]) / width
    bell = jnp.exp(-0.5 * apart**2) / (width * jnp.sqrt(2 * jnp.pi))
    found = jnp.sum(jnp.where(pairs[..., None], bell, 0.0), axis=(0, 1))
    density = jnp.sum(pairs) / jnp.abs(jnp.linalg.det(cell))
    return found / (4 * jnp.pi * distance**2 * density)
