"""Diffusion without sites, on walks whose diffusivity, tensor and Haven ratio are known."""

import dataclasses

import numpy as np
import pytest
from lattice_walks import JUMP, KINDS, VIBRATION, cages, carriers

from jaxdiff.analysis.conductivity import conductivity
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.tensor import PAIRS, positive, ratio, tensor
from jaxdiff.analysis.transport import LEAST_FRAMES, Paths, measure
from jaxdiff.analysis.transport_study import study_transport

REPETITIONS, N_FRAMES = 8, 200


@pytest.fixture(scope="module")
def found():
    """Of each kind of walk several trajectories; D* as a ratio to the truth."""
    return {
        name: [measure([kind.paths(seed, N_FRAMES)]) for seed in range(REPETITIONS)]
        for name, kind in KINDS.items()
    }


@pytest.mark.parametrize("name", KINDS)
def test_diffusivities_are_those_of_the_walk(found, name):
    """Means of 8 trajectories within three of their standard errors, which are honest."""
    kind = KINDS[name]
    for rows, truth in (
        ([m.tracer.mean for m in found[name]], kind.diffusivity),
        ([m.charge.mean for m in found[name]], kind.diffusivity / kind.haven_ratio),
    ):
        value = np.array([row.value for row in rows]) / truth * 1e4
        error = np.array([row.standard_error for row in rows]) / truth * 1e4
        expected = np.sqrt((error**2).mean())
        assert abs(value.mean() - 1) < 3 * expected / np.sqrt(REPETITIONS)
        assert 0.4 < value.std(ddof=1) / expected < 1.8


@pytest.mark.parametrize("name", KINDS)
def test_intervals_hold_the_truth(found, name):
    """95 % of them in the long run (benchmarks/transport_coverage.py); here 6 of 8."""
    kind = KINDS[name]
    truth = 1e-4 * kind.diffusivity
    for given, expected in (
        ([m.tracer.mean for m in found[name]], truth),
        ([m.charge.mean for m in found[name]], truth / kind.haven_ratio),
        ([m.haven_ratio for m in found[name]], kind.haven_ratio),
    ):
        inside = [e.interval[0] <= expected <= e.interval[1] for e in given]
        assert sum(inside) >= 6


@pytest.mark.parametrize(
    ("name", "axis", "groups"), [("layers", 2, (0, 0, 1)), ("channels", 2, (0, 1, 1))]
)
def test_layers_and_channels_are_seen_as_such(found, name, axis, groups):
    """The normal of the layers has the last axis, that of the channels the first."""
    for motion in found[name]:
        assert motion.tracer.group == groups
        odd = motion.tracer.axes[2 if name == "layers" else 0]
        assert abs(odd[axis]) > 0.97
    along = [m.tracer.principal[0].value for m in found[name]]
    assert np.mean(along) == pytest.approx(1e-4 * KINDS[name].principal[0], rel=0.05)


def test_a_direction_without_motion_has_an_upper_bound_alone(found):
    for motion in found["layers"]:
        for given in (motion.tracer, motion.charge):
            assert given.principal[2].interval[0] < 0.02 * given.principal[0].value


def test_a_crystal_at_rest_does_not_diffuse():
    """Vibrations alone: the bound is that of a hop which was not seen."""
    for seed in range(8):
        still = measure([carriers(32, (0.0, 0.0, 0.0)).paths(seed, N_FRAMES)])
        low, high = still.tracer.mean.interval
        assert low == 0
        assert 1e-4 * JUMP**2 / 6 / (32 * 19.9) * 3 < high < 2e-6
        assert still.n_far == 0
        low, high = still.haven_ratio.interval
        assert not high < 10 * low


def test_nothing_moves_at_all():
    paths = carriers(8, (0.0, 0.0, 0.0)).paths(0, 40)
    still = dataclasses.replace(paths, displacement=np.zeros_like(paths.displacement))
    motion = measure([still])
    assert motion.tracer.mean.value == 0 < motion.tracer.mean.interval[1]
    assert motion.charge.mean.value == 0


def test_one_atom_alone_has_an_error():
    motion = measure([carriers(1, (2.0, 2.0, 2.0)).paths(3, 400)])
    low, high = motion.tracer.mean.interval
    assert low < 4e-4 < high < 4e-3
    assert motion.tracer.group == (0, 0, 0)


def test_turning_the_crystal_turns_the_tensor():
    """Same values to rounding, axes turned."""
    paths = KINDS["channels"].paths(0, N_FRAMES)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turned = dataclasses.replace(
        paths, displacement=(paths.displacement @ turn).astype("f4")
    )
    one, two = measure([paths]), measure([turned])
    expected = turn.T @ np.array(one.tracer.matrix) @ turn
    np.testing.assert_allclose(two.tracer.matrix, expected, atol=1e-9)
    for name in ("tracer", "charge"):
        first, second = getattr(one, name), getattr(two, name)
        values = [[e.value for e in t.principal] for t in (first, second)]
        np.testing.assert_allclose(*values, rtol=1e-3)
    overlap = abs(np.array(one.tracer.axes[0]) @ turn @ np.array(two.tracer.axes[0]))
    assert overlap == pytest.approx(1, abs=1e-6)


def test_two_trajectories_know_more_than_one():
    kind = KINDS["independent carriers"]
    several = [kind.paths(seed, N_FRAMES) for seed in range(4)]
    one, all_four = measure(several[:1]), measure(several)
    assert all_four.n_trajectories == 4
    gain = one.tracer.mean.standard_error / all_four.tracer.mean.standard_error
    assert 1.5 < gain < 2.7
    each = [measure([paths]).charge.mean.value for paths in several]
    assert all_four.charge.mean.value == pytest.approx(np.mean(each), rel=1e-9)


