"""The one gradient of node energies: over displacements, from which forces and strain are.

Sums over strain differ by what they are over: an atom's row (`strain_rows`, in dynamics and
training) or everything at once (`jaxdiff.potential.predict`).
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdiff.models.contract import Model
from jaxdiff.models.edges import Edges

PRECISION = "highest"
"""Of matrix products: a GPU or TPU has others, of three digits, by default."""


def interaction_gradient(
    model: Model,
    edges: Edges,
    species: Int[Array, " atoms"],
    atom_weight: Float[Array, " atoms"] | None = None,
    head: int | Int[Array, ""] | Int[Array, " atoms"] = 0,
) -> tuple[Float[Array, " atoms"], Float[Array, "*edges 3"]]:
    """Energy of each atom, eV, and the derivative of their sum over displacements, eV/Å.

    `atom_weight` multiplies each atom's energy: 0 for padding.
    """

    def total(displacement):
        moved = replace(edges, displacement=displacement)
        energy = model.node_energy(moved, species, head)
        if atom_weight is not None:
            energy = energy * atom_weight
        return jnp.sum(energy), energy

    with jax.default_matmul_precision(PRECISION):
        gradient, energy = jax.grad(total, has_aux=True)(edges.displacement)
    return energy, gradient


def forces_from_gradient(
    edges: Edges, gradient: Float[Array, "*edges 3"], n_atoms: int
) -> Float[Array, "atoms 3"]:
    """-dE/dx of each atom: as the receiver and as the sender of its edges, eV/Å."""
    return edges.collect_sent(gradient, n_atoms) - edges.total(gradient, n_atoms)


def strain_rows(
    displacement: Float[Array, "atoms places 3"], gradient: Float[Array, "atoms places 3"]
) -> Float[Array, "atoms 3 3"]:
    """What the edges of each atom add to dE/dstrain, eV; not yet symmetric.

    On an accelerator as a sum: a TPU has no product of matrices in float64, and makes five
    loops of one.
    """
    if jax.default_backend() == "cpu":
        return jnp.einsum("nka,nkb->nab", displacement, gradient, precision=PRECISION)
    return jnp.sum(displacement[..., None] * gradient[..., None, :], axis=1)
