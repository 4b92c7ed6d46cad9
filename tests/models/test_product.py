"""The product basis written out term by term against the dense products of the file's U."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.models.mace import product


@pytest.fixture(scope="module")
def parts():
    """U matrices in a basis of their own, weights, features and species of nine atoms."""

    def make(max_ell, ell, correlation):
        rng = np.random.default_rng(max_ell + 10 * ell)
        components = (max_ell + 1) ** 2
        u_matrices, weights = {}, {}
        for nu in range(1, correlation + 1):
            basis = product.polynomial_basis(max_ell, ell, nu)
            paths = basis.shape[-1]
            # as many paths as the space has and one more, mixed; not symmetric in i, j, k
            mixed = basis @ rng.normal(size=(paths, paths + 1))
            uneven = rng.normal(size=mixed.shape)
            if nu > 1:
                mixed = mixed + uneven - np.swapaxes(uneven, 1, 2)
            u_matrices[str(nu)] = jnp.asarray(mixed)
            weights[str(nu)] = jnp.asarray(rng.normal(size=(2, paths + 1, 5)))
        feature = jnp.asarray(rng.normal(size=(9, components, 5)))
        return u_matrices, weights, feature, jnp.asarray(rng.integers(0, 2, 9))

    return make


@pytest.mark.parametrize(
    ("max_ell", "ell", "correlation"),
    [
        (1, 0, 2),
        (2, 0, 1),
        (2, 0, 3),
        (2, 1, 3),
        (2, 2, 2),
        pytest.param(3, 0, 3, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_written_out_is_the_dense_product(parts, max_ell, ell, correlation):
    given = parts(max_ell, ell, correlation)

    def both(function):
        weight = jnp.asarray(np.random.default_rng(0).normal(size=(9, 2 * ell + 1, 5)))
        u_matrices, weights, feature, species = given

        def value(feature, weights):
            return jnp.sum(weight * function(u_matrices, weights, feature, species))

        return function(*given), jax.grad(value, (0, 1))(feature, weights)

    dense = both(product.symmetric_contraction)
    terms = both(lambda *x: product.written_out_contraction(max_ell, ell, *x))
    for one, other in zip(jax.tree.leaves(dense), jax.tree.leaves(terms), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-11 * np.abs(one).max())


def test_the_way_is_chosen_by_the_number_of_terms():
    assert product.contraction_for(3, 1, 3) is product.symmetric_contraction
    assert product.contraction_for(2, 1, 3).func is product.written_out_contraction


def test_basis_of_a_model_from_scratch_has_the_norm_of_upstream(model):
    for ell, orders in model.constants["products"]["0"].items():
        for u_matrix in orders.values():
            square = jnp.sum(u_matrix**2, axis=tuple(range(u_matrix.ndim - 1)))
            np.testing.assert_allclose(square, 2 * int(ell) + 1, rtol=1e-12)
