"""`jaxdiff select`: what is written, and what is refused."""

import json

import ase.io
import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.distance import cdist
from typer.testing import CliRunner

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import load_default, save_native
from jaxdiff.cli import app
from jaxdiff.descriptors import describe_atoms
from jaxdiff.finetune.selection import farthest_points, stack_environments
from jaxdiff.models.mace.initial import initialize
from jaxdiff.potential import cast


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    """Two files of frames, a committee of two, a model that knows more elements."""
    path = tmp_path_factory.mktemp("select")
    rng = np.random.default_rng(0)
    frames = []
    for k in range(7):
        atoms = bulk("LiF", "rocksalt", a=3.9 + 0.04 * k, cubic=True)
        atoms.rattle(0.03 + 0.02 * (k % 3), seed=k)
        atoms.info |= {"config_type": ("bulk", "hot")[k % 2], "source": f"run {k}"}
        atoms.info["REF_stress"] = rng.normal(size=9)
        atoms.arrays["REF_forces"] = rng.normal(size=(8, 3))
        atoms.set_momenta(rng.normal(size=(8, 3)))
        atoms.calc = SinglePointCalculator(atoms, energy=float(k), forces=np.ones((8, 3)))
        frames.append(atoms)
    ase.io.write(path / "first.extxyz", frames[:4])
    ase.io.write(path / "second.traj", frames[4:])
    ase.io.write(path / "given.extxyz", frames[2:3])
    ase.io.write(path / "salt.extxyz", bulk("NaCl", "rocksalt", a=5.6))
    (path / "words.qq").write_text("no atoms here\n")
    save_native(path / "a.safetensors", model, {})
    for name, architecture, energies in (
        ("b", model.architecture, [[-1.0, -2.0]]),
        ("more", model.architecture.replace(atomic_numbers=(3, 8, 9)), [[-1.0, 0.0, -2.0]]),
    ):
        other = initialize(
            architecture,
            jax.random.key(9),
            atomic_energies=np.array(energies),
            dtype=np.dtype("float64"),
        )
        save_native(path / f"{name}.safetensors", other, {})
    return path


