"""Thermostats against statistical mechanics, with the physical_validation package.

Its tests are those of doi:10.1371/journal.pone.0202764; numbers it returns are distances
from what is expected, in standard errors, or p-values.
"""

import functools

import ionic
import numpy as np
import potentials
import pytest
import scipy.stats

from jaxdiff import md, units
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial

validation = pytest.importorskip("physical_validation")

THERMOSTATS = {
    "Nosé–Hoover chain": "nose-hoover",
    "Langevin": "langevin",
    "CSVR": "csvr",
}
KELVIN, REPLICAS, STRIDE, N_FRAMES = 600.0, 16, 25, 200
SYSTEM = rock_salt_interstitial(1)  # nine ions: a lost degree of freedom is 4 % of all
UNITS = validation.data.UnitData(
    kb=units.KB,
    energy_conversion=96.48533,  # of an eV in kJ/mol
    length_conversion=0.1,
    volume_conversion=1e-3,
    temperature_conversion=1.0,
    pressure_conversion=1.602177e6,
    time_conversion=1 / units.PICOSECOND,
    energy_str="eV",
    temperature_str="K",
)

LIF = ("Li", "F")
PROGRAM = {  # one for all tests; a chunk ends where momenta are looked at
    "supercell": 1,
    "cutoff": 3.6,
    "skin": 0.4,
    "steps_per_frame": 1,
    "frames_per_chunk": STRIDE,
    "friction_per_ps": 20.0,
    "integrators": ("nve", "langevin", "nose-hoover", "csvr"),
}

OTHERS = [name for name in THERMOSTATS if name != "CSVR"]
by_name = pytest.mark.parametrize(
    "name", ["CSVR", *(pytest.param(x, marks=pytest.mark.long) for x in OTHERS)]
)


@functools.cache
def sample(make, name, kelvin):
    """Momentum [F, R, N, 3] and potential energy [F, R] of thermal replicas."""
    ions = make(**PROGRAM, temperature=[kelvin] * REPLICAS, tdamp_fs=20.0)
    state = ions.run(1000, "langevin")[-1].state
    parts = ions.run(STRIDE * N_FRAMES, THERMOSTATS[name], md.restart(state))
    momentum = np.array([part.state.motion.momentum for part in parts])
    return momentum, np.array([part.series.potential_energy[-1] for part in parts])


def inefficiency(series):
    """Frames per independent sample of [F, R], from the mean autocorrelation over R.

    Twice the sum of the absolute values up to where noise begins: an upper bound.
    """
    away = series - series.mean()
    power = np.abs(np.fft.rfft(away, 2 * len(away), axis=0)) ** 2
    correlation = np.fft.irfft(power, axis=0)[: len(away)].sum(axis=1)
    correlation /= correlation[0] * (1 - np.arange(len(away)) / len(away))
    noise = 3 / np.sqrt(away.size)
    first = int(np.argmax(np.abs(correlation) < noise))
    return int(np.ceil(1 + 2 * np.abs(correlation[1:first]).sum()))


def independent(series):
    """Samples of [F, R] that follow each other independently, of all replicas."""
    return series[:: inefficiency(series)].ravel()


def kinetic(momentum, mass=SYSTEM.mass):
    """Kinetic energy, eV, of momenta [..., N, 3]."""
    return (momentum**2).sum(axis=-1) @ (0.5 / np.asarray(mass))


def data(kelvin=KELVIN, ensemble="NVT", dt=1.0, system=SYSTEM, lost=3, **observables):
    """What the package takes: 3N - `lost` degrees of freedom."""
    n = system.n_atoms
    return validation.data.SimulationData(
        units=UNITS,
        dt=dt,
        system=validation.data.SystemData(
            natoms=n,
            nconstraints=0,
            ndof_reduction_tra=lost,
            ndof_reduction_rot=0,
            mass=np.asarray(system.mass),
            molecule_idx=np.arange(n),
            nconstraints_per_molecule=np.zeros(n),
        ),
        ensemble=validation.data.EnsembleData(
            ensemble, natoms=n, volume=np.linalg.det(system.cell), temperature=kelvin
        ),
        observables=validation.data.ObservableData(**observables),
    )


def kinetic_checks(values, lost=3):
    """p of the distribution; distances of mean and width from what T demands."""
    simulation = data(kinetic_energy=values, lost=lost)
    check = functools.partial(
        validation.kinetic_energy.distribution,
        simulation,
        verbosity=0,
        bootstrap_seed=1,
        data_is_uncorrelated=True,
    )
    return check(strict=True), check(strict=False)


