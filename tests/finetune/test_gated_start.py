"""Fine-tuning from gated blocks, as MACE-MH-1 has them: heads, strategies, the zero."""

import ase
import ase.io
import numpy as np
import pytest
from gated import SMALL, random_model
from labelled import labelled

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import save_native
from jaxdiff.finetune import prepare, train
from jaxdiff.io.trainfile import read_train_file
from jaxdiff.models.dotted import flatten

RUN = """
seed = 3
directory = "{directory}"
precision = "float64"
[model]
name_or_path = "{folder}/start.safetensors"
head = "high"
[data]
train = ["train.extxyz"]
valid = ["valid.extxyz"]
allow = ["energy_offset"]
[optimizer]
epochs = 2
batch_size = 2
learning_rate = 0.01
"""
REPLAY = '\n[replay]\ntrain = ["replay.extxyz"]\nvalid = ["valid.extxyz"]\n'
SECTIONS = {
    "naive": "",
    "replay": REPLAY,
    "pseudolabels": REPLAY + 'labels = "model"\n',
    "frozen": '\n[freeze]\ngroups = ["embedding", "interactions"]\n',
    "lora": "\n[lora]\nrank = 2\nalpha = 2.0\n",
}


_GUARDED = "pseudolabels", "lora"


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("gated")
    save_native(folder / "start.safetensors", random_model(SMALL))
    for name, n, seed in (("train", 4, 0), ("valid", 2, 1), ("replay", 3, 2)):
        ase.io.write(folder / f"{name}.extxyz", labelled(n, seed, model))
    return folder


def run_of(folder, directory, sections="", *overrides):
    path = folder / f"{directory.name}.toml"
    path.write_text(RUN.format(directory=directory, folder=folder) + sections)
    return read_train_file(path, overrides=list(overrides))


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(name, marks=pytest.mark.slow if name in _GUARDED else pytest.mark.long)
        for name in SECTIONS
    ],
)
def test_each_strategy_trains(folder, tmp_path, strategy):
    """From the head that is named; what is frozen stays, what is not changes."""
    run = run_of(folder, tmp_path / strategy, SECTIONS[strategy])
    problem = prepare(run)
    trained = train(run).model
    heads = ("default", "replay") if "replay" in SECTIONS[strategy] else ("high",)
    assert trained.heads == heads
    if strategy in ("frozen", "lora"):
        start, end = (flatten(m.weights, "weights") for m in (problem.model, trained))
        moved = {n for n, x in start.items() if not np.array_equal(x, end[n])}
        assert moved
        if strategy == "frozen":
            assert not any(n.split(".")[1] in ("embedding", "interactions") for n in moved)
        else:
            assert all(problem.model.low_rank_divisor(n, 2) for n in moved)


def test_without_a_head_nothing_is_trained(folder, tmp_path):
    path = folder / "none.toml"
    text = RUN.format(directory=tmp_path / "none", folder=folder)
    path.write_text(text.replace('head = "high"\n', ""))
    with pytest.raises(ValueError, match="has the heads low, high; set model.head"):
        prepare(read_train_file(path))


@pytest.mark.slow
def test_isolated_atoms_are_trained_on_where_they_have_energies_of_their_own(
    folder, tmp_path
):
    """Subtracting their energies is not enough: a lone atom of such a model has more."""
    start = random_model(SMALL).restrict_heads(["high"]).restrict([3, 9])
    atoms = [ase.Atoms(symbol, cell=[20] * 3, pbc=True) for symbol in ("Li", "F")]
    alone = [float(predict_atoms(start, one).energy) for one in atoms]
    assert np.abs(np.array(alone) - np.asarray(start.isolated)[0]).max() > 0.1
    for one, energy in zip(atoms, alone, strict=True):
        one.info |= {"REF_energy": energy + 1.0, "config_type": "IsolatedAtom"}
    ase.io.write(folder / "with_atoms.extxyz", [*labelled(2, 0, start), *atoms])
    ase.io.write(folder / "own_valid.extxyz", labelled(1, 1, start))
    changes = (
        'data.train=["with_atoms.extxyz"]',
        'data.valid=["own_valid.extxyz"]',
        'data.isolated_atom_ev="foundation"',
        "loss.energy_weight=100",
        "optimizer.learning_rate=0.02",
    )
    run = run_of(folder, tmp_path / "alone", "", *changes)
    problem = prepare(run)
    assert len(problem.train) == 4
    assert any("2 isolated atoms to train on: fixes the zero" in n for n in problem.notes)
    trained = train(run).model
    for one, energy in zip(atoms, alone, strict=True):
        assert float(predict_atoms(trained, one).energy) > energy + 0.003
    told = prepare(run_of(folder, tmp_path / "without")).notes
    assert any("add frames of isolated atoms to train on" in note for note in told)
