"""The change of a rate from frames of dynamics, against hops that are counted."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from surfaces import ClosedForm, Toy

from jaxdiff.objectives.transition import (
    energies,
    energy_slopes,
    ensemble_gradient,
    log_rate_change,
    log_rate_slope,
)

KT = 0.1
WEIGHT = {"well": 0.4, "y": 1.0, "pinched": 1.5}
SIZE = {"well": 0.06, "y": 0.3, "pinched": 0.75}


@struct.dataclass
class Valley(ClosedForm):
    """A particle in a double well along x, in a valley that is narrower in the middle."""

    def energy(self, model, position):
        w, (x, y, z) = model.weights, position[0]
        across = w["y"] + w["pinched"] * jnp.exp(-8 * x**2)
        return w["well"] * (x**2 - 1) ** 2 + (across * y**2 + z**2) / 2


def toy(**changed):
    return Toy({k: jnp.asarray(v) for k, v in (WEIGHT | changed).items()})


@partial(jax.jit, static_argnums=(1, 2))
def dynamics(model, n_particles, n_steps, seed):
    """Langevin dynamics (OBABO): visits of x to the two cores, and frames in between.

    Hops [particles] are changes of the core last visited. Of each step that x crosses 0,
    the nearer of the two frames is what `crossing` holds.
    """
    surface, step, friction = Valley(), 0.1, 0.25
    force = jax.grad(lambda x: -surface.energy(model, x[None]))
    kick = jnp.exp(-friction * step / 2)

    def advance(carry, key):
        x, v, f, core, crossing, hops = carry
        first, second = jax.random.normal(key, (2, 3))
        v = kick * v + jnp.sqrt(KT * (1 - kick**2)) * first + step / 2 * f
        new = x + step * v
        f = force(new)
        v = kick * (v + step / 2 * f) + jnp.sqrt(KT * (1 - kick**2)) * second
        nearer = jnp.where(jnp.abs(x[0]) < jnp.abs(new[0]), x, new)
        crossing = jnp.where(x[0] * new[0] < 0, nearer, crossing)
        now = jnp.where(jnp.abs(new[0]) > 0.8, jnp.sign(new[0]), core)
        hopped = now != core
        kept = jnp.where(hopped, crossing, jnp.nan)
        return (new, v, f, now, crossing, hops + hopped), (kept, new)

    def one(key):
        x = jnp.array([-1.0, 0.0, 0.0])
        start = x, jnp.zeros(3), force(x), -1.0, x, 0
        keys = jax.random.split(key, n_steps + 500)
        *state, hops = jax.lax.scan(advance, start, keys[:500])[0]
        carry, (kept, frames) = jax.lax.scan(advance, (*state, 0), keys[500:])
        return carry[-1], kept, frames[::200]

    return jax.lax.map(
        one, jax.random.split(jax.random.key(seed), n_particles), batch_size=500
    )


def run(model, seed, n_particles=2000, n_steps=4000):
    """Number of hops, crossings [n, 1, 3] and frames [n, 1, 3] of both valleys."""
    hops, kept, frames = dynamics(model, n_particles, n_steps, seed)
    kept, frames = np.asarray(kept).reshape(-1, 1, 3), np.asarray(frames).reshape(-1, 1, 3)
    kept = kept[np.isfinite(kept[:, 0, 0])]
    return int(hops.sum()), kept, frames


@pytest.fixture(scope="module")
def frames():
    _, crossings, reactant = run(toy(), 0)
    assert len(crossings) > 1500
    assert np.abs(crossings[:, 0, 0]).mean() < 0.05
    return crossings, reactant


@pytest.mark.slow
@pytest.mark.parametrize("name", ["well", "y", "pinched"])
def test_slope_is_that_of_counted_hops(frames, name):
    crossings, reactant = frames
    direction = {k: jnp.asarray(float(k == name)) for k in WEIGHT}
    slopes = [energy_slopes(toy(), Valley(), x, direction) for x in frames]
    found = log_rate_slope(*slopes, KT)
    size = SIZE[name]
    up, down = (run(toy(**{name: WEIGHT[name] + s * size}), 1)[0] for s in (1, -1))
    counted = np.log(up / down) / (2 * size)
    error = np.hypot(found.standard_error, np.sqrt(1 / up + 1 / down) / (2 * size))
    assert found.value == pytest.approx(counted, abs=4 * error)
    assert abs(counted) > 4 * error  # else it says nothing
    gradient = ensemble_gradient(toy(), Valley(), *frames, KT)
    assert float(gradient[name]) == pytest.approx(found.value, rel=1e-6)


@pytest.mark.slow
def test_change_between_models_is_that_of_counted_hops(frames):
    """Not a small one."""
    other = toy(well=0.45, pinched=2.0)
    before, after = run(toy(), 2)[0], run(other, 2)[0]
    change = [energies(other, Valley(), x) - energies(toy(), Valley(), x) for x in frames]
    found = log_rate_change(*change, KT)
    counted, error = np.log(after / before), np.sqrt(1 / before + 1 / after)
    assert counted < -0.4
    assert found.value == pytest.approx(
        counted, abs=4 * np.hypot(error, found.standard_error)
    )
    assert 0 < found.effective_size[0] < len(frames[0])


def test_standard_error_is_that_of_repetitions():
    rng = np.random.default_rng(0)
    found = [
        log_rate_slope(rng.normal(0, 0.3, 200), rng.normal(0, 0.1, 400), KT)
        for _ in range(200)
    ]
    spread = np.std([f.value for f in found])
    assert np.mean([f.standard_error for f in found]) == pytest.approx(spread, rel=0.15)
    expected = np.hypot(0.3 / np.sqrt(200), 0.1 / np.sqrt(400)) / KT
    assert spread == pytest.approx(expected, rel=0.15)


def test_models_too_far_apart_are_refused():
    rng = np.random.default_rng(0)
    far = rng.normal(0, 10 * KT, 200)
    with pytest.raises(ValueError, match="of 200 crossings count under the new model"):
        log_rate_change(far, np.zeros(200), KT)


def test_few_frames_and_no_numbers_are_refused():
    with pytest.raises(ValueError, match="3 crossings in 20 blocks; give twice"):
        log_rate_slope(np.zeros(3), np.zeros(100), KT)
    with pytest.raises(ValueError, match="an energy of the crossings is not a number"):
        log_rate_slope(np.full(100, np.nan), np.zeros(100), KT)