@by_name
@pytest.mark.slow
def test_kinetic_energy_has_the_distribution_of_3n_minus_3(lab, name):
    """p above 1e-3 and distances below 4; with 3N degrees of freedom it must fail."""
    values = independent(kinetic(sample(lab, name, KELVIN)[0]))
    assert len(values) > 800
    p, (mean, width) = kinetic_checks(values)
    print(name, len(values), p, mean, width)
    assert p > 1e-3
    assert max(mean, width) < 4
    p_of_all, (mean_of_all, _) = kinetic_checks(values, lost=0)
    assert p_of_all < 1e-6
    assert mean_of_all > 6


@by_name
@pytest.mark.slow
def test_kinds_of_ions_share_the_temperature(lab, name):
    """<K> of a kind is (3/2) kT Σ (1 - m/M), since the total momentum is zero.

    For n ions of one mass with sum m' this is a chi-squared law of 3n - 3 degrees of
    freedom for their relative motion, and 1 - m'/M times one of 3 for their centre.
    """
    momentum = sample(lab, name, KELVIN)[0]
    kt, total = units.KB * KELVIN, SYSTEM.mass.sum()
    for kind in (3, 9):
        of_kind = SYSTEM.atomic_number == kind
        mass = SYSTEM.mass[of_kind]
        values = independent(kinetic(momentum[:, :, of_kind], mass))
        centre = 1 - mass.sum() / total
        mean = kt / 2 * (3 * len(mass) - 3 + 3 * centre)
        variance = kt**2 / 2 * (3 * len(mass) - 3 + 3 * centre**2)
        z_mean = (values.mean() - mean) / np.sqrt(variance / len(values))
        ratio = values.var(ddof=1) / variance
        # relative error of a variance of a chi-squared law: sqrt((2 + 12/dof)/n)
        error = np.sqrt((2 + 12 / (3 * len(mass) - 2)) / len(values))
        print(name, kind, len(values), z_mean, (ratio - 1) / error)
        assert abs(z_mean) < 4
        assert abs(ratio - 1) < 4 * error


@by_name
@pytest.mark.slow
def test_equipartition_by_physical_validation(lab, name):
    """Li against F. The package takes 3/N from every ion, whatever its mass: for nine
    ions that is 5 % too little for Li, so it is given the numbers of the test above. It
    knows no law for them but the chi-squared one, so that only the means are asserted.
    """
    momentum = sample(lab, name, KELVIN)[0]
    velocity = momentum / np.asarray(SYSTEM.mass)[:, None]
    every = inefficiency(kinetic(momentum))
    frames = velocity[::every].reshape(-1, SYSTEM.n_atoms, 3)
    simulation = data()
    simulation.system.ndof_per_molecule = [
        dict.fromkeys(("total", "translational"), 3 * (1 - m / SYSTEM.mass.sum()))
        | dict.fromkeys(("rotational and internal", "rotational", "internal"), 0)
        for m in SYSTEM.mass
    ]
    simulation.trajectory = validation.data.TrajectoryData(0 * frames, frames)
    groups = [np.flatnonzero(SYSTEM.atomic_number == kind).tolist() for kind in (3, 9)]
    distances = validation.kinetic_energy.equipartition(
        simulation, molec_groups=groups, verbosity=0, bootstrap_seed=1,
        data_is_uncorrelated=True,
    )  # fmt: skip
    print(name, distances)
    assert max(mean for mean, width in distances) < 4


@pytest.mark.long
@by_name
def test_ratio_of_two_temperatures_is_boltzmann(lab, name):
    """ln P2(U)/P1(U) is a line of slope 1/kT1 - 1/kT2."""
    cold = independent(sample(lab, name, KELVIN)[1])
    first = data(potential_energy=cold)
    interval = validation.ensemble.estimate_interval(
        first, verbosity=0, data_is_uncorrelated=True
    )["dT"]
    warmer = KELVIN + round(interval)
    warm = independent(sample(lab, name, warmer)[1])
    check = functools.partial(
        validation.ensemble.check, first, data_is_uncorrelated=True, verbosity=0
    )
    (distance,) = check(data(warmer, potential_energy=warm))
    print(name, interval, len(cold), len(warm), distance)
    assert distance < 3.5
    # the same energies, said to be of a temperature twice as far away
    (wrong,) = check(data(KELVIN + 2 * (warmer - KELVIN), potential_energy=warm))
    assert wrong > 5


@by_name
def test_total_momentum_stays_zero(lab, name):
    """Round-off of 10,000 steps on momenta of about 1 u·Å/time."""
    momentum = sample(lab, name, KELVIN)[0]
    assert np.abs(momentum.sum(axis=2)).max() < 1e-11


