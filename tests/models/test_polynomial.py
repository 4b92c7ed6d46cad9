"""Joined coefficients and their written-out derivative against the dense product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxdiff.models.mace import product
from jaxdiff.models.mace.polynomial import joined_coefficients, monomials, polynomial


@pytest.fixture(scope="module", params=[(1, 0, 2), (2, 1, 3), (2, 2, 2), (3, 0, 3)])
def given(request):
    """Degrees, random U matrices and weights of two species, features of one of them."""
    max_ell, ell, correlation = request.param
    rng = np.random.default_rng(ell)
    u_matrices, weights = {}, {}
    for nu in range(1, correlation + 1):
        basis = product.polynomial_basis(max_ell, ell, nu)
        paths = basis.shape[-1]
        u_matrices[str(nu)] = basis @ rng.normal(size=(paths, paths))
        weights[str(nu)] = rng.normal(size=(2, paths, 5))
    x = jnp.asarray(rng.normal(size=(4, (max_ell + 1) ** 2, 5)))
    return (max_ell, ell, correlation), u_matrices, weights, x


@pytest.mark.slow
def test_value_and_derivative_are_those_of_the_dense_product(given):
    (max_ell, ell, correlation), u_matrices, weights, x = given
    table = monomials(max_ell, ell, correlation)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(4, 2 * ell + 1, 5)))
    coefficient = joined_coefficients(max_ell, ell, u_matrices, weights)
    for z in (0, 1):
        dense, pull = jax.vjp(
            lambda x, z=z: product.symmetric_contraction(
                u_matrices, weights, x, jnp.full(4, z)
            ),
            x,
        )
        found, pull_found = jax.vjp(
            lambda x, z=z: polynomial(table, jnp.asarray(coefficient[z]), x), x
        )
        scale = np.abs(dense).max()
        np.testing.assert_allclose(found, dense, rtol=0, atol=1e-12 * scale)
        expected = pull(weight)[0]
        np.testing.assert_allclose(
            pull_found(weight)[0], expected, rtol=0, atol=1e-12 * np.abs(expected).max()
        )


@pytest.mark.slow
def test_derivative_over_coefficients_and_second_derivative(given):
    degrees, u_matrices, weights, x = given
    table = monomials(*degrees)
    coefficient = jnp.asarray(joined_coefficients(*degrees[:2], u_matrices, weights)[0])

    @jax.jit
    def square(a, x):
        return jnp.sum(polynomial(table, a, x) ** 2)

    check_grads(square, (coefficient, x), order=1, modes=["rev"], rtol=1e-6)

    @jax.jit
    def slope(x):
        return jnp.sum(jax.grad(square, 1)(coefficient, x) ** 2)

    check_grads(slope, (x,), order=1, modes=["rev"], rtol=1e-6)
