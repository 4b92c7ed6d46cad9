"""Descriptors of atomic environments: what a MACE model sees of each atom."""

import functools
from dataclasses import replace

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdiff.calculator import model_input
from jaxdiff.models.architecture import Mace
from jaxdiff.models.mace import Edges, node_features
from jaxdiff.potential import model_dtype


def invariant_features(
    model: Mace, edges: Edges, species: Int[Array, " atoms"]
) -> Float[Array, "atoms features"]:
    """Scalar (l = 0) features after each layer, side by side: layers x channels of them.

    Invariant to rotations, translations and the order of the neighbours. The same as
    `get_descriptors(invariants_only=True)` of upstream's calculator, in its order.

    - `edges`: displacements in the model's dtype.
    - `species`: indices into the model's species table.
    """
    features = node_features(model, edges, species)
    return jnp.concatenate([feature[0][:, 0, :] for feature in features], axis=-1)


def describe_atoms(model: Mace, atoms: ase.Atoms) -> Float[np.ndarray, "atoms features"]:
    """`invariant_features` of an ASE structure with any cell, in the model's precision.

    Raises `ValueError` for elements that the model does not know.
    """
    with jax.enable_x64(True):
        small, edges, species = model_input(model, atoms)
        displacement = jnp.asarray(edges.displacement, model_dtype(small))
        edges = replace(edges, displacement=displacement)
        return jax.device_get(_compiled()(small, edges, jnp.asarray(species)))


@functools.cache
def _compiled():
    return jax.jit(invariant_features)
