"""Reweighting: a harmonic particle in closed form, and a MACE model by differences."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from jax.flatten_util import ravel_pytree

from jaxdiff.objectives import reweight
from jaxdiff.objectives.statics import pressure
from jaxdiff.objectives.surface import make_surface
from jaxdiff.system import from_ase

KT, STIFFNESS, N_FRAMES = 0.05, 2.0, 40_000


def energy(k, x):
    return 0.5 * k * x**2


def square(k, x):
    return x**2


@pytest.fixture(scope="module")
def frames():
    """Independent frames of a particle on a spring, and their energies."""
    x = np.random.default_rng(0).normal(0, (KT / STIFFNESS) ** 0.5, N_FRAMES)
    return jnp.asarray(x), energy(STIFFNESS, jnp.asarray(x))


@pytest.mark.parametrize("stiffness", [1.7, 2.0, 2.5])
def test_a_spring_of_another_stiffness(frames, stiffness):
    """<x^2> = kT / k, and its derivative -kT / k^2."""
    found = reweight.reweight(energy, square, stiffness, *frames, KT)
    expected = KT / stiffness
    assert 0 < found.standard_error < 0.02 * expected
    assert abs(found.value - expected) < 4 * found.standard_error
    # a covariance with x^2 of x^2: 3 % of it is chance here
    assert found.gradient == pytest.approx(-KT / stiffness**2, rel=0.1)
    assert found.n_frames == N_FRAMES
    if stiffness == STIFFNESS:
        assert found.effective_size == pytest.approx(N_FRAMES, rel=1e-9)
    else:
        assert found.effective_size < 0.999 * N_FRAMES


def test_the_observable_may_depend_on_the_model(frames):
    """<k x^2> is kT for every k: both terms of the derivative cancel."""
    found = reweight.reweight(energy, lambda k, x: k * x**2, 2.2, *frames, KT)
    assert found.value == pytest.approx(KT, rel=0.02)
    assert abs(found.gradient) < 0.02 * KT / 2.2


def test_derivative_is_that_of_the_reweighted_mean(frames):
    """On the same frames, whatever their number: a difference of values."""
    few = tuple(x[:50] for x in frames)
    step = 1e-5
    up, down = (
        reweight.reweight(energy, square, 2.3 + sign * step, *few, KT).value
        for sign in (1, -1)
    )
    found = reweight.reweight(energy, square, 2.3, *few, KT)
    assert found.gradient == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_too_few_frames_count(frames):
    with pytest.raises(ValueError, match="of 40000 frames count .* 20000 must; .* smaller"):
        reweight.reweight(energy, square, 40.0, *frames, KT)
    with pytest.raises(ValueError, match="5 frames in 10 blocks"):
        reweight.reweight(energy, square, 2.0, *(x[:5] for x in frames), KT)


@pytest.mark.long
def test_the_pressure_of_a_mace_model_along_all_its_weights(model):
    """From frames that are no ensemble: the identity holds."""
    atoms = bulk("LiF", "rocksalt", a=4.08) * (2, 1, 1)
    surface = make_surface(model, from_ase(atoms))
    rng = np.random.default_rng(1)
    frames = jnp.asarray(atoms.positions + rng.normal(0, 0.03, (4, 4, 3)))

    def of_weights(function):
        return lambda weights, x: function(replace(model, weights=weights), x)

    given = (
        of_weights(surface.energy),
        of_weights(lambda m, x: 100 * pressure(surface, m, x, 0.05)),
    )
    reference = jax.lax.map(lambda x: surface.energy(model, x), frames)
    flat, back = ravel_pytree(model.weights)
    direction = jnp.asarray(rng.normal(size=flat.shape))
    kt = 20 * float(jnp.std(reference))

    def value(step):
        weights = back(flat + step * direction)
        return reweight.reweight(*given, weights, frames, reference, kt, n_blocks=2)

    step = 1e-5
    along = ravel_pytree(value(0.0).gradient)[0] @ direction
    difference = (value(step).value - value(-step).value) / (2 * step)
    assert abs(difference) > 1e-3
    assert along == pytest.approx(difference, rel=1e-5)


def test_standard_error_is_that_of_block_means_where_all_frames_count_the_same(frames):
    found = reweight.reweight(energy, square, STIFFNESS, *frames, KT, n_blocks=8)
    means = (np.asarray(frames[0]) ** 2).reshape(8, -1).mean(axis=1)
    expected = means.std(ddof=1) / 8**0.5
    assert found.standard_error == pytest.approx(expected, rel=1e-9)
