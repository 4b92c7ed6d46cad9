"""`jaxdiff barrier`: what it writes, keeps and refuses."""

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from jaxdiff.calculator import MaceCalculator
from jaxdiff.cli import app
from jaxdiff.io import barrierfile, runfile
from jaxdiff.objectives.paths import NAMES, lithium_path
from jaxdiff.system import to_ase

RECIPE = Path(__file__).parents[2] / "simulate" / "lif_barriers.toml"

RUN = """
[model]
name_or_path = "lif-compact"
[system]
supercell = 2
paths = ["collinear"]
[search]
images = 3
[ends.nowhere]
first = "{folder}/one.xyz"
last = "{folder}/one.xyz"
[error]
train = ["{folder}/train.xyz"]
valid = ["{folder}/valid.xyz"]
[rates]
temperatures_kelvin = [300, 600]
radius_angstrom = 3.0
[output]
directory = "{folder}/out"
"""


def labelled(count, seed):
    """Cells of LiF with the embedded model's energies and 1 meV/atom of noise."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk("LiF", "rocksalt", a=4.08, cubic=True)
        atoms.positions += rng.normal(0, 0.1, (8, 3))
        atoms.calc = MaceCalculator("lif-compact")
        energy = atoms.get_potential_energy() + rng.normal(0, 8e-3)
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        atoms.info["REF_energy"] = energy
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A search that has run: a path with a barrier, and one without."""
    folder = tmp_path_factory.mktemp("barriers")
    system = lithium_path("collinear", (2, 2, 2)).system
    ase.io.write(folder / "one.xyz", to_ase(system), format="extxyz")
    for name, seed in (("train", 0), ("valid", 1)):
        ase.io.write(folder / f"{name}.xyz", labelled(8, seed), format="extxyz")
    (folder / "run.toml").write_text(RUN.format(folder=folder))
    result = called(folder)
    assert result.exit_code == 0, result.output
    assert re.search(r"collinear: 0\.15\d\d ± 0\.\d+ \(model\) eV forward", result.output)
    assert "nowhere: both ends relax to the same minimum" in result.output
    return folder


@pytest.mark.long
def test_the_models_own_error_of_a_barrier(folder):
    content = json.loads((folder / "out/barriers.json").read_text())
    assert content["error"]["n_train"] == 8
    entry = content["paths"]["collinear"]
    # both ends are equivalent
    assert entry["backward_model_error_ev"] == pytest.approx(
        entry["forward_model_error_ev"], rel=0.05
    )
    assert 1e-4 < entry["forward_model_error_ev"] < 1


@pytest.mark.long
def test_diffusivity_is_that_of_the_rate_and_the_jumps(folder):
    """4 ways of length √3a/2 from each site: D = 4 k (3 a²/4) / 6 = k a²/2."""
    entry = json.loads((folder / "out/barriers.json").read_text())["paths"]["collinear"]
    found = json.loads((folder / "out/diffusion.json").read_text())
    assert list(found) == ["interstitial"]
    assert found["interstitial"]["paths"] == ["collinear"]
    assert entry["vibrating_atoms"] == 21
    a = barrierfile.load(folder / "run.toml").system.lattice_constant_angstrom
    for row, temperature in zip(found["interstitial"]["rows"], (300, 600), strict=True):
        factor = np.exp(-entry["forward_ev"] / (8.617333e-5 * temperature))
        rate = entry["prefactor_thz"] * 1e12 * factor  # 1/s
        expected = rate * (a * 1e-8) ** 2 / 2
        assert row["temperature_kelvin"] == temperature
        assert row["defect_diffusivity_cm2_per_s"] == pytest.approx(expected, rel=1e-5)
        assert row["activation_energy_ev"] == pytest.approx(entry["forward_ev"])


def called(folder, *options):
    return CliRunner().invoke(app, ["barrier", str(folder / "run.toml"), *options])


