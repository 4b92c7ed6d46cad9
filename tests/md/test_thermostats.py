import jax
import jax.numpy as jnp
import numpy as np
import potentials
import pytest
from jax_md import quantity

from jaxdiff import md, units
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.md import kinetics


def join(parts, name):
    return np.concatenate([getattr(part.series, name) for part in parts])


def with_timestep(lab, femtoseconds):
    bath = lab.conditions.bath
    bath = bath.replace(
        timestep=jnp.full_like(bath.timestep, femtoseconds * units.FEMTOSECOND)
    )
    return lab.conditions.replace(bath=bath)


def test_momenta_are_of_boltzmann_with_no_drift():
    mass, kt = jnp.asarray([6.941, 18.998, 1.0, 40.0]), jnp.asarray(0.05)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(20_000))
    momentum = jax.vmap(kinetics.maxwell_boltzmann, (0, None, None))(keys, mass, kt)
    np.testing.assert_allclose(momentum.sum(1), 0, atol=1e-12)
    twice_kinetic = np.sum(
        np.asarray(momentum) ** 2 / np.asarray(mass)[:, None], axis=(1, 2)
    )
    dof = 3 * len(mass) - 3  # a chi-squared law with this many degrees of freedom
    error = np.sqrt(2 * dof / len(keys)) * float(kt)
    assert abs(twice_kinetic.mean() - dof * float(kt)) < 5 * error
    assert twice_kinetic.var() == pytest.approx(2 * dof * float(kt) ** 2, rel=0.06)
    expected = mass * kt * (1 - mass / mass.sum())  # given that the total vanishes
    np.testing.assert_allclose(np.asarray(momentum).var(axis=(0, 2)), expected, rtol=0.05)


def test_momenta_belong_to_the_replica_not_to_the_batch():
    def momenta(kelvin, replica_id=None):
        return md.initialize(
            rock_salt_interstitial(2), np.array(kelvin), cutoff=4.0, skin=0.4, seed=11,
            replica_id=replica_id,
        ).motion.momentum  # fmt: skip

    three = momenta([300.0, 600.0, 600.0])
    one = momenta([600.0], np.array([2]))
    np.testing.assert_array_equal(three[2], one[0])
    assert not np.allclose(three[1], three[2])


def test_jax_md_counts_a_motion_that_does_not_exist():
    """The reason for a count of our own; should this fail, jax-md has changed."""
    assert quantity.count_dof(jnp.zeros((9, 3))) == 27
    assert kinetics.degrees_of_freedom(9) == 24


@pytest.mark.slow
def test_nose_hoover_holds_the_temperature_of_3n_minus_3(thermal):
    """With 3N the mean would be 9/8 of the target: 675 K."""
    lab, state = thermal
    temperature = join(lab.run(8000, "nose-hoover", state), "kinetic_temperature")
    blocks = temperature.reshape(16, 500, 4).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(blocks.size)
    assert error < 8
    assert abs(temperature.mean() - 600) < 4 * error


@pytest.mark.slow
def test_nose_hoover_samples_the_canonical_spread_of_kinetic_energy(thermal):
    """Var(K) = (3N - 3)/2 (kT)^2; at constant energy it is about half of that."""
    lab, state = thermal
    temperature = join(lab.run(8000, "nose-hoover", state), "kinetic_temperature")
    expected = 600 * np.sqrt(2 / 24)
    assert temperature.std() == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_langevin_samples_the_einstein_crystal_exactly(lab):
    """BAOAB: <U> = (3N - 3) kT/2, with no error of the time step.

    Springs in proportion to the masses leave the centre of mass at rest.
    """
    kelvin = 400.0
    mass = jnp.asarray(rock_salt_interstitial(2).mass)[:, None]
    crystal = lab(
        potentials.einstein,
        temperature=[kelvin] * 4,
        timestep_fs=2.0,
        frames_per_chunk=200,
        friction_per_ps=50.0,
        cutoff=2.0,
        stiffness=mass / 4,
    )
    state = crystal.run(1000, "langevin")[-1].state
    parts = crystal.run(10_000, "langevin", state)
    energy = join(parts, "potential_energy")
    expected = (3 * 65 - 3) * units.KB * kelvin / 2
    blocks = energy.reshape(20, -1, 4).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(blocks.size)
    assert error < 0.004 * expected  # 3N would be 1.6 % more
    assert abs(energy.mean() - expected) < 4 * error
    assert join(parts, "kinetic_temperature").mean() == pytest.approx(kelvin, rel=0.015)
    momentum = parts[-1].state.motion.momentum
    np.testing.assert_allclose(momentum.sum(axis=1), 0, atol=1e-11)


