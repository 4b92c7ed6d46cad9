"""What `benchmarks/device.py` keeps, makes again, and says where it cannot."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/device.py"


@pytest.fixture
def device(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("device")


def run(*arguments, **environment):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    given = {"capture_output": True, "text": True, "env": os.environ | environment}
    done = subprocess.run(command, check=False, **given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_time_it_says_what_is_missing(device, tmp_path):
    printed = run(tmp_path / "rows.jsonl", "--minutes", "0")
    for case in device.cases(is_tiny=False):
        assert case.name in printed
    assert "correct embedded compiled float32;" in printed  # the most important first
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_result_counts_for_its_device_its_jax_and_its_size_alone(device):
    row = {"case": "x", "device": "A", "tiny": False, "versions": {"jax": "1"}}
    assert device.is_same(row, row)
    for other in ({"device": "B"}, {"tiny": True}, {"versions": {"jax": "2"}}):
        assert not device.is_same(row, row | other)


def test_a_case_that_fails_has_its_reason(device):
    def fails(text):
        raise ValueError(text)

    found = device.result_of(device.Case("part", "name", fails, ("too small\nhere",)))
    assert found == {"not_run": "ValueError: too small"}
    row = {"case": "name", "versions": {}, **found}
    assert device.line(row) == "| name | not run: ValueError: too small |"


@pytest.mark.slow
def test_what_is_there_is_not_made_again_and_what_was_cut_off_twice_not_at_all(
    device, tmp_path
):
    """Of the tiny model on a CPU: right, by each route that there is here."""
    results = tmp_path / "rows.jsonl"
    device.work("correct", results, True, float("inf"))
    rows = device.rows(results)
    found = {row["case"]: row for row in rows if "begun" not in row}
    assert len(found) == len(device.ROUTES)
    for kind, dtype in device.ROUTES:
        row = found[f"correct tiny {kind} {dtype}"]
        if kind == "fused":
            assert "it is for CUDA GPUs" in row["not_run"]
        else:
            assert row["right"], row
            assert row["force_ev_per_angstrom"] > 0
    device.work("correct", results, True, float("inf"))
    assert device.rows(results) == rows
    kept = [row for row in rows if row["case"] != "correct tiny plain float32"]
    lost = next(row for row in rows if row["case"] == "correct tiny plain float32")
    results.write_text("".join(json.dumps(row) + "\n" for row in kept))
    for _ in range(2):
        device.append(results, lost)  # begun, and no more
    device.work("correct", results, True, float("inf"))
    assert device.rows(results)[-1]["not_run"] == "it was cut off twice"


def test_a_wrong_value_is_not_right(device, tmp_path, monkeypatch):
    reference = json.loads(device.REFERENCE.read_text(encoding="utf-8"))
    reference["tiny"]["forces"][3][0] += 1e-4
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(reference))
    monkeypatch.setattr(device, "REFERENCE", path)
    found = device.correct("tiny", "plain", "float64")
    assert not found["right"]
    assert found["force_ev_per_angstrom"] == pytest.approx(1e-4, rel=1e-2)
    reference["tiny"]["weights"] *= 1.001
    path.write_text(json.dumps(reference))
    assert (
        "not those of the reference"
        in device.correct("tiny", "plain", "float64")["not_run"]
    )
