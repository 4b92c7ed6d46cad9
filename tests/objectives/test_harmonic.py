"""Harmonic rates: against a closed form, and their derivative against rates found anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from surfaces import ClosedForm, Toy
from test_barrier import in_direction, polished

from jaxdiff import units
from jaxdiff.objectives import harmonic
from jaxdiff.objectives.harmonic import Jumps, harmonic_rate, log_rate_gradient

WEIGHT = {"well": 0.5, "tilt": 0.05, "y": 3.0, "z": 2.0, "coupled": 0.7}


@struct.dataclass
class Pair(ClosedForm):
    """Two atoms: a tilted double well along x, springs across that vary with x."""

    def energy(self, model, position):
        w, (x, y, z) = model.weights, position[1] - position[0]
        across = w["y"] + w["coupled"] * x
        well = w["well"] * (x**2 - 1) ** 2 + w["tilt"] * x
        return well + (across * y**2 + w["z"] * z**2) / 2

    def energy_and_force(self, model, position):
        energy, slope = jax.value_and_grad(self.energy, argnums=1)(model, position)
        return energy, -slope


def places(w):
    """Separations along x of the left minimum and of the saddle."""
    left, saddle, _ = np.sort(np.roots([4 * w["well"], 0, -4 * w["well"], w["tilt"]]).real)
    return left, saddle


def at(x):
    """Both atoms, somewhere in space."""
    return jnp.array([[0.3, -0.2, 0.1], [0.3 + x, -0.2, 0.1]])


def closed_form(w, mass, temperature=None):
    """Prefactor in THz, or ln of the rate in 1/ps."""
    reduced = mass[0] * mass[1] / (mass[0] + mass[1])
    left, saddle = places(w)
    along = w["well"] * (12 * left**2 - 4) / reduced
    across = [(w["y"] + w["coupled"] * x) / reduced for x in (left, saddle)]
    square = along * across[0] / across[1]
    prefactor = np.sqrt(square) / (2 * np.pi) * units.PICOSECOND
    if temperature is None:
        return prefactor
    energy = [w["well"] * (x**2 - 1) ** 2 + w["tilt"] * x for x in (left, saddle)]
    return np.log(prefactor) - (energy[1] - energy[0]) / (units.KB * temperature)


MASS = np.array([7.0, 19.0])


def toy_rate(w, temperature=300.0):
    left, saddle = places(w)
    surface, model = (
        Pair(mass=jnp.asarray(MASS)),
        Toy({k: jnp.asarray(v) for k, v in w.items()}),
    )
    return log_rate_gradient(model, surface, at(saddle), at(left), temperature)


def test_prefactor_in_closed_form():
    """Translations are left out, the unstable mode too, and masses count."""
    rate, _ = toy_rate(WEIGHT)
    assert rate.prefactor_thz == pytest.approx(closed_form(WEIGHT, MASS), rel=1e-9)
    assert rate.log_rate(300.0) == pytest.approx(closed_form(WEIGHT, MASS, 300.0), rel=1e-9)


@pytest.mark.parametrize("temperature", [300.0, 1e9])
def test_derivative_in_closed_form(temperature):
    """At the higher temperature it is the prefactor's, which needs the points to move."""
    _, gradient = toy_rate(WEIGHT, temperature)
    for name, value in WEIGHT.items():
        size = 1e-5
        up, down = (
            closed_form({**WEIGHT, name: value + s * size}, MASS, temperature)
            for s in (1, -1)
        )
        expected = (up - down) / (2 * size)
        assert float(gradient[name]) == pytest.approx(expected, rel=1e-3, abs=1e-6), name


def test_a_place_that_is_no_saddle_is_refused():
    left, _ = places(WEIGHT)
    surface, model = Pair(mass=jnp.asarray(MASS)), Toy(WEIGHT)
    with pytest.raises(ValueError, match="the saddle has 0 unstable modes .* and 1 are"):
        harmonic_rate(model, surface, at(left), at(left))
    with pytest.raises(ValueError, match="the minimum has 1 unstable modes"):
        harmonic_rate(model, surface, at(0.0), at(0.0))