def test_a_cage_is_left_behind_by_the_offset():
    """Rattling in a cage is 3.5 times the motion between cages at the first lag."""
    kind = cages(96, 5.0, 0.02)
    values = [measure([kind.paths(s, 400)]).tracer.mean.value for s in range(6)]
    assert np.mean(values) == pytest.approx(1e-4 * kind.diffusivity, rel=0.15)


def test_too_few_frames_are_refused():
    with pytest.raises(ValueError, match=f"needs {LEAST_FRAMES} at least"):
        measure([KINDS["few atoms"].paths(0, LEAST_FRAMES - 1)])


def test_conductivity_of_one_ion_per_cubic_nanometre():
    """n e² D / kT with 1e21 ions per cm³, D = 1e-5 cm²/s at 300 K: SI by hand."""
    d = Estimate(1e-5, 1e-6, (0.8e-5, 1.2e-5), 100, "cm^2/s")
    siemens_per_m = 1e27 * 1.602176634e-19**2 * 1e-9 / (1.380649e-23 * 300)
    found = conductivity(d, 1.0, 1e-3, 300.0)
    assert found.value == pytest.approx(siemens_per_m / 100, rel=1e-6)
    assert conductivity(d, -2.0, 1e-3, 300.0).value == pytest.approx(4 * found.value)


def test_an_activation_energy_and_a_conductivity_at_300_kelvin():
    """Independent carriers at three temperatures, 0.25 eV; σ(300 K) by Nernst–Einstein."""
    kelvin, energy, boltzmann = (700.0, 850.0, 1000.0), 0.25, 8.617333262e-5
    several = []
    for number, t in enumerate(kelvin):
        rate = 0.5 * np.exp(-energy / boltzmann * (1 / t - 1 / 1000))
        several.append([carriers(64, (rate,) * 3).paths(number, 300, t)])
    study = study_transport(
        several, mobile="Na", formula="NaS", charge=1.0, charge_from="as given", why="w"
    )
    line = study.tracer_line
    low, high = line.activation_energy.interval
    assert low < energy < high < low + 0.2
    assert line.extrapolated
    d = 0.5 * JUMP**2 / 2 * np.exp(-energy / boltzmann * (1 / 300 - 1 / 1000)) * 1e-4
    truth = d * 1e24 / (2 * JUMP**3) * 1.602176634e-19 / (boltzmann * 300)
    low, high = line.room_conductivity.interval
    assert low < truth < high < 100 * low
    assert {c.name for c in study.checks if c.passed is False} <= {
        "collective motion is known",
        "D* is known",
    }


def test_a_framework_that_melts_fails_the_check():
    """The other atoms walk as far as the mobile ones."""
    paths = carriers(64, (0.3, 0.3, 0.3)).paths(0, N_FRAMES)
    melted = dataclasses.replace(paths, is_mobile=np.arange(128) % 2 == 0)
    moving = dataclasses.replace(
        melted,
        atomic_number=np.where(melted.is_mobile, 11, 17),
        displacement=np.repeat(paths.displacement[:, :64], 2, axis=1),
    )
    study = study_transport(
        [[moving]], mobile="Na", formula="NaCl", charge=1, charge_from="", why=""
    )
    assert "framework stands" in {c.name for c in study.checks if c.passed is False}
    still = study_transport(
        [[paths]], mobile="Li", formula="LiS", charge=1, charge_from="", why=""
    )
    assert "framework stands" in {c.name for c in still.checks if c.passed}


def test_the_interval_of_a_count_and_of_a_variance():
    """Between the exact ones of Poisson (11 hops) and of χ² (11 squares of two)."""
    low, high = positive(11.0, np.sqrt(11), "1").interval
    assert 5.49 < low < 6.5
    assert 18.0 < high < 22.1
    below, above = (positive(2.0 - d, 1.0, "1").interval[1] for d in (1e-9, -1e-9))
    assert below == pytest.approx(above, rel=1e-6)
    assert positive(-0.5, 0.1, "1").interval == pytest.approx((0, 0.3))
    assert positive(0.0, 0.0, "1", bound=0.7).interval == (0.0, 0.7)
    assert positive(1.0, 0.7, "1").interval[0] == 0
    assert 0.2 < positive(1.0, 0.7, "1", still=0.3).interval[0] < 0.3


def test_a_ratio_of_what_is_not_known_is_bounded():
    one, little = positive(4.0, 0.2, "1"), positive(0.1, 0.5, "1")
    bounded = ratio(one, little)
    assert np.isnan(bounded.value)
    assert bounded.interval == (one.interval[0] / little.interval[1], np.inf)


def test_values_that_cannot_be_told_apart_have_their_mean():
    six = np.array([3.0, 3.1, 1.0, 0, 0, 0])
    plane = tensor(six, np.diag([0.1, 0.1, 0.01, 0.1, 0.1, 0.1]) ** 2 * 9, "1")
    assert plane.group == (0, 0, 1)
    assert [e.value for e in plane.principal] == pytest.approx([3.05, 3.05, 1.0])
    apart = tensor(six, np.diag([0.01] * 6) ** 2, "1")
    assert apart.group == (0, 1, 2)
    alike = tensor(six, np.diag([2.0] * 6) ** 2, "1")
    assert alike.group == (0, 0, 0)
    assert alike.principal[0].value == pytest.approx(7.1 / 3)
    assert len(PAIRS) == 6


def test_vibrations_stay_out_of_the_diffusivity():
    kind = KINDS["independent carriers"]
    line = measure([kind.paths(5, 600)]).lines[0]
    assert line.offset == pytest.approx(6 * VIBRATION**2, abs=0.4)
    assert isinstance(kind.paths(5, 30), Paths)
