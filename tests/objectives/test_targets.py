"""Training with a barrier, an activation energy or a diffusivity as a target."""

import dataclasses
import json
import re

import ase.io
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from jaxdiff.calculator import predict_atoms
from jaxdiff.cli import app
from jaxdiff.finetune import targets as training_targets
from jaxdiff.finetune.targets import Target, departure, of_epoch, target_loss
from jaxdiff.io.trainfile import TargetSection, read_train_file

RUN = """
seed = 1
directory = "{folder}/{name}"
[model]
name_or_path = "lif-compact"
[data]
train = ["train.xyz"]
valid = ["train.xyz"]
isolated_atom_ev = "foundation"
allow = ["shared_frames"]
[[targets]]
kind = "barrier"
paths = ["collinear"]
supercell = 2
target_ev = {goal}
uncertainty_ev = 0.01
[optimizer]
epochs = 2
batch_size = 2
learning_rate = 3e-4
"""


def section(**changes):
    """A barrier's, or that of another kind."""
    given = {"kind": "barrier", "paths": ["collinear"], "supercell": 2, "target_ev": 0.2}
    return TargetSection.model_validate(given | {"uncertainty_ev": 0.01} | changes)


def target(collinear, **changes):
    """At the points of the collinear jump, for as many paths as named."""
    surface, found = collinear
    own = section(**changes)
    n = len(own.paths)
    return Target(
        surface=surface,
        saddle=jnp.stack([found.saddle.position] * n),
        minimum=jnp.stack([found.start.position] * n),
        log_prefactor=jnp.log(jnp.array([2.0, 5.0])[:n]),
        section=own,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, compact, collinear):
    """Labels that the model meets already, and the points of the jump, found before."""
    folder = tmp_path_factory.mktemp("targets")
    rng, frames = np.random.default_rng(0), []
    for _ in range(4):
        atoms = bulk("LiF", "rocksalt", a=4.08, cubic=True)
        atoms.positions += rng.normal(0, 0.1, (8, 3))
        found = predict_atoms(compact, atoms)
        atoms.info["REF_energy"] = float(found.energy)
        atoms.info["REF_stress"] = np.asarray(found.stress).ravel()
        atoms.arrays["REF_forces"] = np.asarray(found.forces)
        frames.append(atoms)
    ase.io.write(folder / "train.xyz", frames, format="extxyz")
    return folder


