"""Errors of rates are those of rates under weights drawn from the posterior."""

import numpy as np
import pytest

from jaxdiff import units
from jaxdiff.objectives.last_layer import LastLayer
from jaxdiff.objectives.rate_error import rate_error

KELVIN = np.array([600.0, 750.0, 900.0])
KT = units.KB * KELVIN
TRUE = np.array([[0.8, 0.3], [0.7, 0.3], [0.6, 0.4]])
"""<f>_TS - <f>_R at each temperature."""
COVARIANCE = np.array([[4e-4, 1e-4], [1e-4, 2e-4]])
POSTERIOR = LastLayer(COVARIANCE, 100, 50, 0.7, 0.95)


def frames(n, noise, seed=0):
    rng = np.random.default_rng(seed)
    crossing = [mean + noise * rng.normal(size=(n, 2)) for mean in TRUE]
    return crossing, [noise * rng.normal(size=(n, 2)) for _ in TRUE]


def test_errors_are_those_of_rates_under_drawn_weights():
    weights = np.random.default_rng(1).multivariate_normal(np.zeros(2), COVARIANCE, 200_000)
    log_rate = -(weights @ TRUE.T) / KT
    energy = -np.polyfit(1 / KT, log_rate.T, 1)[0]
    found = rate_error(POSTERIOR, KELVIN.tolist(), *frames(100, 0.0))
    np.testing.assert_allclose(found.log_rate, log_rate.std(axis=0), rtol=0.01)
    assert found.activation_ev == pytest.approx(energy.std(), rel=0.01)


def test_the_noise_of_few_frames_is_taken_off():
    """What is taken off is what the noise of the mean features adds, over many runs."""
    exact = rate_error(POSTERIOR, KELVIN.tolist(), *frames(100, 0.0)).log_rate ** 2
    runs = [
        rate_error(POSTERIOR, KELVIN.tolist(), *frames(100, 1.0, seed))
        for seed in range(400)
    ]
    squares = np.array([run.log_rate_with_noise**2 for run in runs])
    taken_off = squares - np.array([run.log_rate**2 for run in runs])
    extra = 2 / 100 * np.trace(COVARIANCE) / KT**2
    np.testing.assert_allclose(taken_off.mean(axis=0), extra, rtol=0.1)
    np.testing.assert_allclose(squares.mean(axis=0), exact + extra, rtol=0.1)


def test_an_error_that_is_mostly_noise_is_not_told():
    """It was zero where more was taken off than there is; what it is at most is known."""
    crossing, other = frames(40, 30.0)
    found = rate_error(POSTERIOR, KELVIN.tolist(), crossing, other)
    exact = rate_error(POSTERIOR, KELVIN.tolist(), *frames(100, 0.0))
    assert np.isnan(found.log_rate).all()
    assert np.isnan(found.activation_ev)
    assert (found.log_rate_with_noise > exact.log_rate).all()
    assert found.activation_with_noise_ev > exact.activation_ev


def test_one_temperature_has_no_activation_energy():
    crossing, other = frames(40, 0.1)
    found = rate_error(POSTERIOR, KELVIN[:1].tolist(), crossing[:1], other[:1])
    assert np.isnan(found.activation_ev)
    assert found.log_rate.shape == (1,)


def test_few_frames_are_refused():
    with pytest.raises(ValueError, match="12 frames in 10 blocks"):
        rate_error(POSTERIOR, KELVIN.tolist(), *frames(12, 0.1))