@pytest.mark.long
def test_barrier_is_that_of_the_structures_it_writes(folder):
    entry = json.loads((folder / "out/barriers.json").read_text())["paths"]["collinear"]
    frames = ase.io.read(folder / "out" / entry["structures"], ":")
    assert len(frames) == 3 + 2 + 1
    start, saddle = frames[0], frames[-1]
    assert saddle.info["label"] == "saddle"
    energy, force = [], []
    for atoms in (start, saddle):
        atoms.calc = MaceCalculator("lif-compact", precision="float64")
        energy.append(atoms.get_potential_energy())
        force.append(np.linalg.norm(atoms.get_forces(), axis=1).max())
    assert entry["forward_ev"] == pytest.approx(energy[1] - energy[0], abs=1e-5)
    assert max(force) < 1.5e-3
    assert entry["lowest_frequencies_thz"][0] < 0 < entry["lowest_frequencies_thz"][1]
    assert (folder / "out/barriers.png").stat().st_size > 10_000


@pytest.mark.long
def test_a_band_that_fails_is_kept_with_the_reason(folder):
    changes = ("search.max_steps=70", "search.band_force_ev_per_angstrom=1e-9")
    out = f"output.directory={folder}/failed"
    result = called(folder, *(x for c in (out, *changes) for x in ("--set", c)))
    assert result.exit_code == 2
    entry = json.loads((folder / "failed/barriers.json").read_text())["paths"]["collinear"]
    assert "the band has forces up to" in entry["failed"]
    assert len(ase.io.read(folder / "failed" / entry["structures"], ":")) == 3 + 2
    assert len(entry["band_energy_ev"]) == 3 + 2


@pytest.mark.long
def test_what_is_there_is_not_searched_again(folder):
    before = (folder / "out/barriers.json").read_text()
    (folder / "out/collinear.extxyz").rename(folder / "out/moved")
    result = called(folder)
    (folder / "out/moved").rename(folder / "out/collinear.extxyz")
    assert result.exit_code == 0
    assert (folder / "out/barriers.json").read_text() == before


@pytest.mark.long
def test_a_folder_of_another_search_is_refused(folder):
    result = called(folder, "--set", "search.images=5")
    assert result.exit_code == 2
    assert "holds a run with search.images = 3, not 5" in result.output
    assert "Only system.paths, ends," in result.output


@pytest.mark.long
def test_ends_with_other_atoms_are_refused(folder):
    perfect = lithium_path("vacancy", (2, 2, 2)).system
    ase.io.write(folder / "other.xyz", to_ase(perfect), format="extxyz")
    out = f"output.directory={folder}/second"
    result = called(folder, "--set", out, "--set", f"ends.nowhere.last={folder}/other.xyz")
    assert result.exit_code == 2
    assert "have other atoms" in result.output


def test_the_recipe_names_every_path():
    assert sorted(barrierfile.load(RECIPE).system.paths) == sorted(NAMES)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"system": {"supercell": 2}}, "system.paths is missing"),
        (
            {"system": {"supercell": 2, "paths": ["colinear"]}},
            "system.paths.0 = \"colinear\": input should be 'collinear'",
        ),
        (
            {"system": {"supercell": 2, "paths": ["direct", "direct"]}},
            "these paths occur twice: direct",
        ),
        ({"system": None}, "there is nothing to search"),
        ({"system": {"cell": 2}}, "system.cell is not known; did you mean supercell"),
        ({"ends": {"a": {"frist": "x"}}}, "ends.a.frist is not known; did you mean first"),
        ({"ends": {"../a": {"first": "x", "last": "y"}}}, "use letters, digits"),
        ({"search": {"image": 7}}, "search.image is not known; did you mean images?"),
        (
            {"search": {"max_force": 1}},
            "search.max_force is not known",
        ),
        ({"system": {"supercell": 1}}, "must be at least 2"),
    ],
)
def test_faults_of_a_run_file_are_sentences(change, sentence):
    table = runfile.read_table(RECIPE) | change
    with pytest.raises(runfile.RunFileError, match=sentence):
        runfile.checked(barrierfile.BarrierFile, table)