def trained(folder, name, goal, collinear, *options):
    """Exit code and output of the command, in a folder with the points of epoch 0."""
    (folder / f"{name}.toml").write_text(RUN.format(folder=folder, name=name, goal=goal))
    start = folder / name / "targets" / "0.npz"
    if not start.exists():
        training_targets._write(start, (target(collinear),))
    command = ["finetune", str(folder / f"{name}.toml"), *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return result.output


def metrics(folder, name):
    """Of every epoch, without what the clock says."""
    lines = (folder / name / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]


@pytest.fixture(scope="module")
def moved(folder, collinear):
    """A training run of two epochs: the barrier's goal, and what the command said."""
    goal = collinear[1].forward_ev + 0.02
    return goal, trained(folder, "whole", goal, collinear)


@pytest.mark.long
def test_training_moves_the_barrier(folder, collinear, moved):
    goal, output = moved
    assert re.search(r"target barrier_collinear: 0\.15\d+ now, 0\.17\d+ wanted", output)
    outcome = json.loads((folder / "whole/targets.json").read_text())["barrier_collinear"]
    before, after = collinear[1].forward_ev, outcome["value"]
    assert before + 0.005 < after < goal + 0.015
    assert outcome["goal"] == goal
    assert abs(outcome["change_of_points"]) < 2e-3
    kept = sorted(path.name for path in (folder / "whole/targets").iterdir())
    assert kept == ["0.npz", "1.npz"]
    first = metrics(folder, "whole")[0]["targets"]["barrier_collinear"]
    assert first != pytest.approx(before, abs=1e-4)


@pytest.mark.long
def test_a_restart_between_epochs_changes_nothing(folder, collinear, moved):
    goal, _ = moved
    trained(folder, "cut", goal, collinear, "--set", "optimizer.epochs=1")
    trained(folder, "cut", goal, collinear)
    for one, other in zip(metrics(folder, "whole"), metrics(folder, "cut"), strict=True):
        assert one | {"compilations": 0} == other | {"compilations": 0}


@pytest.mark.slow
def test_the_value_of_a_barrier_is_the_barrier(compact, collinear):
    own = target(collinear)
    assert float(own.value(compact)) == pytest.approx(collinear[1].forward_ev, abs=1e-9)
    score = (collinear[1].forward_ev - 0.2) / 0.01
    assert float(target_loss(compact, (own, own))) == pytest.approx(2 * score**2, rel=1e-6)


@pytest.mark.slow
def test_values_of_a_network_of_two_paths(compact, collinear):
    """Equal barriers: Ea is the barrier, and D the sum over 4 and 12 ways."""
    both = {"paths": ["collinear", "noncollinear_2"], "temperature_kelvin": 500.0}
    barrier, a = collinear[1].forward_ev, section().lattice_constant_angstrom
    energy = target(collinear, kind="activation_energy", **both)
    assert float(energy.value(compact)) == pytest.approx(barrier, abs=1e-9)
    number = {"target_cm2_per_s": 1e-4, "uncertainty_factor": 1.1}
    none = {"target_ev": None, "uncertainty_ev": None}
    diffusivity = target(collinear, kind="diffusivity", **both, **number, **none)
    ways = 2.0 * 4 * 0.75 * a**2 + 5.0 * 12 * 0.25 * a**2
    expected = ways / 6 * 1e-4 * np.exp(-barrier / (8.617333e-5 * 500))
    assert float(diffusivity.value(compact)) == pytest.approx(np.log(expected), rel=1e-6)
    assert diffusivity.section.goal == pytest.approx(np.log(1e-4))
    assert diffusivity.section.uncertainty == pytest.approx(np.log(1.1))


@pytest.mark.long
def test_points_are_those_of_the_model_after_it_has_changed(compact, collinear):
    """A stiffer model: its points have no forces, the old ones have."""
    readouts = {
        i: {k: 1.02 * v for k, v in own.items()}
        for i, own in compact.weights["readouts"].items()
    }
    other = dataclasses.replace(compact, weights=compact.weights | {"readouts": readouts})
    old = target(collinear)
    (new,) = training_targets.refreshed(other, (old,))
    for point in (new.saddle[0], new.minimum[0]):
        force = new.surface.energy_and_force(other, point)[1]
        assert float(jnp.linalg.norm(force, axis=1).max()) <= 1e-3
    moved = jnp.linalg.norm(new.saddle - old.saddle, axis=-1).max()
    assert 1e-4 < float(moved) < 0.3


def test_departure_is_relative_to_each_array(compact):
    moved = {k: v for k, v in compact.weights.items()} | {
        "embedding": 1.1 * compact.weights["embedding"]
    }
    other = dataclasses.replace(compact, weights=moved)
    assert float(departure(other, compact)) == pytest.approx(0.01, rel=1e-6)
    assert float(departure(compact, compact)) == 0


def test_no_targets_need_no_search(tmp_path, compact):
    assert of_epoch(tmp_path, 0, compact, ()) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("target_ev = 0.2\n", "takes target_ev, uncertainty_ev; given target_ev"),
        (
            "target_ev = 0.2\nuncertainty_ev = 0.1\ntemperature_kelvin = 300\n",
            "given target_ev, temperature_kelvin, uncertainty_ev",
        ),
        ("target_ev = -0.2\nuncertainty_ev = 0.1\n", "greater than 0"),
        ("target_mev = 200\n", "did you mean target_ev"),
    ],
)
def test_a_target_that_cannot_be_meant(tmp_path, changes, message):
    text = RUN.format(folder=tmp_path, name="x", goal=0.2)
    text = text.replace("target_ev = 0.2\nuncertainty_ev = 0.01\n", changes)
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_train_file(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": ["collinear", "direct"]}, "a barrier is that of one path"),
        (
            {
                "kind": "activation_energy",
                "paths": ["collinear", "vacancy"],
                "temperature_kelvin": 300,
            },
            "another defect than the interstitial",
        ),
        (
            {
                "kind": "activation_energy",
                "paths": ["direct", "direct"],
                "temperature_kelvin": 300,
            },
            "a path occurs twice",
        ),
    ],
)
def test_paths_that_make_no_target(changes, message):
    with pytest.raises(ValueError, match=message):
        section(**changes)


def test_targets_of_one_name_are_refused_and_of_two_temperatures_are_not(tmp_path):
    """What they are called is where their values are kept."""
    table = """[[targets]]
kind = "activation_energy"
paths = ["collinear"]
supercell = 2
target_ev = 0.2
uncertainty_ev = 0.01
temperature_kelvin = {}
"""
    text = RUN.format(folder=tmp_path, name="x", goal=0.2)
    path = tmp_path / "run.toml"
    path.write_text(text + table.format(300) + table.format(500))
    names = [target.name for target in read_train_file(path).targets]
    assert len(set(names)) == 3
    path.write_text(text + table.format(300) + table.format(300))
    with pytest.raises(ValueError, match="two targets are the same"):
        read_train_file(path)
