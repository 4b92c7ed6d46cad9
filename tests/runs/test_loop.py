"""`jaxdiff loop` without dynamics, DFT and training: what is done when, and only once."""

import dataclasses
import json
from pathlib import Path

import ase
import ase.io
import jax
import numpy as np
import pytest
from fake_pw import RUN_FILE, FakePw
from scipy.spatial.distance import cdist
from typer.testing import CliRunner

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import load, load_default, save_native
from jaxdiff.cli import app
from jaxdiff.descriptors import describe_atoms
from jaxdiff.finetune import ErrorRow
from jaxdiff.finetune.environments import Around
from jaxdiff.io import durable, loopfile
from jaxdiff.runs import loop, loop_sample, loop_select
from jaxdiff.runs.loop import Show, run_loop

CELL = [[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]]
ENERGY = -793.0  # eV, of two atoms whose crystal has that of the stored output

SAMPLE = """[model]
name_or_path = "lif-compact"
[system]
supercell = 2
lattice_constant_angstrom = 4.0
[ensemble]
temperatures_kelvin = [500]
replicas_per_temperature = 1
timestep_fs = 1
seed = 5
[equilibration]
duration_ps = 0.1
[production]
duration_ps = 0.1
[output]
directory = "nowhere"
positions_every_ps = 0.02
"""
TRAIN = """seed = 3
directory = "nowhere"
[data]
train = ["first.extxyz"]
[scratch]
cutoff_angstrom = 4
interactions = ["RealAgnosticInteractionBlock"]
channels = 4
max_ell = 1
hidden = [[0]]
correlation = [1]
radial_mlp = [4]
[optimizer]
epochs = 1
batch_size = 1
learning_rate = 0.01
"""
LOOP = """[sample.hot]
run_file = "sample.toml"
count = 2
[label]
run_file = "label.toml"
[train]
run_file = "train.toml"
[stop]
rounds = 2
deviation_ev_per_angstrom = 1e-9
[output]
directory = "{directory}"
"""


def pair(rng, size):
    atoms = ase.Atoms("LiF", [[0, 0, 0], [2, 2, 2]], cell=CELL, pbc=True)
    atoms.positions += rng.normal(0, size, (2, 3))
    return atoms


class Killed(BaseException):
    """As kill -9: nothing is cleaned up."""


class Place:
    """Run files in a folder, and what the parts that are left out were asked for."""

    def __init__(self, folder: Path, model, monkeypatch) -> None:
        self.folder, self.pw = folder, FakePw(folder / "bin")
        self.model = model
        self.trained, self.sampled = [], []
        (folder / "pw.in").write_text("&SYSTEM\n ecutwfc = 20\n/\n")
        for name in ("Li.upf", "F.upf"):
            (folder / name).write_text(name)
        (folder / "sample.toml").write_text(SAMPLE)
        (folder / "label.toml").write_text(
            RUN_FILE.format(command=self.pw.path, directory="nowhere")
        )
        (folder / "train.toml").write_text(TRAIN)
        (folder / "loop.toml").write_text(LOOP.format(directory=folder / "loop"))
        first = [pair(np.random.default_rng(k), 0.02) for k in range(2)]
        for atoms in first:
            atoms.info["REF_energy"] = ENERGY
            atoms.arrays["REF_forces"] = np.zeros((2, 3))
        ase.io.write(folder / "first.extxyz", first)
        monkeypatch.setattr(loop, "train_to_folder", self.train)
        monkeypatch.setattr(loop_sample, "sample", self.sample)
        monkeypatch.setattr(jax, "clear_caches", lambda: None)
        self.said, self.tables = [], []

    @property
    def directory(self):
        return self.folder / "loop"

    def train(self, run, reports):
        """The embedded model, a little off; the same for the same seed and data."""
        self.trained.append(run)
        off = 1 + 0.002 * run.seed + 0.01 * len(run.data.train)
        model = dataclasses.replace(
            self.model, weights=jax.tree.map(lambda w: off * w, self.model.weights)
        ).with_isolated(np.array([[ENERGY / 2, ENERGY / 2]]))
        run.directory.mkdir(parents=True, exist_ok=True)
        save_native(run.directory / "model.safetensors", model, {})
        n_frames = sum(len(ase.io.read(path, ":")) for path in run.data.train)
        return [
            ErrorRow("train", n_frames, 1.0, 1.0, 2.0, 2.0, 3.0, 4.0),
            ErrorRow("valid", 1, 10.0 + n_frames, 1.0, 20.0, 2.0, 3.0, float("nan")),
        ]

    def sample(self, run, name, progress, say):
        """Six frames, others in each round."""
        self.sampled.append(run)
        Path(run.output.directory).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(run.ensemble.seed)
        frames = [pair(rng, 0.05) for _ in range(6)]
        for number, atoms in enumerate(frames):
            atoms.info |= {"config_type": name, "sample_source": f"500 K, {number} ps"}
        return frames, ("replica 1 was too hot",)

    def run(self, *overrides):
        run = loopfile.load(self.folder / "loop.toml", overrides)
        show = Show(self.said.append, lambda *_: None, self.tables.append)
        return run_loop(run, show)

    def write(self, name, old, new):
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, load_default(), monkeypatch)


