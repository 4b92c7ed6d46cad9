"""Tabulated radial functions against the functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.models import table

CUTOFF = 3.0


def function(distance, pair):
    """Twelve functions in a space of six dimensions, zero at the cutoff with two slopes."""
    powers = jnp.stack([jnp.sin((k + 1 + pair / 2) * distance) for k in range(3)], axis=-1)
    matrix = jnp.asarray(np.random.default_rng(3).normal(size=(3, 12)))
    return powers @ matrix * ((1 - distance / CUTOFF) ** 3)[:, None]


TOGETHER, APART = np.array([[0, 1]]), np.array([[0], [1]])


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("groups", [TOGETHER, APART], ids=["together", "apart"])
def test_values_are_within_the_tolerance_and_forces_are_their_derivative(groups, tolerance):
    found, back = table.tabulate(function, groups, CUTOFF, tolerance)
    assert back.shape[1] <= 3 * groups.shape[1]
    distance = jnp.asarray(np.random.default_rng(0).uniform(table.SHORTEST, CUTOFF, 500))
    for pair in (0, 1):
        exact, slope = jax.jvp(
            lambda r, pair=pair: function(r, pair), (distance,), (jnp.ones(500),)
        )
        value, own_slope = jax.jvp(
            lambda r, pair=pair: found(r, jnp.full(500, pair)) @ back[pair % len(back)],
            (distance,),
            (jnp.ones(500),),
        )
        assert np.abs(value - exact).max() < 2 * tolerance * np.abs(exact).max()
        assert np.abs(own_slope - slope).max() < 100 * tolerance * np.abs(slope).max()
    step = 1e-6
    inner = distance[distance < CUTOFF - step]
    pair = jnp.zeros(inner.shape, int)
    _, own = jax.jvp(lambda r: found(r, pair), (inner,), (jnp.ones(inner.shape),))
    difference = (found(inner + step, pair) - found(inner - step, pair)) / (2 * step)
    # the curvature jumps at a knot: by up to its own size times half the step
    np.testing.assert_allclose(own, difference, rtol=0, atol=1e-4)


def test_tighter_tables_have_more_functions():
    ranks = [table.tabulate(function, TOGETHER, CUTOFF, t)[1].shape[1] for t in (0.3, 1e-6)]
    assert ranks[0] < ranks[1]


def test_groups_of_pairs_in_any_order():
    """A pair in two groups has a row in each; fewer functions are filled up with zeros."""

    def flat(distance, pair):
        values = function(distance, pair)
        return values if pair else values[:, :1] * jnp.arange(12)

    groups = np.array([[1, 0], [0, 0]])
    found, back = table.tabulate(flat, groups, CUTOFF, 1e-6)
    np.testing.assert_array_equal(back[1, 1:], 0.0)
    distance = jnp.linspace(table.SHORTEST, CUTOFF, 50)
    for row, pair in enumerate(groups.reshape(-1)):
        value = found(distance, jnp.full(50, row)) @ back[row // 2]
        np.testing.assert_allclose(value, flat(distance, pair), atol=1e-5)


def test_beyond_the_cutoff_and_at_very_short_distances():
    found, _ = table.tabulate(function, APART[:1], CUTOFF, 1e-6)
    pair = jnp.zeros(3, int)
    far = jnp.array([CUTOFF, CUTOFF + 1e-9, 1e3])
    np.testing.assert_array_equal(found(far, pair), 0.0)
    value, slope = jax.jvp(lambda r: found(r, pair), (far[1:].repeat(2)[:3],), (far,))
    np.testing.assert_array_equal(slope, 0.0)
    near = jnp.array([0.0, 0.1, table.SHORTEST])
    value = found(near, pair)
    np.testing.assert_array_equal(value, value[2:].repeat(3, axis=0))


def test_a_function_that_is_not_smooth():
    def rough(distance, pair):
        return (jnp.where(distance < 1, 1.0, 0.0) * distance)[:, None] * jnp.ones(2)

    with pytest.raises(ValueError, match=r"1\.0e-06: the error is .* exact radial"):
        table.tabulate(rough, APART[:1], CUTOFF, 1e-6)
