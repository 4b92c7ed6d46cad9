"""The MACE product basis: symmetric polynomials of the atomic basis (many-body terms).

doi:10.48550/arXiv.2206.07697, Eqs. 10 and 11. Two ways to the same numbers: dense matrix
products with the U matrices of the file, and, where these polynomials have few terms, the
terms written out.
"""

import collections
import functools
from collections.abc import Callable, Mapping
from typing import Any

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

MAX_TERMS = 128
"""Up to so many terms of one output degree are written out; more take long to compile."""


def contraction_for(max_ell: int, ell: int, correlation: int) -> Callable:
    """`symmetric_contraction`, or the same written out where its terms are few."""
    orders = range(1, correlation + 1)
    if sum(_count(max_ell, ell, nu) for nu in orders) > MAX_TERMS:
        return symmetric_contraction
    return functools.partial(written_out_contraction, max_ell, ell)


def symmetric_contraction(
    u_matrices: Mapping[str, Float[Any, "..."]],
    weights: Mapping[str, Float[Any, "..."]],
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


def written_out_contraction(
    max_ell: int,
    ell: int,
    u_matrices: Mapping[str, Float[Any, "..."]],
    weights: Mapping[str, Float[Any, "..."]],
    feature: Float[Array, "atoms components channels"],
    species: Int[Array, " atoms"],
) -> Float[Array, "atoms m channels"]:
    """`symmetric_contraction` term by term.

    The U matrices of the file span a known space of polynomials: their coordinates in its
    sparse basis take their place, and only the basis is evaluated for each atom.
    """
    x = jax.lax.split(feature, [1] * feature.shape[1], axis=1)
    pair = functools.cache(lambda i, j: x[i] * x[j])
    n_species = weights["1"].shape[0]
    one_hot = jnp.asarray(species[:, None] == jnp.arange(n_species), feature.dtype)
    out = [jnp.zeros_like(x[0]) for _ in range(2 * ell + 1)]
    for nu, u_matrix in u_matrices.items():
        coordinates = sparse_coordinates(max_ell, ell, int(nu), u_matrix)
        by_species = jnp.einsum("pk,zkc->zpc", coordinates, weights[nu])
        weight = jnp.einsum("nz,zpc->npc", one_hot, by_species)
        weight = jax.lax.split(weight, [1] * weight.shape[1], axis=1)
        for path, components in enumerate(sparse_basis(max_ell, ell, int(nu))):
            for m, terms in enumerate(components):
                out[m] = out[m] + weight[path] * _polynomial(terms, x, pair)
    return jnp.concatenate(out, axis=1)


def _polynomial(terms, x, pair):
    """Sum of coefficient x_i (x_j (x_k)), one factor taken out of the cubic terms."""
    inner = collections.defaultdict(list)
    for *first, last in terms:
        inner[last].append((terms[(*first, last)], first))
    total = 0.0
    for last, factors in inner.items():
        coefficient = sum(
            c * (pair(*f) if len(f) == 2 else x[f[0]]) if f else c for c, f in factors
        )
        total = total + coefficient * x[last]
    return total


@functools.cache
def polynomial_basis(max_ell: int, ell: int, order: int) -> np.ndarray:
    """Equivariant symmetric polynomials [2l + 1, D, …, paths], whatever their norm."""
    irreps = e3nn.Irreps([(1, (d, (-1) ** d)) for d in range(max_ell + 1)])
    target = e3nn.Irrep(ell, (-1) ** ell)
    with jax.ensure_compile_time_eval():
        basis = e3nn.reduced_symmetric_tensor_product_basis(irreps, order, keep_ir=[target])
        array = np.asarray(basis.array, np.float64)  # [D, …, paths * m]
    return np.moveaxis(array.reshape(*array.shape[:-1], -1, 2 * ell + 1), -1, 0)


def sparse_coordinates(max_ell: int, ell: int, order: int, u_matrix: Any) -> Any:
    """Coordinates [paths, k] in the sparse basis of a U matrix [m, components ** nu, k]."""
    inverse = _inverse_basis(max_ell, ell, order).astype(u_matrix.dtype)
    return inverse @ u_matrix.reshape(-1, u_matrix.shape[-1])


@functools.cache
def _inverse_basis(max_ell: int, ell: int, order: int) -> np.ndarray:
    """[paths, (2l + 1) * D ** order]: from a polynomial to its coordinates."""
    basis = polynomial_basis(max_ell, ell, order)
    return np.linalg.pinv(basis.reshape(-1, basis.shape[-1]))


@functools.cache
def sparse_basis(
    max_ell: int, ell: int, order: int
) -> list[list[dict[tuple[int, ...], float]]]:
    """The polynomial basis as [path][m] -> {monomial: coefficient}.

    A monomial is the tuple of its components, ascending.
    """
    basis = polynomial_basis(max_ell, ell, order)
    small = 1e-10 * np.abs(basis).max()
    found = [[{} for _ in range(2 * ell + 1)] for _ in range(basis.shape[-1])]
    for m, *components, path in np.argwhere(np.abs(basis) > small).tolist():
        monomial = tuple(sorted(components))
        terms = found[path][m]
        value = float(basis[(m, *components, path)])
        terms[monomial] = terms.get(monomial, 0.0) + value
    return found


def _count(max_ell: int, ell: int, order: int) -> int:
    return sum(len(terms) for path in sparse_basis(max_ell, ell, order) for terms in path)


def _pairs(u_matrix: Float[Any, "..."]) -> Array:
    """[m, i, j, …] to [m, pairs i <= j, …], both orders summed."""
    n = u_matrix.shape[1]
    row, column = jnp.triu_indices(n)
    both = u_matrix[:, row, column] + u_matrix[:, column, row]
    weight = jnp.where(row == column, 0.5, 1.0).astype(u_matrix.dtype)
    return both * jnp.expand_dims(weight, (0, *range(2, both.ndim)))