@pytest.mark.slow
def test_two_rounds(place):
    found = place.run()
    assert found["ended"] == "stop.rounds = 2 is reached"
    assert found == json.loads((place.directory / "rounds.json").read_text())
    assert [one["round"] for one in found["rounds"]] == [0, 1, 2]
    folders = [run.directory.relative_to(place.directory) for run in place.trained]
    expected = [f"round-{r:02d}/train-{k}" for r in range(3) for k in range(2)]
    assert list(map(str, folders)) == expected
    assert [run.seed for run in place.trained] == [3, 4] * 3
    files = [[path.name for path in run.data.train] for run in place.trained]
    later = ["labels-01.extxyz", "labels-02.extxyz"]
    assert files[::2] == [["first.extxyz", *later[:n]] for n in range(3)]
    models = [run.model.name_or_path for run in place.sampled]
    first = [place.directory / f"round-{r:02d}/train-0/model.safetensors" for r in (0, 1)]
    assert models == list(map(str, first))
    assert [run.ensemble.seed for run in place.sampled] == [6, 7]
    assert [one["train"]["frames"] for one in found["rounds"]] == [2, 4, 6]
    for number in (1, 2):
        folder, row = place.directory / f"round-{number:02d}", found["rounds"][number]
        labelled = ase.io.read(folder / f"labels-{number:02d}.extxyz", ":")
        assert len(labelled) == row["label"]["labelled"] == 2
        sources = [why["source"] for why in row["select"]["chosen"]["hot"]]
        assert [a.info["sample_source"] for a in labelled] == sources
        assert row["label"]["errors"]["forces_rmse"] > 0
        check_errors(labelled, first[number - 1], row["label"]["errors"])
    text = (place.directory / "rounds.md").read_text()
    assert place.tables[-1] == text
    assert "| energy, valid | forces, valid |" in text
    assert "hot, diverged: replica 1 was too hot." in text
    assert text.count("| 500 K, ") == 4


