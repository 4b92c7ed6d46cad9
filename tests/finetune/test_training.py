"""Training on a handful of made-up frames: labels, losses, updates, restart."""

import dataclasses
import json

import ase
import ase.io
import jax
import numpy as np
import pytest
from labelled import labelled
from typer.testing import CliRunner

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import load_native
from jaxdiff.cli import app
from jaxdiff.finetune import Keys, error_table, loop, read_frames
from jaxdiff.finetune.prepare import scratch_model
from jaxdiff.io.trainfile import read_train_file

RUN = """
seed = 3
directory = "{directory}"
precision = "float64"
[data]
train = ["train.extxyz"]
valid = ["valid.extxyz"]
test.other = ["valid.extxyz"]
isolated_atom_ev = {{ Li = -10.0, F = -20.0 }}
[scratch]
cutoff_angstrom = 3.5
channels = 4
max_ell = 1
hidden = [[0], [0]]
correlation = [2, 2]
interactions = ["RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"]
radial_mlp = [8]
num_bessel = 4
mlp_channels = 4
[optimizer]
epochs = {epochs}
batch_size = 2
learning_rate = 0.05
"""  # noqa: E501


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("data")
    ase.io.write(folder / "train.extxyz", labelled(5, 0, model))
    ase.io.write(folder / "valid.extxyz", labelled(3, 1, model))
    return folder


def train(run):
    return loop.train(run).model


def run_file(folder, directory, epochs):
    path = folder / f"{directory.name}-{epochs}.toml"
    path.write_text(RUN.format(directory=directory, epochs=epochs))
    return path


@pytest.mark.slow
def test_restart_continues_as_if_nothing_had_happened(folder, tmp_path):
    whole = train(read_train_file(run_file(folder, tmp_path / "whole", 3)))
    train(read_train_file(run_file(folder, tmp_path / "parts", 1)))
    again = run_file(folder, tmp_path / "parts", 3)
    parts = train(read_train_file(again))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(one, other)
    records = (tmp_path / "parts/metrics.jsonl").read_text().splitlines()
    assert [json.loads(r)["epoch"] for r in records] == [1, 2, 3]


@pytest.mark.slow
def test_command_trains_a_model_that_others_can_load(folder, tmp_path):
    path = run_file(folder, tmp_path / "run", 8)
    result = CliRunner().invoke(app, ["finetune", str(path)])
    assert result.exit_code == 0, result.output
    records = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    first, last = json.loads(records[0]), json.loads(records[-1])
    assert last["train_loss"] < 0.95 * first["train_loss"]
    model = load_native(tmp_path / "run/model.safetensors")
    tables = json.loads((tmp_path / "run/errors.json").read_text())
    for figure in ("learning.png", "parity.png"):
        assert (tmp_path / "run" / figure).read_bytes()[:4] == b"\x89PNG"
    rmse_of = {k: {r["name"]: r["forces_rmse"] for r in rows} for k, rows in tables.items()
               if k != "units"}  # fmt: skip
    assert rmse_of["after"]["train"] < 0.9 * rmse_of["before"]["train"]
    assert "\nBetter: " in result.output.replace("\nWorse: ", "\nBetter: ")
    table = [row for row in tables["after"] if not row["name"].startswith("train")]
    assert [row["name"] for row in table][:3] == [
        "valid", "valid/bulk", "valid/interstitial"
    ]  # fmt: skip
    # the table against the calculator, one frame at a time
    frames = ase.io.read(folder / "valid.extxyz", index=":")
    errors = [
        predict_atoms(model, f).forces - f.arrays["REF_forces"] for f in frames
    ]  # per frame first, as the table weighs frames
    rmse = 1e3 * np.sqrt(np.mean([np.mean(e**2) for e in errors]))
    assert table[0]["forces_rmse"] == pytest.approx(rmse, rel=1e-6)


@pytest.mark.slow
def test_error_table_of_the_labelling_model_is_zero(folder, model):
    rows = error_table(model, {"train": read_frames([folder / "train.extxyz"])})
    # extxyz keeps 8 decimals
    assert max(r.energy_rmse for r in rows) < 1e-4
    assert max(r.forces_rmse for r in rows) < 1e-3


