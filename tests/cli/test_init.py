"""Run files to begin with are read by their commands as they are."""

import re
import tomllib

import ase
import numpy as np
import pytest
from ase.spacegroup import crystal
from typer.testing import CliRunner

from jaxdiff.cli import app
from jaxdiff.io import barrierfile, runfile
from jaxdiff.io.trainfile import read_train_file
from jaxdiff.runs import start

READ = {
    "simulate": runfile.load,
    "lattice": runfile.load,
    "barrier": lambda path: barrierfile.load(path),
    "finetune": lambda path: read_train_file(path),
}


def init(*arguments):
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


@pytest.fixture
def li2o(tmp_path):
    places = [(0.25, 0.25, 0.25), (0, 0, 0)]
    atoms = crystal(["Li", "O"], places, spacegroup=225, cellpar=[4.62] * 3 + [90] * 3)
    atoms.write(tmp_path / "li2o.cif")
    return tmp_path / "li2o.cif"


@pytest.mark.parametrize("kind", READ)
def test_every_kind_is_read_by_its_command(tmp_path, kind):
    data = tmp_path / "frames.extxyz"
    ase.Atoms("Li").write(data)
    result = init(tmp_path / "new", "--kind", kind, "--data", data)
    assert result.exit_code == 0, result.output
    path = tmp_path / "new" / f"{kind}.toml"
    assert f"jaxdiff {kind} {path}" in " ".join(result.output.split())
    assert READ[kind](path) is not None
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\w+ = ", line):  # a sentence stands above every key
            assert re.match(r"# [A-Z0-9\"`(].{5,}\.$", lines[number - 1]), line
    again = init(tmp_path / "new", "--kind", kind, "--data", data)
    assert again.exit_code == 2
    assert "nothing is overwritten" in again.output


def test_a_crystal_of_ones_own(tmp_path, li2o):
    result = init(tmp_path, "--structure", li2o, "--model", "own.safetensors")
    assert result.exit_code == 0, result.output
    run = runfile.load(tmp_path / "simulate.toml")
    assert run.system.repeat == (3, 3, 3)  # 13.9 Å
    assert run.system.mobile == "Li"
    assert (run.hops.network, run.model.name_or_path) == (str(li2o), "own.safetensors")
    systems = start.systems(run)
    assert systems[0].n_atoms == 12 * 27
    np.testing.assert_allclose(systems[0].cell, 3 * 4.62 * np.eye(3))
    table = tomllib.loads((tmp_path / "simulate.toml").read_text())
    assert "supercell" not in table["system"]


def test_what_is_missing_is_said(tmp_path, li2o):
    for words, given in (
        ("needs labelled frames; give --data", ("--kind", "finetune")),
        ("is for LiF alone", ("--kind", "lattice", "--structure", li2o)),
        ("takes two structures", ("--kind", "barrier", "--structure", li2o)),
        ("does not exist", ("--structure", tmp_path / "none.cif")),
    ):
        result = init(tmp_path, *given)
        assert result.exit_code == 2
        assert words in " ".join(result.output.split())
    assert not list(tmp_path.glob("*.toml"))
