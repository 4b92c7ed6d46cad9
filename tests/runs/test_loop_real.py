"""Two rounds of the loop of simulate/active, with real DFT, killed on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import pytest
from quantum_espresso import pseudopotentials

RECIPE = Path(__file__).parents[2] / "simulate/active"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The recipe in a folder of its own, shorter, with its first labels."""
    pseudopotentials()
    folder = tmp_path / "simulate/active"
    shutil.copytree(RECIPE, folder)
    for name, old, new in (
        ("first_frames.py", "frames(12, 1)", "frames(6, 1)"),
        ("first_frames.py", "frames(6, 2)", "frames(2, 2)"),
        ("finetune.toml", "epochs = 25", "epochs = 8"),
        ("loop.toml", "count = 4", "count = 2"),
        ("loop.toml", "per_angstrom = 0.1", "per_angstrom = 1e-6"),
        ("interstitial.toml", "[500, 1000]", "[500]"),
        ("bulk.toml", "[500, 1000]", "[500]"),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "simulate/active/first_frames.py"], check=True)
    label = ["label", "simulate/active/label.toml"]
    jaxdiff(*label, "runs/lif_active/first.extxyz")
    held_out = "--set=output.directory=runs/lif_active/held_out"
    jaxdiff(*label, "runs/lif_active/held_out.extxyz", held_out)
    return tmp_path


def start(*arguments):
    command = [sys.executable, "-m", "jaxdiff", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def jaxdiff(*arguments):
    process = start(*arguments)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return said


def test_it_is_a_recipe_of_the_run_files():
    """Without pw.x: all keys of the recipe are known."""
    from jaxdiff.io import labelfile, loopfile, runfile
    from jaxdiff.io.trainfile import read_train_file

    run = loopfile.load(RECIPE / "loop.toml")
    for section in run.sample.values():
        assert runfile.load(section.run_file).positions_every_ps
    assert labelfile.load(run.label.run_file).dft.code == "espresso"
    assert read_train_file(run.train.run_file).data.valid


@pytest.mark.long
def test_two_rounds_with_real_labels(place):
    process = start("loop", "simulate/active/loop.toml")
    label = place / "runs/lif_active/loop/round-01/chosen.extxyz"
    limit = time.monotonic() + 600
    while not label.exists():  # the labels of the first round come next
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.1)
    time.sleep(2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = {
        p: p.stat().st_mtime_ns
        for p in (place / "runs/lif_active/loop").glob("round-0*/*.json")
    }
    assert {path.stem for path in before} >= {"train", "sample"}
    said = jaxdiff("loop", "simulate/active/loop.toml")
    for path, changed in before.items():  # what was done is not done again
        assert path.stat().st_mtime_ns == changed
    assert "round 1: sample" not in said
    table = json.loads((place / "runs/lif_active/loop/rounds.json").read_text())
    assert table["ended"] == "2 rounds are done (stop.rounds)"
    frames = [one["train"]["frames"] for one in table["rounds"]]
    assert frames == [6, 9, 12]
    labels = ase.io.read(place / "runs/lif_active/loop/labels/labels.extxyz", ":")
    assert len(labels) == 6
    assert {a.info["config_type"] for a in labels} == {"interstitial", "bulk"}
    assert all(a.info["label_source"].startswith("round ") for a in labels)
    for unit in (place / "runs/lif_active/loop/labels/units").glob("*.log"):
        assert len(re.findall("eV, after", unit.read_text())) == 1  # each label once
    errors = [one["train"]["errors"][0]["forces_rmse"] for one in table["rounds"]]
    assert min(errors[1:]) < errors[0]  # meV/Å on frames that no training saw