def test_start_has_isolated_atoms_and_the_mean_interaction(folder, tmp_path):
    """Atoms far from all others: the given energies plus the mean of the data."""
    run = read_train_file(run_file(folder, tmp_path / "x", 1))
    frames = read_frames(run.data.train)
    isolated = {3: -10.0, 9: -20.0}
    interaction = [
        (f.energy - sum(isolated[z] for z in f.atomic_number)) / len(f.atomic_number)
        for f in frames
    ]
    far = ase.Atoms("LiF", positions=[[0, 0, 0], [0, 0, 30.0]])
    start = predict_atoms(
        scratch_model(run, frames, (3, 9), np.array([-10.0, -20.0])), far
    ).node_energy
    np.testing.assert_allclose(
        start, np.mean(interaction) + np.array([-10.0, -20.0]), rtol=0, atol=1e-9
    )


STAGE_TWO = """
[stage_two]
epochs = 4
learning_rate = 0.01
energy_weight = 0.0
forces_weight = 0.0
stress_weight = 1e3
"""


@pytest.mark.slow
def test_stage_two_follows_its_own_weights_and_rate(folder, tmp_path):
    """Forces that count for nothing get worse, stress that counts for all gets better."""
    path = run_file(folder, tmp_path / "two", 2)
    long = STAGE_TWO.replace("epochs = 4", "epochs = 12").replace("0.01", "0.03")
    path.write_text(path.read_text() + long)
    train(read_train_file(path))
    lines = (tmp_path / "two/metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["learning_rate"] for r in records] == pytest.approx([0.05] * 2 + [0.03] * 12)
    assert records[-1]["stress_rmse"] < 0.8 * records[1]["stress_rmse"]
    assert records[-1]["forces_rmse"] > records[1]["forces_rmse"]


@pytest.mark.long
def test_restart_within_stage_two(folder, tmp_path):
    """Stage two cut short after two epochs and gone on with is stage two in one go."""
    weights = []
    for name, parts in (("one", [4]), ("cut", [2, 4])):
        path = run_file(folder, tmp_path / name, 1)
        start = path.read_text()
        for epochs in parts:
            two = STAGE_TWO.replace("epochs = 4", f"epochs = {epochs}")
            path.write_text(start + two + "refit_species_energies = true\n")
            model = train(read_train_file(path))
        weights.append(jax.tree.leaves((model.weights, model.constants)))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_stage_two_starts_from_energies_that_fit_the_composition(folder, tmp_path):
    """With nothing left to learn, errors have no part linear in the composition."""
    path = run_file(folder, tmp_path / "refit", 2)
    still = STAGE_TWO.replace("learning_rate = 0.01", "learning_rate = 1e-12")
    still = "average_decay = 0.0\n" + still + "refit_species_energies = true\n"
    path.write_text(path.read_text() + still)
    model = train(read_train_file(path))
    count, error = [], []
    for atoms in ase.io.read(folder / "train.extxyz", index=":"):
        count.append([np.sum(atoms.numbers == z) for z in (3, 9)])
        error.append(float(predict_atoms(model, atoms).energy) - atoms.info["REF_energy"])
    assert np.linalg.matrix_rank(count) == 2
    np.testing.assert_allclose(np.transpose(count) @ error, 0, atol=1e-6)
    assert np.abs(error).max() > 1e-3
    again = train(read_train_file(path))  # all done: read back, not trained
    np.testing.assert_array_equal(
        again.constants["atomic_energies"], model.constants["atomic_energies"]
    )


@pytest.mark.slow
def test_fewer_epochs_than_were_made(folder, tmp_path):
    """The best so far comes back; but stage two cannot begin in the past."""
    made = train(read_train_file(run_file(folder, tmp_path / "long", 2)))
    path = run_file(folder, tmp_path / "long", 1)
    again = train(read_train_file(path))
    for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    path.write_text(path.read_text() + STAGE_TWO)
    with pytest.raises(FileNotFoundError, match="more epochs than optimizer.epochs = 1"):
        train(read_train_file(path))


def test_missing_key_names_what_is_there(folder):
    with pytest.raises(
        ValueError, match="no energy under the key 'energy_dft' in any.*REF_ener"
    ):
        read_frames([folder / "train.extxyz"], Keys(energy="energy_dft"))


def test_a_frame_in_two_sets_is_refused(folder, tmp_path):
    path = run_file(folder, tmp_path / "leak", 1)
    path.write_text(path.read_text().replace('["valid.extxyz"]', '["train.extxyz"]'))
    with pytest.raises(
        ValueError, match="5 frames stand both in the training.*frame 0 = train"
    ):
        train(read_train_file(path))


def test_nan_label_is_refused(folder, tmp_path):
    frames = ase.io.read(folder / "valid.extxyz", index=":")
    frames[1].arrays["REF_forces"][0, 0] = np.nan
    ase.io.write(tmp_path / "bad.extxyz", frames)
    with pytest.raises(ValueError, match="frame 1: forces holds NaN"):
        read_frames([tmp_path / "bad.extxyz"])


def test_stress_of_odd_length_is_refused(folder, tmp_path):
    frame = ase.io.read(folder / "valid.extxyz")
    frame.info["REF_stress"] = np.zeros(5)
    ase.io.write(tmp_path / "bad.extxyz", frame)
    with pytest.raises(ValueError, match="stress has 5 numbers; 6 or 9"):
        read_frames([tmp_path / "bad.extxyz"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epohcs = 3\n", r"optimizer\.epohcs is not known; did you mean epochs\?"),
        ("[optimiser]\nepochs = 3\n", r"optimiser is not known; did you mean optimizer\?"),
        ("[stage_two]\nrefit = true\n", r"stage_two.epochs is missing; it has no default"),
        ("[lora]\nrnk = 3\n", r"lora.rnk is not known; did you mean rank\?"),
        ("[lora]\nrank = 3\n", r"\[lora\] needs a model to start from"),
        ("learning_rate = 0.01\nlearning_rate = 3", "not valid TOML"),
    ],
)
def test_run_file_errors_are_one_line(folder, tmp_path, line, message):
    path = run_file(folder, tmp_path / "bad", 1)
    path.write_text(path.read_text() + line)
    with pytest.raises(ValueError, match=message) as caught:
        read_train_file(path)
    assert "\n" not in str(caught.value)


def test_isolated_atoms_by_an_unknown_word(folder, tmp_path):
    path = run_file(folder, tmp_path / "bad", 1)
    with pytest.raises(ValueError, match='= "foundatoin": give energies by symbol, "aver'):
        read_train_file(path, overrides=["data.isolated_atom_ev=foundatoin"])


def test_a_data_file_that_is_none(folder, tmp_path):
    (tmp_path / "junk.extxyz").write_bytes(bytes(range(128, 228)))
    with pytest.raises(ValueError, match=r"junk.extxyz cannot be read by ASE"):
        read_frames([tmp_path / "junk.extxyz"])


def test_absent_data_file(folder, tmp_path):
    path = run_file(folder, tmp_path / "absent", 1)
    path.write_text(path.read_text().replace("train.extxyz", "nowhere.extxyz"))
    result = CliRunner().invoke(app, ["finetune", str(path)])
    assert result.exit_code == 2
    assert "no such data file" in result.output


def test_frames_are_frozen(folder):
    frame = read_frames([folder / "train.extxyz"])[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.energy = 0.0


@pytest.mark.parametrize(
    "more",
    [
        '[[targets]]\nkind = "barrier"\npaths = ["direct"]\nsupercell = 2\n'
        "target_ev = 0.2\nuncertainty_ev = 0.01\n",
        "[loss]\nstart_weight = 1.0\n",
    ],
)
def test_from_scratch_there_is_no_start_to_keep_to(tmp_path, more):
    (tmp_path / "run.toml").write_text(RUN.format(directory=tmp_path, epochs=1) + more)
    with pytest.raises(ValueError, match="need a model to start from"):
        read_train_file(tmp_path / "run.toml")
