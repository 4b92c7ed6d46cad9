"""The error of a time step against modes of known frequency."""

import math

import numpy as np
import pytest

from jaxdiff import units
from jaxdiff.md.timestep import Spectrum, spectrum

ATOMS, REPLICAS = 40, 3
MASS = np.where(np.arange(ATOMS) % 2, 19.0, 7.0)


def chain(stiffness=8.0, tether=1.0):
    """Hessian of a ring of springs, each atom tethered too; eV/Å^2, for each axis."""
    ring = np.eye(ATOMS)
    one = stiffness * (2 * ring - np.roll(ring, 1, 0) - np.roll(ring, -1, 0))
    return one + tether * ring


def of(hessian, cubic=0.0):
    """Spectrum by forces of that Hessian, and a cubic term that differences cancel."""
    position = np.random.default_rng(1).normal(size=(REPLICAS, ATOMS, 3)) * 0.01

    def force(x):
        return -np.einsum("ij,rjk->rik", hessian, x) - cubic * x**2

    return spectrum(force, position, MASS)


def frequencies(hessian):
    return np.linalg.eigvalsh(hessian / np.sqrt(np.outer(MASS, MASS)))


@pytest.mark.parametrize("cubic", [0.0, 1.0])
def test_errors_are_means_over_the_modes(cubic):
    """Random signs know a mean over 120 modes to √(2/360) of its spread: 3 %."""
    square, h = frequencies(chain()), 2.5 * units.FEMTOSECOND
    found, part = of(chain(), cubic), square * h**2 / 4
    assert found.momentum_error(h) == pytest.approx(part.mean(), rel=0.12)
    expected = np.mean(1 / (1 - part) - 1)
    assert found.position_error(h) == pytest.approx(expected, rel=0.15)
    assert found.position_error(h) > found.momentum_error(h)


def test_the_highest_frequency_is_found_from_below():
    true = math.sqrt(frequencies(chain()).max()) * units.PICOSECOND / (2 * math.pi)
    assert 0.93 * true < of(chain()).highest_thz <= true * 1.0001


def test_one_frequency_is_exact():
    """An Einstein crystal: Lanczos's method ends after one step."""
    found = of(np.diag(3.0 * MASS))
    h = 0.1
    np.testing.assert_allclose(found.square, 3.0, rtol=1e-6)
    assert found.momentum_error(h) == pytest.approx(3 * h**2 / 4, rel=1e-6)
    assert found.position_error(h) == pytest.approx(1 / (1 - 3 * h**2 / 4) - 1, rel=1e-6)


def test_a_mode_that_is_not_stable_has_no_bound():
    found = Spectrum(np.array([[1.0, 5.0]]), np.array([[0.9, 0.1]]))
    assert found.position_error(1.0) == math.inf
