"""Errors of differences of energies along a jump, against labels."""

import dataclasses

import ase
import numpy as np
import pytest

from jaxdiff import checkpoints
from jaxdiff.calculator import predict_atoms
from jaxdiff.io.frame import Frame
from jaxdiff.io.frames import read_frames
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.objectives.calibration import calibrate, calibrated
from jaxdiff.objectives.last_layer import LastLayer, energy_feature, fit_last_layer
from jaxdiff.objectives.paths import lithium_path


def test_the_factor_makes_errors_right_that_are_not():
    """Errors a third of what they should be, of many pairs; sampling errors of 2 %."""
    rng = np.random.default_rng(0)
    error = rng.uniform(0.1, 1, 4000)
    found = calibrated(3 * error * rng.normal(size=4000), error, 0.4)
    assert found.factor == pytest.approx(3, rel=0.05)
    assert found.within_two == pytest.approx(0.495, abs=0.03)  # of P(|x| < 2/3)
    assert found.scaled_within_one == pytest.approx(0.683, abs=0.03)
    assert found.scaled_within_two == pytest.approx(0.954, abs=0.02)
    assert found.trusted
    assert found.mean_ev == pytest.approx(0, abs=4 * found.mean_error_ev)


def test_a_factor_that_does_not_hold_elsewhere_is_not_trusted():
    """Every other pair is ten times as wrong: the halves do not have one factor."""
    rng = np.random.default_rng(1)
    size = np.where(np.arange(400) % 2 == 0, 1, 10)
    found = calibrated(size * rng.normal(size=400), np.ones(400), 0.4)
    assert not found.trusted


CELL, LITHIUM = (2, 2, 2), 3


def frames(model, weights, n, *, interstitial=True):
    """Frames on the way of a jump, with labels of a model with other last weights."""
    rng, found = np.random.default_rng(4), []
    path = lithium_path("collinear", CELL)
    kept = slice(None) if interstitial else slice(None, -1)
    number = np.asarray(path.system.atomic_number)[kept]
    for q in rng.uniform(0, 1, n):
        place = np.asarray(path.first + q * (path.last - path.first))[kept]
        place = place + rng.normal(0, 0.1, place.shape)
        atoms = ase.Atoms(number, place, cell=path.system.cell, pbc=True)
        energy = float(predict_atoms(model, atoms).energy)
        energy += float(energy_feature(model, atoms) @ weights)
        frame = Frame(number, place, atoms.cell.array, atoms.pbc, energy, None, None)
        found.append(frame)
    return found


@pytest.mark.slow
def test_frames_with_labels_of_other_weights_say_how_wrong_the_weights_are():
    """The errors of the prior that they were drawn from are right; half of it is half."""
    model = checkpoints.restrict(checkpoints.load("lif-compact"), (3, 9))
    size, s = len(energy_feature(model, ase.Atoms("LiF", [[0, 0, 0], [2, 0, 0]]))), 0.01
    weights = s * np.random.default_rng(2).normal(size=size)
    given = frames(model, weights, 48)
    prior = LastLayer(s**2 * np.eye(size), 0, 0, 1.0, 1.0)
    found = calibrate(model, prior, given, ROCK_SALT, LITHIUM)
    assert found is not None
    assert found.pairs == 24
    assert 0.3 < found.furthest <= 0.5
    half = calibrate(model, prior.scaled(0.5), given, ROCK_SALT, LITHIUM)
    assert half is not None
    assert half.factor == pytest.approx(2 * found.factor)
    assert half.scaled_within_two == found.scaled_within_two
    assert found.within_two > half.within_two
    # one draw of weights for all pairs, so the factor has a wide distribution
    assert 0.3 < found.factor < 3

    without = [dataclasses.replace(frame, energy=None) for frame in given]
    assert calibrate(model, prior, without, ROCK_SALT, LITHIUM) is None
    bulk = frames(model, weights, 2, interstitial=False)
    assert calibrate(model, prior, bulk + given[:18], ROCK_SALT, LITHIUM) is None


@pytest.mark.slow
def test_frames_of_dynamics_with_labels(shared):
    """Of the deposit: bulk has no way, an interstitial is somewhere on it; errors come out
    within a factor of five as they are, and hold with the factor.
    """
    folder = shared / "data" / "lif_dft"
    train = read_frames([folder / "pool_train.extxyz"])[::14]
    valid = read_frames([folder / "loop_valid.extxyz"])[:70]
    model = checkpoints.restrict(checkpoints.load("lif-compact"), (3, 9))
    posterior = fit_last_layer(model, train, valid)
    found = calibrate(model, posterior, valid[1::2], ROCK_SALT, LITHIUM)
    assert found is not None
    n = sum(len(frame.atomic_number) == 217 for frame in valid[1::2])
    assert found.pairs == n // 2
    assert 0.2 < found.furthest <= 0.5
    assert 0.2 < found.factor < 5
    assert found.trusted