@pytest.mark.parametrize("thermostat", ["nve", "nose-hoover"])
def test_fluctuation_of_the_conserved_energy_is_of_second_order(lab, thermostat):
    """Of 2, 1 and 0.5 fs: within 20 % of the square of the time step, over 0.4 ps."""
    simulations = []
    for femtoseconds in (2.0, 1.0, 0.5):
        ions = lab(**PROGRAM, temperature=[KELVIN] * REPLICAS, timestep_fs=femtoseconds)
        parts = ions.run(round(400 / femtoseconds), thermostat)
        conserved = np.concatenate([part.series.conserved_energy[:, 0] for part in parts])
        simulations.append(
            data(ensemble="NVE", dt=femtoseconds, constant_of_motion=conserved)
        )
    deviation = validation.integrator.convergence(simulations, verbose=False)
    print(thermostat, deviation)
    assert deviation < 0.2


def einstein_crystal(lab, thermostat):
    """Displacements [F, R, 3N], each scaled to a variance of 1, of one frequency.

    Springs in proportion to the masses: 65 ions, 192 normal modes, all of 63 fs.
    """
    mass = np.asarray(rock_salt_interstitial(2).mass)
    stiffness = mass * 0.95  # ω = 0.975: a period of 2π/0.975 · 10.18 fs = 65.6 fs
    crystal = lab(
        potentials.einstein, temperature=[KELVIN] * 2, stiffness=stiffness[:, None],
        cutoff=2.0, steps_per_frame=20, frames_per_chunk=1, friction_per_ps=20.0,
        integrators=("nve", "langevin", "nose-hoover", "csvr"),
    )  # fmt: skip
    state = crystal.run(1000, "langevin")[-1].state
    parts = crystal.run(12_000, thermostat, md.restart(state))
    away = np.array([part.state.motion.position for part in parts])
    away = (away - np.asarray(crystal.params["site"])) * np.sqrt(stiffness)[:, None]
    return away.reshape(*away.shape[:2], -1) / np.sqrt(units.KB * KELVIN)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("thermostat", "ergodic"),
    [
        ("nose-hoover", False),
        ("csvr", False),
        ("langevin", True),
    ],
)
def test_one_frequency_defeats_a_thermostat_that_only_scales(lab, thermostat, ergodic):
    """A force -ζ(t) p with one ζ for all, or momenta scaled by one random α(t), keep every
    oscillator of the same frequency on the same linear equation: all displacements are
    combinations of two functions of time, and each keeps its share of the energy. So do
    the chain and CSVR, Langevin's noise does not. Real crystals couple their modes."""
    scaled = einstein_crystal(lab, thermostat)
    spread, rank = [], []
    for replica in scaled.swapaxes(0, 1):
        spread.append((replica**2).mean(axis=0).std())  # of <U_i> / (kT/2) over i
        power = np.linalg.svd(replica, compute_uv=False) ** 2
        rank.append(power[:2].sum() / power.sum())
    print(thermostat, spread, rank)
    if ergodic:
        assert max(spread) < 0.25
        assert max(rank) < 0.1
    else:
        assert min(spread) > 0.7  # of kT exp(-E/kT) at the start, kept for ever: about 1
        assert min(rank) > 1 - 1e-9


@pytest.mark.long
def test_thermostat_does_not_change_diffusion():
    """D of Li from MSD(2 ps) - MSD(1 ps), with an interstitial that hops at 1200 K."""
    protocol = ionic.Protocol(6.0, 1200.0, 6, 2000, frames=2000, friction_per_ps=1.0)
    system, lags = rock_salt_interstitial(2), (100, 200)
    result = {}
    for name, thermostat in {"constant energy": "nve", **THERMOSTATS}.items():
        run = ionic.run_jaxdiff(system, protocol, thermostat)
        means = ionic.block_means(run, system.atomic_number, lags, blocks=3)
        slope = {kind: means[f"msd_{kind}_200"] - means[f"msd_{kind}_100"] for kind in LIF}
        result[name], fluoride = (ionic.mean_and_error(slope[kind] / 6) for kind in LIF)
        print(name, "D of Li, of F, Å²/ps:", result[name], fluoride)
        assert fluoride[0] < 0.1 * result[name][0]  # the crystal holds
    _, limit = scipy.stats.chi2.interval(0.995, len(THERMOSTATS))  # p = 0.0025 above it
    value, error = np.array(list(result.values())).T
    assert (error < 0.2 * value).all()
    weight = 1 / error**2
    away = (value - weight @ value / weight.sum()) / error
    assert away @ away < limit
