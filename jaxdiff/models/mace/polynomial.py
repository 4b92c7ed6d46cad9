"""The product basis for a fixed composition: one polynomial per species, written out.

The U matrices and the weights of doi:10.48550/arXiv.2206.07697, Eq. 10, are joined once
into one coefficient for each monomial that occurs. The derivative is written out, too:
again a sparse polynomial, where the automatic one is as slow as the dense form.
"""

import functools
import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.models.mace.product import sparse_basis, sparse_coordinates

Monomials = tuple[tuple[tuple[int, ...], ...], ...]
"""For each output component the monomials: components of the atomic basis, ascending."""


@functools.cache
def monomials(max_ell: int, ell: int, correlation: int) -> Monomials:
    """All monomials up to degree `correlation` that an output of degree `ell` can have."""
    found = [set() for _ in range(2 * ell + 1)]
    for order in range(1, correlation + 1):
        for path in sparse_basis(max_ell, ell, order):
            for m, terms in enumerate(path):
                found[m] |= set(terms)
    return tuple(tuple(sorted(each)) for each in found)


def joined_coefficients(
    max_ell: int,
    ell: int,
    u_matrices: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
) -> Float[np.ndarray, "species monomials channels"]:
    """U and w of one output degree as coefficients of its `monomials`, m after m."""
    table = monomials(max_ell, ell, len(u_matrices))
    place = {key: t for t, key in enumerate(_flat(table))}
    n_species, _, channels = weights["1"].shape
    joined = np.zeros((n_species, len(place), channels))
    for order, u_matrix in u_matrices.items():
        coordinates = sparse_coordinates(max_ell, ell, int(order), u_matrix)
        by_species = np.einsum("pk,zkc->zpc", coordinates, weights[order])
        for p, path in enumerate(sparse_basis(max_ell, ell, int(order))):
            for m, terms in enumerate(path):
                for monomial, coefficient in terms.items():
                    joined[:, place[m, monomial]] += coefficient * by_species[:, p]
    return joined


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def polynomial(
    table: Monomials,
    coefficient: Float[Array, "monomials channels"],
    x: Float[Array, "atoms components channels"],
) -> Float[Array, "atoms m channels"]:
    """The polynomials of atoms of one species."""
    return _value(table, coefficient, x)


def _value(table, coefficient, x):
    rows, columns = iter(_rows(coefficient)), _columns(x)
    components = [
        _nested([(m, next(rows)) for m in monomials_], columns) for monomials_ in table
    ]
    return _stack(components)


def _forward(table, coefficient, x):
    return _value(table, coefficient, x), (coefficient, x)


def _backward(table, saved, cotangent):
    coefficient, x = saved
    rows, columns, given = _rows(coefficient), _columns(x), _columns(cotangent)
    parts = [[] for _ in columns]
    for m, terms in itertools.groupby(
        zip(_flat(table), rows, strict=True), key=lambda term: term[0][0]
    ):
        partial = [[] for _ in columns]
        for (_, monomial), row in terms:
            for component in set(monomial):
                rest = list(monomial)
                rest.remove(component)
                partial[component].append((tuple(rest), monomial.count(component) * row))
        for component, derivative in enumerate(partial):
            if derivative:
                parts[component].append(given[m] * _nested(derivative, columns))
    zero = jnp.zeros_like(columns[0])
    along_x = _stack([sum(part, zero) for part in parts])
    _, pull = jax.vjp(lambda a: _value(table, a, x), coefficient)
    return *pull(cotangent), along_x


polynomial.defvjp(_forward, _backward)


def _nested(terms, columns):
    """Sum of row * (product of components), Horner's way: the first factor taken out."""
    constant = [row for monomial, row in terms if not monomial]
    total = sum(constant) if constant else 0.0
    higher = sorted((t for t in terms if t[0]), key=lambda term: term[0])
    for first, group in itertools.groupby(higher, key=lambda term: term[0][0]):
        rest = [(monomial[1:], row) for monomial, row in group]
        total = total + columns[first] * _nested(rest, columns)
    return total


def _flat(table: Monomials) -> list[tuple[int, tuple[int, ...]]]:
    return [(m, monomial) for m, each in enumerate(table) for monomial in each]


def _rows(coefficient):
    """The coefficients one by one, [1, channels]."""
    return jax.lax.split(coefficient, [1] * coefficient.shape[0], axis=0)


def _columns(x):
    """The components one by one, [atoms, channels]."""
    return [column[:, 0] for column in jax.lax.split(x, [1] * x.shape[1], axis=1)]


def _stack(columns):
    # one loop for each component: joined in one, none of them is vectorised
    return jnp.stack(jax.lax.optimization_barrier(columns), axis=1)
