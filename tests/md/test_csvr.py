r"""Stochastic velocity rescaling against its law in closed form (doi:10.1063/1.2408420).

With $c = e^{-dt/\tau}$, R normal and S chi-squared with g - 1 degrees of freedom, the
kinetic energy after one step from K is
$$ K' = \left(\sqrt{cK} + \sqrt{(1-c) kT/2}\, R\right)^2 + (1-c) \frac{kT}{2} S, $$
so that $2K' / (1-c) kT$ is noncentral chi-squared with g degrees of freedom and
$\lambda = 2cK / (1-c) kT$:
$$ E K' = cK + (1-c) \frac{g}{2} kT, \quad
   Var K' = (1-c)^2 \frac{g}{2} (kT)^2 + 2 c (1-c) K kT. $$
The factor of the momenta has the sign of the first bracket.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxdiff import units
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.md import kinetics
from jaxdiff.md.integrators import Bath, Given, csvr

SYSTEM = rock_salt_interstitial(1)
MASS, DOF = jnp.asarray(SYSTEM.mass), 3 * SYSTEM.n_atoms - 3
KELVIN = 600.0
KT = units.KB * KELVIN
DRAWS = 20_000


@functools.cache
def program():
    def one(decay, momentum, key):
        zero = jnp.zeros(())
        bath = Bath(decay, jnp.ones(()), zero, zero, zero, zero)
        motion = kinetics.Motion(momentum, momentum, jnp.eye(3))
        given = Given(bath, MASS, jnp.asarray(KT), key)
        new, own = csvr.rescale(given, motion, csvr.init(motion))
        return new.momentum, own.heat

    return jax.jit(jax.vmap(one, (None, None, 0)))


def step(kept, share):
    """(K before, factors of the momenta, heat) of steps that keep a fraction `kept`.

    - `share`: of K in what it is on average, g kT/2.
    """
    momentum = kinetics.maxwell_boltzmann(jax.random.key(1), MASS, jnp.asarray(KT))
    mean = DOF * KT / 2
    now = kinetics.kinetic_energy(momentum, MASS)
    momentum = momentum * jnp.sqrt(share * mean / now)
    keys = jax.random.split(jax.random.key(2), DRAWS)
    new, heat = program()(jnp.asarray(-np.log(kept)), momentum, keys)
    new, momentum = np.asarray(new), np.asarray(momentum)
    factor = np.sum(new * momentum, axis=(1, 2)) / np.sum(momentum**2)
    exact = factor[:, None, None] * momentum  # nothing but a factor
    np.testing.assert_allclose(new, exact, rtol=0, atol=1e-13)
    return share * mean, factor, np.asarray(heat)


@pytest.mark.parametrize(("kept", "share"), [(0.9, 0.2), (0.5, 3.0), (0.05, 0.1)])
def test_one_step_has_the_noncentral_law(kept, share):
    """Mean and variance within 5 errors, all of the distribution by Kolmogorov–Smirnov."""
    before, factor, heat = step(kept, share)
    after = factor**2 * before
    np.testing.assert_allclose(heat, after - before, rtol=1e-9, atol=1e-12)
    unit = (1 - kept) * KT / 2
    centre = kept * before / unit
    mean = kept * before + (1 - kept) * DOF * KT / 2
    variance = (1 - kept) ** 2 * DOF / 2 * KT**2 + 2 * kept * (1 - kept) * before * KT
    law = scipy.stats.ncx2(DOF, centre, scale=unit)
    assert law.mean() == pytest.approx(mean)
    assert law.var() == pytest.approx(variance)
    z = (after.mean() - mean) / np.sqrt(variance / DRAWS)
    # the fourth cumulant of the law makes the variance less certain than a normal one's
    error = np.sqrt((2 + law.stats("k")) / DRAWS)
    ratio = after.var() / variance
    p = scipy.stats.kstest(after, law.cdf).pvalue
    print(kept, share, z, (ratio - 1) / error, p)
    assert abs(z) < 5
    assert abs(ratio - 1) < 5 * error
    assert p > 1e-4


def test_momenta_are_turned_round_as_often_as_the_law_says():
    """With probability Φ(-√λ) that √(cK) + √((1-c) kT/2) R is negative."""
    before, factor, _ = step(0.05, 0.1)
    turned = scipy.stats.norm.cdf(-np.sqrt(2 * 0.05 * before / (0.95 * KT)))
    share = np.mean(factor < 0)
    print(turned, share)
    assert 0.1 < turned < 0.5
    assert abs(share - turned) < 5 * np.sqrt(turned * (1 - turned) / DRAWS)


def test_a_bath_that_is_not_coupled_does_nothing():
    """c = 1; the momenta to the last bit but one."""
    _, factor, heat = step(1.0, 0.5)
    np.testing.assert_allclose(factor, 1, rtol=0, atol=1e-15)
    np.testing.assert_allclose(heat, 0, rtol=0, atol=1e-15)


# ----------------------------------------------------------------- in the dynamics


@pytest.fixture(scope="module")
def kinetic(free):
    """K [F, R], eV, of free particles, whose kinetic energy changes by the bath alone."""
    parts = free(temperature=KELVIN, tdamp_fs=20.0, integrators=("nve", "csvr")).run(
        20_000, "csvr"
    )
    temperature = np.concatenate([part.series.kinetic_temperature for part in parts])
    return temperature[50:] * DOF * units.KB / 2


@pytest.mark.long
def test_long_times_give_the_canonical_law(kinetic):
    """K/kT is Gamma(g/2); frames 50 fs apart, e^-2.5 correlated."""
    values = kinetic[::10].ravel()
    p = scipy.stats.kstest(values, scipy.stats.gamma(DOF / 2, scale=KT).cdf).pvalue
    print(len(values), p)
    assert p > 1e-4


@pytest.mark.slow
def test_noise_is_fresh_in_every_step_and_replica(kinetic):
    """K decays to its mean by c per step: E[(K_t - K̄)(K_0 - K̄)] = c^t Var K.

    With the same noise at every step K would stand still; with the same one in all
    replicas they would become one.
    """
    away = kinetic - DOF * KT / 2
    variance = DOF / 2 * KT**2
    # errors of sums over n samples of correlation time τ: sqrt(2 τ / n), for products τ/2
    error = np.sqrt(20.0 / (5 * away.size))
    assert abs(np.mean(away**2) / variance - 1) < 5 * error * np.sqrt(2)
    for lag in (1, 4, 12):
        correlation = np.mean(away[lag:] * away[:-lag]) / variance
        print(lag, correlation, np.exp(-lag * 5 / 20), error)
        assert abs(correlation - np.exp(-lag * 5 / 20)) < 5 * error * np.sqrt(2)
    between = np.corrcoef(away.T)[np.triu_indices(away.shape[1], 1)]
    limit = 5 * np.sqrt(20.0 / (5 * len(away)))
    assert np.abs(between).max() < limit
    assert np.unique(kinetic).size == kinetic.size


@pytest.mark.slow
def test_steps_are_independent_of_each_other(kinetic):
    """What a frame adds to c^5 times the last has no memory of what was added before."""
    kept = np.exp(-5 / 20)
    away = kinetic - DOF * KT / 2
    added = away[1:] - kept * away[:-1]
    for lag in (1, 2, 3):
        memory = np.mean(added[lag:] * added[:-lag]) / np.mean(added**2)
        assert abs(memory) < 5 / np.sqrt(added.size)


@pytest.mark.slow
def test_conserved_energy_has_the_error_of_the_time_step_alone(thermal):
    """U + K less the heat: spread of second order in dt, and no more than NVE's twofold.

    The heat itself wanders over kT √(g/2), hundreds of times more.
    """
    ions, state = thermal
    spread = {"nve": [], "csvr": []}
    for femtoseconds in (2.0, 1.0, 0.5):
        bath = ions.conditions.bath
        bath = bath.replace(timestep=jnp.asarray(femtoseconds * units.FEMTOSECOND))
        for thermostat, values in spread.items():
            parts = ions.run(
                round(400 / femtoseconds), thermostat, state,
                conditions=ions.conditions.replace(bath=bath),
            )  # fmt: skip
            conserved = np.concatenate([part.series.conserved_energy for part in parts])
            values.append(conserved.std(axis=0).mean())
    print(spread)
    nve, rescaled = (np.array(values) for values in spread.values())
    np.testing.assert_allclose(np.diff(np.log2(rescaled)), -2, atol=0.35)
    assert (rescaled < 2 * nve).all()
    last = parts[-1].state
    assert np.abs(last.integrators["csvr"].heat).max() > 100 * rescaled[-1]
    np.testing.assert_allclose(last.motion.momentum.sum(axis=1), 0, atol=1e-11)


@pytest.mark.slow
def test_conserved_energy_does_not_drift(thermal):
    """Over 4 ps less than a hundredth of the fluctuation of the total energy."""
    ions, state = thermal
    parts = ions.run(4000, "csvr", state)
    conserved, potential, temperature = (
        np.concatenate([getattr(part.series, name) for part in parts])
        for name in ("conserved_energy", "potential_energy", "kinetic_temperature")
    )
    total = potential + temperature * DOF * units.KB / 2
    change = conserved[-500:].mean(axis=0) - conserved[:500].mean(axis=0)
    print(change, conserved.std(axis=0), total.std(axis=0))
    assert (np.abs(change) < 0.02 * total.std(axis=0)).all()
    momentum = parts[-1].state.motion.momentum
    np.testing.assert_allclose(momentum.sum(axis=1), 0, atol=1e-11)
