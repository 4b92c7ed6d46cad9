"""Descriptors of atomic environments: what a model sees of each atom."""

import functools
from dataclasses import replace

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdiff.calculator import model_input
from jaxdiff.models.contract import Model
from jaxdiff.models.derivative import PRECISION
from jaxdiff.models.edges import Edges


def invariant_features(
    model: Model, edges: Edges, species: Int[Array, " atoms"]
) -> Float[Array, "atoms features"]:
    """Features of each atom, invariant to rotations, translations and order of neighbours.

    Of MACE, the scalars (l = 0) after each layer, side by side: the same as
    `get_descriptors(invariants_only=True)` of upstream's calculator, in its order.

    - `edges`: displacements in the model's dtype.
    - `species`: indices into the model's species table.
    """
    with jax.default_matmul_precision(PRECISION):
        return model.features(edges, species)


def describe_atoms(model: Model, atoms: ase.Atoms) -> Float[np.ndarray, "atoms features"]:
    """`invariant_features` of an ASE structure with any cell, in the model's precision.

    Raises `ValueError` for elements that the model does not know.
    """
    with jax.enable_x64(True):
        small, edges, species = model_input(model, atoms)
        displacement = jnp.asarray(edges.displacement, small.dtype)
        edges = replace(edges, displacement=displacement)
        return jax.device_get(_compiled()(small, edges, jnp.asarray(species)))


@functools.cache
def _compiled():
    return jax.jit(invariant_features)
