"""Observables of single frames: against differences, and known structures."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jaxdiff.objectives.statics import pressure, radial_distribution
from jaxdiff.objectives.surface import make_surface
from jaxdiff.system import from_ase

LATTICE = 4.08


def crystal(repeat, shift=0.0):
    atoms = bulk("LiF", "rocksalt", a=LATTICE, cubic=True) * repeat
    atoms.positions += np.random.default_rng(0).normal(0, shift, atoms.positions.shape)
    return atoms


@pytest.mark.slow
def test_pressure_is_minus_the_slope_of_the_energy_over_the_volume(model):
    atoms = crystal((1, 1, 1), 0.1)
    surface = make_surface(model, from_ase(atoms))
    energy = jax.jit(lambda surface, x: surface.energy(model, x))

    def stretched(scale):
        return float(energy(replace(surface, cell=scale * surface.cell), scale * position))

    position, size, volume = jnp.asarray(atoms.positions), 1e-4, LATTICE**3
    up, down = (stretched(1 + s * size) for s in (1, -1))
    expected = -(up - down) / (volume * ((1 + size) ** 3 - (1 - size) ** 3))
    found = jax.jit(lambda kt: pressure(surface, model, position, kt))
    assert abs(expected) > 1e-3
    assert float(found(0.0)) == pytest.approx(expected, rel=1e-6)
    ideal = float(found(0.05) - found(0.0))
    assert ideal == pytest.approx(7 * 0.05 / volume, rel=1e-9)


def test_six_neighbours_of_the_other_kind_and_twelve_of_the_same():
    atoms = crystal((3, 3, 3))
    lithium = jnp.asarray(atoms.numbers == 3)
    cell, r = jnp.asarray(atoms.cell.array), jnp.linspace(1.5, 3.4, 400)
    for second, number, where in ((~lithium, 6, 2.04), (lithium, 12, 2.885)):
        near = jnp.abs(r - where) < 0.4
        g = radial_distribution(
            jnp.asarray(atoms.positions), cell, lithium, second, r, 0.06
        )
        count = (108 - (number == 12)) / (3 * LATTICE) ** 3
        shell = 4 * jnp.pi * r**2 * count * jnp.where(near, g, 0.0)
        total = jnp.sum(shell) * (r[1] - r[0])
        assert float(total) == pytest.approx(number, rel=2e-3)


def test_a_gas_has_no_structure():
    position = jnp.asarray(np.random.default_rng(0).uniform(0, 10, (1000, 3)))
    everything = jnp.ones(1000, bool)
    g = radial_distribution(
        position, 10.0 * jnp.eye(3), everything, everything, jnp.array([2.0, 4.0]), 0.2
    )
    np.testing.assert_allclose(g, 1.0, atol=0.03)
