"""A DeepPot-SE model from random weights in the training loop, and what the frames fix."""

import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import neighbor_list

from jaxdiff import checkpoints
from jaxdiff.finetune import loop, read_frames
from jaxdiff.finetune.scratch import scratch_model
from jaxdiff.io.trainfile import read_train_file

RUN = """
seed = 3
directory = "{folder}/out"
precision = "float64"
[data]
train = ["train.xyz"]
valid = ["valid.xyz"]
isolated_atom_ev = {{ Li = -10.0, F = -20.0 }}
[scratch]
family = "deepmd"
cutoff_angstrom = 3.2
smooth_from_angstrom = 1.0
neuron = [4, 8]
axis_neuron = 2
fitting_neuron = [6, 6]
{more}
[loss]
kind = "weighted"
[optimizer]
kind = "adam"
epochs = 6
batch_size = 2
learning_rate = 0.02
average_decay = 0.0
"""


def pairs_energy(atoms):
    """Of a repulsion that any model learns the sign of, and its forces."""
    i, r, vector = neighbor_list("idD", atoms, 3.0)
    wave = np.cos(0.5 * np.pi * r / 3.0)
    slope = -2 * wave * np.sin(0.5 * np.pi * r / 3.0) * 0.5 * np.pi / 3.0
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, 4 * (slope / r)[:, None] * vector)
    return 2 * np.sum(wave**2), forces


@pytest.fixture
def run(tmp_path):
    """Makes the run file's content; `more` are further keys of [scratch]."""
    for name, seeds in (("train", range(6)), ("valid", (8, 9))):
        frames = []
        for seed in seeds:
            atoms = bulk("LiF", "rocksalt", a=4.0, cubic=True)
            atoms.rattle(0.15, seed=seed)
            energy, forces = pairs_energy(atoms)
            atoms.info["REF_energy"] = energy - 30.0 * 4
            atoms.arrays["REF_forces"] = forces
            frames.append(atoms)
        ase.io.write(tmp_path / f"{name}.xyz", frames, format="extxyz")

    def read(more=""):
        path = tmp_path / "train.toml"
        path.write_text(RUN.format(folder=tmp_path, more=more))
        return read_train_file(path)

    return read


@pytest.mark.slow
def test_training_and_the_file_of_deepmd_kit(run, tmp_path):
    model = loop.train(run()).model
    lines = (tmp_path / "out/metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["valid_loss"] for line in lines]
    assert losses[-1] < 0.5 * losses[0]
    checkpoints.save(tmp_path / "m.dp", model)
    again = checkpoints.load(tmp_path / "m.dp")
    for name in ("0", "1", "2"):
        matrix = model.weights["fitting"][name]["matrix"]
        np.testing.assert_array_equal(again.weights["fitting"][name]["matrix"], matrix)
    kept = json.loads((tmp_path / "out/run.json").read_text())["scratch"]
    assert kept["family"] == "deepmd"
    assert kept["resnet_dt"] is True


@pytest.mark.slow
def test_statistics_are_those_of_the_frames(run):
    read = run("selection = { F = 20, Li = 30 }")
    frames = read_frames(read.data.train)
    model = scratch_model(read, frames, (3, 9), np.array([-10.0, -20.0]))
    arch = model.architecture
    assert (arch.selection, arch.places) == ((30, 20), 50)
    total, square, atoms = 0.0, 0.0, 0
    for frame in frames:
        crystal = ase.Atoms(frame.atomic_number, frame.position, cell=frame.cell, pbc=True)
        i, r = neighbor_list("id", crystal, 3.2)
        u = np.clip((r - 1.0) / 2.2, 0, 1)
        s = (u**3 * (-6 * u**2 + 15 * u - 10) + 1) / r
        own = s[crystal.numbers[i] == 9]
        total, square, atoms = total + own.sum(), square + np.sum(own**2), atoms + 4
    mean = total / (50 * atoms)
    np.testing.assert_allclose(model.constants["mean"][1, :, 0], mean, rtol=1e-12)
    np.testing.assert_array_equal(model.constants["mean"][..., 1:], 0)
    deviation = model.constants["deviation"][1, 0]
    np.testing.assert_allclose(deviation[0], (square / (50 * atoms) - mean**2) ** 0.5)
    # x^2 + y^2 + z^2 of a row is its s^2
    np.testing.assert_allclose(deviation[1:], (square / (150 * atoms)) ** 0.5)
    assert scratch_model(run(), frames, (3, 9), np.zeros(2)).architecture.selection == (
        16,
        16,
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("channels = 8", r"scratch.channels is not known; known: family"),
        ("neurons = [4]", r"scratch.neurons is not known; did you mean neuron\?"),
        ("selection = { Li = 3 }", "scratch.selection names Li, and the frames have Li, F"),
        ("activation_function = 'swish'", "'swish' is not known"),
    ],
)
def test_keys_that_are_refused(run, more, message):
    with pytest.raises(ValueError, match=message):
        loop.train(run(more))


def test_families_that_are_refused(run):
    read = run()
    other = read.scratch.model_copy(update={"family": "schnet"})
    with pytest.raises(ValueError, match='"schnet", and there are mace, deepmd'):
        loop.train(read.model_copy(update={"scratch": other}))