@pytest.fixture
def run(folder, monkeypatch):
    """Runs the command on both files, in their folder; returns what it said."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(folder)

    def select(*options, frames=("first.extxyz", "second.traj"), model="a.safetensors"):
        arguments = ["select", *frames, "--model", model, *map(str, options)]
        return CliRunner().invoke(app, arguments)

    return select


def read_frames():
    return [*ase.io.iread("first.extxyz"), *ase.io.iread("second.traj")]


def assert_kept(found, expected):
    """All of a frame but what the selection has added."""
    np.testing.assert_allclose(found.cell.array, expected.cell.array, rtol=1e-12)
    assert (found.pbc == expected.pbc).all()
    assert found.arrays.keys() == expected.arrays.keys()
    for name in expected.arrays:
        # the format has eight decimals
        np.testing.assert_allclose(found.arrays[name], expected.arrays[name], atol=1e-8)
    for name, value in expected.info.items():
        if isinstance(value, str):
            assert found.info[name] == value
        else:
            np.testing.assert_allclose(np.ravel(found.info[name]), np.ravel(value))
    assert found.calc.results["energy"] == expected.calc.results["energy"]
    np.testing.assert_allclose(found.get_forces(), expected.get_forces())


def test_most_different_frames_with_all_that_they_had(run, model, tmp_path):
    out = tmp_path / "new" / "chosen.extxyz"
    result = run("--count", 5, "--out", out)
    assert result.exit_code == 0, result.stderr
    frames = read_frames()
    pool = stack_environments([describe_atoms(model, atoms) for atoms in frames])
    expected = farthest_points(pool, 5)
    chosen = ase.io.read(out, ":")
    ranking = json.loads(out.with_suffix(".json").read_text())
    assert len(chosen) == len(ranking["chosen"]) == 5
    for rank, (index, value) in enumerate(zip(expected.index, expected.value, strict=True)):
        row, atoms = ranking["chosen"][rank], chosen[rank]
        assert row["rank"] == atoms.info["select_rank"] == rank + 1
        file = ("first.extxyz", "second.traj")[int(index >= 4)]
        assert (row["file"], row["frame"]) == (file, index - 4 * (index >= 4))
        assert row["config_type"] == frames[index].info["config_type"]
        if rank == 0:
            assert row["distance"] is None
            assert "select_distance" not in atoms.info
        else:
            assert row["distance"] == pytest.approx(value, rel=1e-9)
            assert atoms.info["select_distance"] == pytest.approx(value, rel=1e-6)
        assert_kept(atoms, frames[index])
    assert ranking["largest_distance_left"] == pytest.approx(expected.left)
    assert len(ranking["models"][0]["sha256"]) == 64
    assert [(f["file"], f["n"]) for f in ranking["frames"]] == [
        ("first.extxyz", 4),
        ("second.traj", 3),
    ]
    assert f"{expected.left:.4g}" in result.stdout
    assert "start" in result.stdout


def test_frames_by_their_mean_and_far_from_given_ones(run, model, tmp_path):
    out = tmp_path / "chosen.extxyz"
    options = ("--compare", "frames", "--around", "F", "--given", "given.extxyz")
    result = run("--count", 7, *options, "--out", out)
    assert result.exit_code == 0, result.stderr
    frames = read_frames()
    mean = [
        describe_atoms(model, atoms)[atoms.numbers == 9].mean(axis=0, keepdims=True)
        for atoms in frames
    ]
    expected = farthest_points(stack_environments(mean), 7, stack_environments([mean[2]]))
    ranking = json.loads(out.with_suffix(".json").read_text())
    order = [r["frame"] + 4 * (r["file"] == "second.traj") for r in ranking["chosen"]]
    assert order == expected.index.tolist()
    assert order[-1] == 2  # the given one itself
    distance = [row["distance"] for row in ranking["chosen"]]
    np.testing.assert_allclose(distance, expected.value, rtol=1e-9, atol=1e-12)
    assert distance[-1] < 1e-12
    assert ranking["given"][0]["file"] == "given.extxyz"


def test_a_quota_for_each_type(run, tmp_path):
    out = tmp_path / "chosen.extxyz"
    result = run("--per-type", "hot=2", "--per-type", "bulk=1", "--out", out)
    assert result.exit_code == 0, result.stderr
    kinds = [atoms.info["config_type"] for atoms in ase.io.iread(out)]
    assert kinds == ["hot", "hot", "bulk"]


@pytest.mark.slow
def test_most_disputed_frames(run, model, tmp_path):
    out = tmp_path / "chosen.extxyz"
    both = ("--model", "b.safetensors", "--by", "committee")
    result = run(*both, "--count", 7, "--out", out)
    assert result.exit_code == 0, result.stderr
    ranking = json.loads(out.with_suffix(".json").read_text())
    deviation = [row["force_deviation_ev_per_angstrom"] for row in ranking["chosen"]]
    assert deviation == sorted(deviation, reverse=True)
    other = initialize(
        model.architecture,
        jax.random.key(9),
        atomic_energies=np.array([[-1.0, -2.0]]),
        dtype=np.dtype("float64"),
    )
    frames = read_frames()
    worst = []
    for atoms in frames:
        one, two = (np.asarray(predict_atoms(m, atoms).forces) for m in (model, other))
        worst.append(np.linalg.norm(one - two, axis=1).max() / 2)
    np.testing.assert_allclose(deviation, sorted(worst, reverse=True), rtol=1e-9)
    first = ase.io.read(out, 0)
    assert first.info["select_force_deviation"] == pytest.approx(max(worst), rel=1e-6)
    assert first.info["select_energy_deviation"] > 0

    low, high = sorted(worst)[1] - 1e-9, sorted(worst)[-2] + 1e-9
    bounds = ("--lowest-ev-per-angstrom", low, "--highest-ev-per-angstrom", high)
    result = run(*both, "--count", 6, *bounds, "--out", tmp_path / "within.extxyz")
    assert result.exit_code == 0, result.stderr
    assert "5 of the 6 frames asked for are within" in result.stdout
    assert "1 frames below" in result.stdout
    within = json.loads((tmp_path / "within.json").read_text())
    assert (within["below"], within["within"], within["above"]) == (1, 5, 1)
    np.testing.assert_allclose(
        [row["force_deviation_ev_per_angstrom"] for row in within["chosen"]],
        sorted(worst)[-2:0:-1],
    )


COMMITTEE = ("--by", "committee", "--count", 2, "--model")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--count", 8), "8 frames cannot be chosen from 7; ask for 1 to 7"),
        (("--count", 0), "0 frames cannot be chosen"),
        ((), "either a count or a number for each config_type"),
        (("--count", 2, "--per-type", "hot=2"), "either a count or a number"),
        (("--per-type", "hot"), "--per-type hot is not of the form bulk=5"),
        (("--per-type", "cold=1"), "config_type cold were asked for, of which there are 0"),
        (("--count", 2, "--by", "luck"), "by 'luck' is not known; give descriptors or"),
        (("--count", 2, "--by", "committee"), "a committee of 1 model cannot disagree"),
        (("--count", 2, "--compare", "x"), "compare 'x' is not known; give environments"),
        (("--count", 2, "--around", "Na"), "first.extxyz, frame 0: F4Li4 has no Na"),
        (("--count", 2, "--around", "defect"), "frame 0: supercell"),
        (("--count", 2, "--radius-angstrom", 3), "belongs to --around defect"),
        (("--count", 2, "--head", "x"), "--head says nothing with --by descriptors"),
        (("--count", 2, "--model", "b.safetensors"), "descriptors are those of one"),
        (("--count", 2, "--given", "none.xyz"), "none.xyz: no such file"),
        ((*COMMITTEE, "a.safetensors"), "a model was given twice"),
        ((*COMMITTEE, "more.safetensors"), "more.safetensors knows 3 elements, a.saf"),
        ((*COMMITTEE, "none"), "none is neither a file nor the name of a model"),
        ((*COMMITTEE, "b.safetensors", "--given", "x"), "--given says nothing with --by"),
        (
            (*COMMITTEE, "b.safetensors", "--lowest-ev-per-angstrom", 1e3),
            "none of 7 frames has a deviation from 1000 to inf eV/Å",
        ),
        (
            (*COMMITTEE, "b.safetensors", *("--lowest-ev-per-angstrom", 2))
            + ("--highest-ev-per-angstrom", 1),
            "the least deviation, 2 eV/Å, is above the largest, 1 eV/Å",
        ),
        ((*COMMITTEE, "b.safetensors", "--head", "x"), "the model has no head 'x'"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(run, tmp_path, options, problem):
    assert problem in refused(run(*options, "--out", tmp_path / "chosen.extxyz"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("none.extxyz", "none.extxyz: no such file; give one with frames"),
        ("words.qq", "words.qq is of no format that ASE knows"),
        ("salt.extxyz", "salt.extxyz, frame 0: the model does not know Na, Cl"),
        ("a.safetensors", "a.safetensors is of no format that ASE knows"),
    ],
)
def test_bad_frames(run, tmp_path, file, problem):
    result = run("--count", 1, "--out", tmp_path / "chosen.extxyz", frames=(file,))
    assert problem in refused(result)


@pytest.mark.parametrize("name", ["chosen.extxyz", "chosen.json"])
def test_nothing_is_overwritten(run, tmp_path, name):
    (tmp_path / name).write_text("mine")
    result = run("--count", 1, "--out", tmp_path / "chosen.extxyz")
    assert f"{name} exists, and nothing is overwritten" in refused(result)
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_name_says_the_format(run, tmp_path):
    result = run("--count", 1, "--out", tmp_path / "chosen.traj")
    assert "chosen.traj must end in .extxyz or .xyz" in refused(result)


def refused(result):
    """The one line on stderr of a run that was given bad input."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.long
def test_twenty_of_the_pool_cover_it(shared):
    """Real data: both volumes and both types first, and better than chance at the end."""
    frames = ase.io.read(shared / "data/lif_dft/pool_train.extxyz", ":")
    with jax.enable_x64(True):
        default = cast(load_default(), "float64")
    mean = np.array([describe_atoms(default, atoms).mean(axis=0) for atoms in frames])
    found = farthest_points(stack_environments(list(mean[:, None])), 20)
    kinds = [(a.info["config_type"], round(a.cell.lengths()[0], 1)) for a in frames]
    assert len(set(kinds)) == 4  # bulk and interstitial at 11.7 and 12.3 Å
    assert {kinds[index] for index in found.index[:6]} == set(kinds)

    def largest_left(rows):
        rest = np.delete(mean, rows, axis=0)
        return cdist(rest, mean[rows]).min(axis=1).max()

    rng = np.random.default_rng(0)
    by_chance = [largest_left(rng.choice(420, 20, replace=False)) for _ in range(1000)]
    assert found.left == pytest.approx(largest_left(found.index), rel=1e-9)
    # seen: 0.036, of 1000 random choices at least 0.052
    assert found.left < min(by_chance)
    assert found.left < 0.5 * np.median(by_chance)
