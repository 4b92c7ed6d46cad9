"""The temperature of positions that are drawn from a canonical ensemble of known kT."""

import math

import numpy as np
import pytest

from jaxdiff.md.configurational import curvature

KT = 0.05  # eV
REPLICAS, ATOMS = 3000, 5
MASS = np.array([7.0, 19.0, 7.0, 19.0, 7.0])


def einstein():
    """Forces of a spring at each atom, stiffnesses 1 to 9 eV/Å², and positions."""
    stiffness = np.linspace(1.0, 9.0, ATOMS)[:, None]
    shape = REPLICAS, ATOMS, 3
    x = np.random.default_rng(0).normal(size=shape) * np.sqrt(KT / stiffness)
    return (lambda x: -stiffness * x), x


def chain(quadratic, quartic):
    """Forces of a free chain with k r²/2 + c r⁴/4 in each bond, and positions at rest.

    Bonds are independent: 3N - 3 numbers of one density, and no tether.
    """
    r = np.linspace(-3.0, 3.0, 20001)
    weight = np.exp(-(quadratic * r**2 / 2 + quartic * r**4 / 4) / KT)
    total = np.cumsum(weight) / weight.sum()
    draw = np.random.default_rng(1).uniform(size=(REPLICAS, ATOMS - 1, 3))
    bond = np.interp(draw, total, r)
    x = np.concatenate([np.zeros((REPLICAS, 1, 3)), np.cumsum(bond, axis=1)], axis=1)

    def force(x):
        bond = np.diff(x, axis=1)
        pull = quadratic * bond + quartic * bond**3
        none = np.zeros((len(x), 1, 3))
        return np.concatenate([pull, none], 1) - np.concatenate([none, pull], 1)

    return force, x - (MASS @ x)[:, None] / MASS.sum()


CASES = {
    "Einstein": einstein,
    "harmonic": lambda: chain(5.0, 0.0),
    "anharmonic": lambda: chain(2.0, 40.0),
    "quartic": lambda: chain(0.0, 40.0),
}


@pytest.mark.parametrize("case", CASES)
def test_temperature_and_its_error_are_right(case):
    """Of 3,000 frames to 1 %; of 100 times 30 the scatter is the error that is stated."""
    force, x = CASES[case]()
    found = curvature(force, x, MASS, range(REPLICAS))
    kt, error = found.temperature()
    assert error < 0.02 * KT
    assert abs(kt - KT) < 3.5 * error
    some = np.arange(REPLICAS) % 100
    values = np.array([found.of(some == k).temperature() for k in range(100)])
    scatter = values[:, 0].std() / np.sqrt((values[:, 1] ** 2).mean())
    assert scatter == pytest.approx(1.0, abs=0.2)  # known to 1/√200, three times


def test_hot_positions_are_seen():
    force, x = einstein()
    kt, error = curvature(force, x * math.sqrt(1.1), MASS, range(REPLICAS)).temperature()
    assert kt == pytest.approx(1.1 * KT, abs=3.5 * error)
    assert error < 0.02 * KT


def test_positions_of_velocity_verlet_are_as_hot_as_is_said():
    """Covariance kT H⁻¹ (1 - h² M⁻¹H/4)⁻¹ in the harmonic crystal (md/timestep.py)."""
    ring = np.eye(ATOMS)
    hessian = 6.0 * (2 * ring - np.roll(ring, 1, 0) - np.roll(ring, -1, 0)) + ring
    h = 0.25
    slow = np.eye(ATOMS) - h**2 / 4 * hessian / MASS[:, None]
    hot = np.trace(hessian @ np.linalg.inv(slow)) / np.trace(hessian) - 1
    x = np.zeros((400, ATOMS, 3))
    found = curvature(lambda x: -np.einsum("ij,rjk->rik", hessian, x), x, MASS, range(400))
    assert 0.02 < hot < 0.06
    assert found.position_error(h) == pytest.approx(hot, rel=0.07)
    assert found.temperature()[0] == 0  # at rest


def test_the_error_of_the_laplacian_is_its_scatter_over_displacements():
    """The Hessian is the same in all frames; off its diagonal it is not zero."""
    force, x = chain(5.0, 0.0)
    found = curvature(force, x, MASS, range(REPLICAS))
    assert found.laplacian.mean() == pytest.approx(5.0 * 3 * 2 * (ATOMS - 1), rel=0.01)
    scatter = found.laplacian.var() / found.laplacian_variance.mean()
    assert scatter == pytest.approx(1.0, abs=0.15)


def test_a_replica_is_the_same_in_any_batch():
    force, x = chain(2.0, 40.0)
    every = curvature(force, x[:3], MASS, range(3))
    alone = curvature(force, x[2:3], MASS, [2])
    assert every.laplacian[2] == alone.laplacian[0]
    assert every.laplacian_variance[0] > 0


def test_without_curvature_there_is_no_temperature():
    nothing = curvature(np.zeros_like, np.zeros((2, ATOMS, 3)), MASS, range(2))
    assert all(math.isnan(value) for value in nothing.temperature())
    assert math.isnan(nothing.position_error(1.0))