def check_errors(labelled, path, row):
    """Of the forces, by hand, of the model before it saw the labels."""
    model = load(path)
    apart = [predict_atoms(model, a).forces - a.arrays["REF_forces"] for a in labelled]
    expected = 1e3 * np.sqrt(np.mean(np.square(apart)))
    assert row["forces_rmse"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_killed_before_the_end_of_any_stage(place, monkeypatch):
    """Again and again, at each mark in turn; the table is that of a loop left alone."""
    whole = place.run(f'output.directory="{place.folder}/other"')
    n_trained, n_sampled = len(place.trained), len(place.sampled)
    marks = []
    write_json = durable.write_json

    def killed_once(path, content):
        mark = str(Path(path).relative_to(place.folder))
        if Path(path).stem in ("sample", "select", "label", "train") and mark not in marks:
            marks.append(mark)
            raise Killed
        write_json(path, content)

    monkeypatch.setattr(loop.durable, "write_json", killed_once)
    for _ in range(20):
        try:
            found = place.run()
            break
        except Killed:
            continue
    assert len(marks) == 1 + 2 * 4
    # each stage once in vain, and once more
    assert len(place.trained) - n_trained == 2 * n_trained
    assert len(place.sampled) - n_sampled == 2 * n_sampled
    rounds = json.loads(json.dumps(found["rounds"]).replace(str(place.directory), "."))
    other = str(place.folder / "other")
    assert rounds == json.loads(json.dumps(whole["rounds"]).replace(other, "."))
    assert [len(place.pw.starts(n)) for n in range(5)] == [2, 2, 2, 2, 0]  # both folders
    said = len(place.said)
    assert place.run()["ended"]
    assert len(place.said) == said  # nothing is left to do
    monkeypatch.setattr(loop.durable, "write_json", write_json)
    more = place.run("stop.rounds=3")
    assert more["rounds"][:3] == found["rounds"]
    assert more["rounds"][3]["train"]["frames"] == 8


@pytest.mark.slow
def test_it_ends_where_the_models_agree(place):
    found = place.run("stop.deviation_ev_per_angstrom=1e6")
    assert len(found["rounds"]) == 2
    assert "label" not in found["rounds"][1]
    assert "disputed by less than 1e+06 eV/Å" in found["ended"]
    assert "Not labelled: the loop ended." in place.tables[-1]
    assert found["models"][0].endswith("round-00/train-0/model.safetensors")
    assert not (place.directory / "labels").exists()
    place.write("sample.toml", "seed = 5", "seed = 6")
    with pytest.raises(ValueError, match="holds a run with sample.hot.ensemble.seed = 5"):
        place.run()


@pytest.mark.slow
def test_frames_without_a_label(place):
    place.pw.tell(0, "not_converged")
    found = place.run("stop.rounds=1")
    label = found["rounds"][1]["label"]
    assert label["labelled"] == 1
    ((source, reason),) = label["failed"].items()
    assert source.startswith("round 1, 500 K, ")
    assert "the SCF has not converged" in reason
    assert f"Without a label: {source}: {reason}." in place.tables[-1]
    place.write("loop.toml", "/loop", "/none")
    for number in (0, 1):
        place.pw.tell(number, "few_bands")
    with pytest.raises(ValueError, match=r"none of 2 frames of round 1 .* too few bands"):
        place.run("stop.rounds=1")


@pytest.mark.slow
def test_labels_of_another_method(place, monkeypatch):
    monkeypatch.setattr("test_loop.ENERGY", -100.0)
    with pytest.raises(ValueError, match="data.train of .* is of another method"):
        place.run()


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("sample.toml", "positions_every_ps = 0.02\n", "", "keeps no positions"),
        ("sample.toml", "[output]", "[barostat]\n[output]", "has [barostat]"),
        ("train.toml", "[scratch]", 'energy_key = "E"\n[scratch]', "has the keys E, REF_"),
        ("train.toml", "[scratch]", 'head = "a"\n[scratch]', "has data.head, and"),
        ("train.toml", '"first.extxyz"', '"none.extxyz"', "none.extxyz"),
        ("label.toml", "bin/pw.x", "bin/none", "bin/none is not installed here"),
        ("loop.toml", "[label]", '[select]\naround = "Xx"\n[label]', "around 'Xx' is not"),
        (
            "loop.toml",
            "[train]",
            "[train]\nmodels = 1",
            "train.models = 1: input should be",
        ),
        ("loop.toml", "sample.hot", 'sample."h/t"', "the name becomes a config_type"),
        ("loop.toml", "sample.toml", "none.toml", "none.toml does not exist"),
    ],
)
def test_faults_before_anything_is_done(place, name, old, new, problem):
    place.write(name, old, new)
    result = CliRunner().invoke(app, ["loop", str(place.folder / "loop.toml")])
    assert result.exit_code == 2
    assert problem in result.stderr
    assert not place.sampled
    assert not place.trained


def test_a_folder_of_something_else_is_left_alone(place):
    place.directory.mkdir()
    (place.directory / "mine").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        place.run()


def test_frames_are_disputed_and_far_apart(model):
    """By brute force: four times as many by deviation, then the farthest of them."""
    rng = np.random.default_rng(0)
    frames = [pair(rng, 0.1) for _ in range(12)]
    for number, atoms in enumerate(frames):
        atoms.info["sample_source"] = str(number)
    known = [pair(rng, 0.1) for _ in range(3)]
    deviation = rng.permutation(12) / 10.0
    found = loop_select.choose(model, frames, deviation, known, 2, Around(), 1.05)
    allowed = [k for k in np.argsort(-deviation) if deviation[k] <= 1.05][:8]
    features = [np.asarray(describe_atoms(model, atoms)) for atoms in frames]
    before = np.concatenate([np.asarray(describe_atoms(model, a)) for a in known])
    expected = []
    for _ in range(2):
        left = [k for k in allowed if k not in expected]
        distance = [cdist(features[k], before).min(axis=1).max() for k in left]
        expected.append(left[int(np.argmax(distance))])
        before = np.concatenate([before, features[expected[-1]]])
    assert found.rows == expected
    ranks = [allowed.index(k) + 1 for k in expected]
    assert [why["rank_by_deviation"] for why in found.why] == ranks
    assert [why["source"] for why in found.why] == list(map(str, expected))


@pytest.mark.slow
def test_the_deviation_of_a_committee(model):
    other = dataclasses.replace(
        model, weights=jax.tree.map(lambda w: 0.9 * w, model.weights)
    )
    frames = [pair(np.random.default_rng(k), 0.1) for k in range(2)]
    found = loop_select.deviations([model, other], ["a", "b"], frames)
    for atoms, value in zip(frames, found, strict=True):
        one, two = (np.asarray(predict_atoms(m, atoms).forces) for m in (model, other))
        assert value == pytest.approx(np.linalg.norm(one - two, axis=1).max() / 2)
    assert loop_select.summary(np.arange(11.0)) == {
        "median": 5.0, "nine_of_ten": 9.0, "largest": 10.0,
    }  # fmt: skip