def check_gradient_of_mace(model, surface, found, atoms):
    """Against rates at points that are searched anew for changed weights."""
    saddle, minimum = (
        polished(model, surface, x.position, 1e-7).position
        for x in (found.saddle, found.start)
    )
    hot = 1e9  # nothing but the prefactor
    rate, gradient = log_rate_gradient(model, surface, saddle, minimum, hot, atoms)
    size, logs = 1e-4, []
    _, step = in_direction(model, 0, 0.0)
    along = sum(
        float(jnp.vdot(g, s))
        for g, s in zip(jax.tree.leaves(gradient), jax.tree.leaves(step), strict=True)
    )
    for sign in (1, -1):
        moved, _ = in_direction(model, 0, sign * size)
        ends = [polished(moved, surface, x, 1e-7).position for x in (saddle, minimum)]
        logs.append(harmonic_rate(moved, surface, *ends, atoms).log_rate(hot))
    assert along == pytest.approx((logs[0] - logs[1]) / (2 * size), rel=1e-3)
    return rate


@pytest.mark.long
def test_derivative_of_all_atoms(compact, collinear):
    surface, found = collinear
    rate = check_gradient_of_mace(compact, surface, found, None)
    assert 1.0 < rate.prefactor_thz < 20.0


@pytest.mark.long
def test_derivative_around_the_jump(compact, collinear):
    """Some atoms vibrate, and all move with the weights."""
    surface, found = collinear
    ends = found.start.position, found.end.position
    atoms = harmonic.atoms_around(surface, *ends, 3.0)
    assert len(atoms) == 21
    check_gradient_of_mace(compact, surface, found, atoms)


def test_hessian_of_some_atoms_is_a_block_of_the_whole():
    surface, model = Pair(mass=jnp.asarray(MASS)), Toy(WEIGHT)
    position = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)))
    whole = harmonic.hessian(model, surface, position)
    expected = jax.hessian(lambda x: surface.energy(model, x))(position).reshape(6, 6)
    np.testing.assert_allclose(whole, expected, atol=1e-12)
    block = harmonic.hessian(model, surface, position, np.array([1]))
    np.testing.assert_allclose(block, whole[3:, 3:], atol=1e-12)


def test_diffusivity_is_that_of_a_walk():
    """Jumps of two kinds on the tetrahedral sites of rock salt, against random walks."""
    a, steps = 4.0, 400
    rate = np.array([0.03, 0.02])
    jumps = Jumps([np.sqrt(3) * a / 2, a / 2], [4, 12])
    value = float(jumps.log_diffusivity(np.log(rate)))
    # sites are of two orientations: the first kind leads to the other one
    corner = a / 2 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    edge = np.repeat(a / 2 * np.concatenate([np.eye(3), -np.eye(3)]), 2, axis=0)
    rng = np.random.default_rng(0)
    n_walks, total = 4000, 4 * rate[0] + 12 * rate[1]
    place, sign = np.zeros((n_walks, 3)), np.ones(n_walks)
    for _ in range(steps):
        first = rng.random(n_walks) < 4 * rate[0] / total
        step = np.where(
            first[:, None],
            sign[:, None] * corner[rng.integers(0, 4, n_walks)],
            edge[rng.integers(0, 12, n_walks)],
        )
        place, sign = place + step, -sign  # both kinds change the orientation
    measured = np.mean((place**2).sum(axis=1)) / (6 * steps / total) * 1e-4
    assert np.exp(value) == pytest.approx(measured, rel=0.05)


def test_activation_energy_is_the_slope_of_the_diffusivity():
    jumps, barrier = Jumps([2.0, 3.0], [12, 4]), jnp.array([0.3, 0.2])
    log_prefactor = jnp.log(jnp.array([3.0, 1.0]))

    def log_d(beta):
        return jumps.log_diffusivity(log_prefactor - beta * barrier)

    beta = 1 / (units.KB * 700.0)
    slope = jax.grad(log_d)(beta)
    log_rate = log_prefactor - beta * barrier
    assert float(jumps.activation_energy(log_rate, barrier)) == pytest.approx(-float(slope))
    np.testing.assert_allclose(
        jumps.shares(log_rate), jax.grad(jumps.log_diffusivity)(log_rate)
    )


def test_weights_that_do_not_matter_have_no_derivative():
    _, gradient = toy_rate({**WEIGHT}, 1e9)
    assert abs(float(gradient["z"])) < 1e-9  # the same at both points
