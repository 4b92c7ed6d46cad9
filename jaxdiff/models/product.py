"""The MACE product basis: symmetric polynomials of the atomic basis (many-body terms).

doi:10.48550/arXiv.2206.07697, Eqs. 10 and 11.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def symmetric_contraction(
    u_matrices: Mapping[str, Array],
    weights: Mapping[str, Array],
    feature: Float[Array, "atoms components channels"],
    species: Int[Array, " atoms"],
) -> Float[Array, "atoms m channels"]:
    r"""Equivariant polynomial of each atom's features, up to third order.

    $$ B_m = \sum_\nu \sum_{i_1 \dots i_\nu} \sum_k U^\nu_{m i_1 \dots i_\nu k}
       w^\nu_{z k c} \prod_\xi A_{i_\xi c} $$

    - `u_matrices`: nu -> U [m, components ** nu, k].
    - `weights`: nu -> w [species, k, channels].

    U and w are folded for each species first, and only the distinct pairs i <= j are
    formed: the cost does not depend on k.
    """
    order = len(u_matrices)
    x = jnp.moveaxis(feature, 2, 0)  # [channels, atoms, components]
    one_hot = jnp.asarray(
        species[:, None] == jnp.arange(weights["1"].shape[0]), dtype=x.dtype
    )
    by_species = jnp.einsum("nz,cni->cnzi", one_hot, x)

    linear = jnp.einsum("mik,zkc->czim", u_matrices["1"], weights["1"])
    out = jnp.einsum("cnzi,czim->cnm", by_species, linear)
    if order > 1:
        pair = jnp.concatenate(
            [x[..., i : i + 1] * x[..., i:] for i in range(x.shape[-1])], axis=-1
        )
        quadratic = jnp.einsum("mpk,zkc->czmp", _pairs(u_matrices["2"]), weights["2"])
        coefficient = jnp.einsum("nz,czmp->cnmp", one_hot, quadratic)
        if order > 2:
            cubic = jnp.einsum("mpik,zkc->czimp", _pairs(u_matrices["3"]), weights["3"])
            coefficient = coefficient + jnp.einsum("cnzi,czimp->cnmp", by_species, cubic)
        out = out + jnp.einsum("cnmp,cnp->cnm", coefficient, pair)
    return jnp.moveaxis(out, 0, 2)


def _pairs(u_matrix: Array) -> Array:
    """[m, i, j, …] to [m, pairs i <= j, …], both orders summed."""
    n = u_matrix.shape[1]
    row, column = jnp.triu_indices(n)
    both = u_matrix[:, row, column] + u_matrix[:, column, row]
    weight = jnp.where(row == column, 0.5, 1.0).astype(u_matrix.dtype)
    return both * jnp.expand_dims(weight, (0, *range(2, both.ndim)))