def test_constant_energy_is_the_exact_verlet_map(lab):
    """On U = kx²/2 from rest: x_n = x_0 cos(nθ), cos θ = 1 - (ωh)²/2; units too."""
    crystal = lab(potentials.einstein, timestep_fs=2.0, cutoff=2.0)
    motion, site = crystal.state.motion, crystal.params["site"]
    away = np.random.default_rng(0).normal(0, 0.1, site.shape)
    motion = motion.replace(position=(site + away)[None], momentum=0 * motion.momentum)
    state = crystal.state.replace(motion=motion)
    state = md.evaluate(crystal.run_chunk, crystal.params, crystal.conditions, state)
    final = crystal.run(123, "nve", state)[-1].state.motion.position[0] - site
    omega_squared = 3.0 / np.asarray(crystal.conditions.mass)
    angle = np.arccos(1 - omega_squared * (2 * units.FEMTOSECOND) ** 2 / 2)
    np.testing.assert_allclose(final, away * np.cos(123 * angle)[:, None], atol=1e-12)


@pytest.mark.parametrize("thermostat", ["nve", "nose-hoover"])
def test_error_of_the_conserved_energy_is_second_order(thermal, thermostat):
    lab, state = thermal
    spread = []
    for femtoseconds in (2.0, 1.0, 0.5):
        parts = lab.run(
            round(400 / femtoseconds), thermostat, state,
            conditions=with_timestep(lab, femtoseconds),
        )  # fmt: skip
        spread.append(join(parts, "conserved_energy").std(axis=0).mean())
    order = np.diff(np.log2(spread))
    np.testing.assert_allclose(order, -2, atol=0.35)


def test_conserved_energy_does_not_drift(thermal):
    """The energy alone wanders by many times more; the chain accounts for it."""
    lab, state = thermal
    parts = lab.run(4000, "nose-hoover", state)
    conserved = join(parts, "conserved_energy")
    potential = join(parts, "potential_energy")
    kinetic = join(parts, "kinetic_temperature") * 24 * units.KB / 2
    assert (conserved.std(axis=0) < 0.05 * (potential + kinetic).std(axis=0)).all()
    slope = np.polyfit(np.arange(len(conserved)), conserved, 1)[0] * 1000  # eV/ps
    assert (np.abs(slope) < 2e-3 * 9).all()


def test_total_momentum_stays_zero(thermal):
    lab, state = thermal
    for thermostat in ("nve", "nose-hoover", "langevin"):
        momentum = lab.run(500, thermostat, state)[-1].state.motion.momentum
        np.testing.assert_allclose(momentum.sum(axis=1), 0, atol=1e-11)


def test_state_is_float64(thermal):
    lab, state = thermal
    final = lab.run(10, "nose-hoover", state)[-1].state
    for leaf in jax.tree.leaves(
        (final.motion, final.integrators, final.energy, final.force)
    ):
        assert leaf.dtype == np.float64


def test_one_atom_has_no_temperature():
    with pytest.raises(ValueError, match="1 atom has no motion about its centre"):
        kinetics.degrees_of_freedom(1)
