"""Scores of Langevin paths: against differences, their mean, and how they spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.objectives.path_score import sample_paths, score_gradient

KT, MASS = 0.1, jnp.array([2.0])
WELL = {"well": 0.25, "tilt": 0.05}


def double_well(params, position):
    x, y, z = position[0]
    well = params["well"] * (x**2 - 1) ** 2 + params["tilt"] * x
    return well + (y**2 + z**2) / 2


def starts(params, n, key):
    """Canonical positions, by resampling a grid along x."""
    grid = jnp.linspace(-2.5, 2.5, 4001)
    energy = jax.vmap(lambda x: double_well(params, jnp.array([[x, 0.0, 0.0]])))(grid)
    first, second = jax.random.split(key)
    x = jax.random.categorical(first, -energy / KT, shape=(n,))
    across = jnp.sqrt(KT) * jax.random.normal(second, (n, 2))
    return jnp.concatenate([grid[x][:, None], across], axis=1)[:, None]


def sampled(params, seed, n=20_000, friction=1.0, n_steps=60):
    key = jax.random.key(seed)
    start = starts(params, n, key)
    paths = sample_paths(
        double_well,
        {k: jnp.asarray(v) for k, v in params.items()},
        start,
        MASS,
        jax.random.fold_in(key, 1),
        kt=KT,
        friction=friction,
        timestep=0.2,
        n_steps=n_steps,
        stride=n_steps,
    )
    hopped = (start[:, 0, 0] * paths.position[:, -1, 0, 0] < 0).astype(float)
    return paths, hopped


@pytest.mark.slow
@pytest.mark.parametrize("name", WELL)
def test_probability_of_a_hop(name):
    """Whether a path ends on the other side is a step function: no path has a slope."""
    paths, hopped = sampled(WELL, 0)
    value, error = score_gradient(hopped, paths, KT)
    size = {"well": 0.06, "tilt": 0.04}[name]
    up, down = (sampled(WELL | {name: WELL[name] + s * size}, 1)[1] for s in (1, -1))
    counted = (up.mean() - down.mean()) / (2 * size)
    own = np.sqrt((up.var() + down.var()) / len(up)) / (2 * size)
    assert float(value[name]) == pytest.approx(
        float(counted), abs=4 * np.hypot(own, float(error[name]))
    )
    if name == "well":
        assert abs(counted) > 8 * np.hypot(own, error[name])


def test_mean_of_the_score_is_zero_and_its_variance_falls_with_friction():
    params = {"tilt": jnp.asarray(0.0)}

    def harmonic(params, position):  # dF/dtilt = -1 along x
        return jnp.sum(position**2) / 2 + params["tilt"] * position[0, 0]

    n, n_steps, step = 20_000, 40, 0.2
    key = jax.random.key(3)
    start = jnp.sqrt(KT) * jax.random.normal(key, (n, 1, 3))
    for friction in (0.1, 1.0, 10.0):
        score = sample_paths(
            harmonic,
            params,
            start,
            MASS,
            jax.random.fold_in(key, 1),
            kt=KT,
            friction=friction,
            timestep=step,
            n_steps=n_steps,
        ).score["tilt"]
        # t / (2 gamma kT m), but for the length of the step
        law = n_steps * step / (2 * friction * KT * MASS[0])
        law *= friction * step / 2 / np.tanh(friction * step / 2)
        assert float(score.var()) == pytest.approx(float(law), rel=0.05)
        assert abs(float(score.mean())) < 4 * np.sqrt(law / n)


def test_paths_are_canonical():
    """Mean potential energy of a harmonic particle: kT/2 for each of three coordinates."""

    def harmonic(params, position):
        return params["k"] * jnp.sum(position**2) / 2

    key = jax.random.key(5)
    found = sample_paths(
        harmonic,
        {"k": jnp.asarray(1.0)},
        jnp.zeros((5000, 1, 3)),
        MASS,
        key,
        kt=KT,
        friction=1.0,
        timestep=0.1,
        n_steps=200,
        stride=100,
    )
    square = (found.position[:, -1] ** 2).sum(axis=(1, 2))
    assert float(square.mean()) == pytest.approx(3 * KT, rel=0.06)
