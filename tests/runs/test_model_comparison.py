"""`jaxdiff model compare`: its numbers, its files, and what it does not compute again."""

import csv
import json
from pathlib import Path

import ase.io
import ions_family
import numpy as np
import pytest
from ase.build import bulk
from ase.eos import calculate_eos
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ions_family import ions
from typer.testing import CliRunner

from jaxdiff import checkpoints, units
from jaxdiff.calculator import MaceCalculator
from jaxdiff.checkpoints import families
from jaxdiff.cli import app
from jaxdiff.runs import model_comparison

HEADS = Path(__file__).parents[1] / "data/tiny.model"
"""Of two heads."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With a file of ions, a family that the table now has, and a crystal of them."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, ions_family.FAMILY))
    checkpoints.save_native(tmp_path / "ions.safetensors", ions())
    crystal = bulk("LiF", "rocksalt", a=3.7, cubic=True)
    crystal.set_cell(crystal.cell.array * [[1.01], [1], [1]], scale_atoms=True)
    ase.io.write(tmp_path / "crystal.extxyz", crystal)
    return tmp_path


def called(folder, *models, structure=None, **options):
    options |= {} if structure is None else {"structure": folder / structure}
    given = [str(x) for k, v in options.items() for x in (f"--{k.replace('_', '-')}", v)]
    cells = ["--supercell", "1", "1", "1"] if structure else []
    command = ["model", "compare", *map(str, models), "--out", str(folder / "out")]
    return CliRunner().invoke(app, command + cells + given)


def content(folder):
    return json.loads((folder / "out/models.json").read_text())


@pytest.mark.slow
def test_any_crystal(folder):
    """It is the same rock salt, in another cell; jumps and defects are not known of it."""
    result = called(folder, folder / "ions.safetensors", structure="crystal.extxyz")
    assert result.exit_code == 0, result.output
    (entry,) = content(folder)["models"].values()
    assert list(entry) == ["identity", "lattice", "bulk modulus", "phonons", "cost"]
    edges = [entry["lattice"][f"{axis}_angstrom"] for axis in "abc"]
    assert edges == pytest.approx([3.61376] * 3, abs=1e-3)
    assert entry["bulk modulus"]["bulk_modulus_gpa"] == pytest.approx(125.7, rel=5e-3)
    assert len(entry["phonons"]["at_gamma_thz"]) == 3 * 8 - 3
    assert entry["cost"]["atoms"] == 8
    assert entry["cost"]["microseconds_per_atom"] > 0
    assert "a (Å)" in result.stdout
    (row,) = csv.DictReader((folder / "out/models.csv").open())
    assert float(row["a_angstrom"]) == edges[0]
    assert "| a (Å) | 3.613" in (folder / "out/models.md").read_text()


@pytest.fixture
def quick(monkeypatch):
    """Two quantities in place of all, and a list of those that were computed."""
    computed = []

    def lattice(subject):
        computed.append((subject.section.head, subject.section.dispersion))
        return {"lattice_constant_angstrom": 4.0 + len(computed)}

    def barrier(subject):
        raise ValueError("both ends are one.")

    table = {"lattice": lattice, "barrier": barrier}
    monkeypatch.setattr(model_comparison, "QUANTITIES", table)
    return computed


def test_what_is_there_is_not_computed_again(folder, quick):
    one, other = folder / "ions.safetensors", "lif-compact"
    assert called(folder, one).exit_code == 0
    result = called(folder, one, other)
    assert result.exit_code == 0
    assert len(quick) == 2
    assert "5.0000" in result.stdout
    assert "6.0000" in result.stdout
    assert "ions.safetensors: no barrier: both ends are one." in result.stderr
    assert called(folder, other, dispersion="d3bj").exit_code == 0
    assert quick == [(None, None), (None, None), (None, "d3bj")]
    assert "lif-compact + d3bj pbe" in content(folder)["models"]


def test_a_model_that_fails_is_told_and_the_others_go_on(folder, quick):
    absent = folder / "absent.model"
    result = called(folder, HEADS, absent, "lif-compact", f"{HEADS}:pbe")
    assert result.exit_code == 0
    assert len(quick) == 2
    assert quick[1] == ("pbe", None)
    assert "has the heads pbe, r2scan" in result.stderr
    assert f"Give MODEL:HEAD, as in {HEADS}:pbe." in result.stderr
    assert "absent.model is neither a file nor the name of a model" in result.stderr
    rows = list(csv.DictReader((folder / "out/models.csv").open()))
    assert [bool(row["failed"]) for row in rows] == [True] * 4  # two have no barrier
    assert called(folder, absent).exit_code == 0  # the others are still in the table
    assert set(content(folder)["failed"]) == {str(absent)}


def test_no_model_at_all(folder, quick):
    assert called(folder, folder / "absent.model").exit_code == 2


def test_another_file_of_a_name_is_refused(folder, quick):
    file = folder / "ions.safetensors"
    called(folder, file)
    checkpoints.save_native(file, ions(1.1))
    result = called(folder, file)
    assert result.exit_code == 2
    assert "it is another model" in result.stderr
    assert len(quick) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"structure": "crystal.extxyz"}, "with crystal = LiF, not"),
        ({"dispersion": "d4"}, "--dispersion d4 is not offered; give d3bj"),
        ({"dispersion_functional": "pbe"}, "add --dispersion d3bj"),
        ({"dispersion": "d3bj", "dispersion_functional": "pbx"}, "pbx"),
    ],
)
def test_faults_of_the_command_line(folder, quick, options, sentence):
    called(folder, "lif-compact")
    result = called(folder, "lif-compact", **options)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(quick) == 1


def test_a_damaged_record_is_told(folder, quick):
    called(folder, "lif-compact")
    (folder / "out/models.json").write_text("{")
    assert "models.json is damaged" in called(folder, "lif-compact").stderr


def test_a_lattice_that_is_no_rock_salt_ends_its_model(folder, monkeypatch):
    sheared = bulk("LiF", "rocksalt", a=3.7)
    sheared.set_cell(sheared.cell.array * [[1.1], [1], [1]])
    monkeypatch.setattr(model_comparison, "relax_cell", lambda *_: sheared)
    result = called(folder, "lif-compact")
    assert "no lattice: rock salt is no minimum of this model" in result.stderr
    assert list(content(folder)["models"]["lif-compact"]) == ["identity", "lattice"]


@pytest.mark.long
def test_the_embedded_model(folder):
    """Lattice by ASE from another cell, B by ASE's curve, the barrier as docs have it.

    Beside it ions, and a file of other elements, which is told.
    """
    oxygen = folder / "oxygen.safetensors"
    checkpoints.save_native(oxygen, checkpoints.load(HEADS).restrict([8]))
    result = called(folder, "lif-compact", folder / "ions.safetensors", oxygen)
    assert result.exit_code == 0, result.output
    assert "the model does not know Li, F; it knows O." in result.stderr
    compact, toy = content(folder)["models"].values()
    atoms = bulk("LiF", "rocksalt", a=4.2, cubic=True)
    atoms.calc = MaceCalculator("lif-compact", precision="float64")
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=200)
    a = atoms.cell.lengths()
    constant = compact["lattice"]["lattice_constant_angstrom"]
    assert a == pytest.approx([constant] * 3, abs=2e-4)
    curve = calculate_eos(atoms, npoints=7, eps=0.03)
    modulus = curve.fit()[2] / units.GIGAPASCAL
    assert compact["bulk modulus"]["bulk_modulus_gpa"] == pytest.approx(modulus, rel=0.01)
    assert compact["barrier"]["barrier_ev"] == pytest.approx(0.152, abs=2e-3)
    frequencies = compact["barrier"]["saddle_frequencies_thz"]
    assert frequencies[0] < 0 < frequencies[1]
    assert compact["phonons"]["imaginary_modes"] == 0
    assert toy["lattice"]["lattice_constant_angstrom"] == pytest.approx(3.6138, abs=1e-3)
    assert np.isfinite([m["defects"]["frenkel_ev"] for m in (compact, toy)]).all()
