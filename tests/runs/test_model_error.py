"""The model's own error beside that of the hops, from a folder and labelled frames."""

import json
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from jaxdiff import checkpoints
from jaxdiff.analysis.crossings import Ensembles
from jaxdiff.calculator import MaceCalculator
from jaxdiff.io.provenance import sha256
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.objectives.last_layer import energy_feature
from jaxdiff.report.model_error import FILE, model_error, read_model_error
from jaxdiff.runs import model_error as own

# folders without sites, and a study of an energy only
pytestmark = pytest.mark.usefixtures("unchecked")

CELL = bulk("LiF", "rocksalt", a=4.1, cubic=True)


def interstitial():
    system = rock_salt_interstitial(2, 4.1)
    return ase.Atoms(system.atomic_number, system.position, cell=system.cell, pbc=True)


def shaken(rng, size=0.1, cell=CELL):
    atoms = cell.copy()
    atoms.positions += size * rng.normal(size=atoms.positions.shape)
    return atoms


def labelled(path, rng, cell):
    """Frames with the energies of the embedded model with other last weights."""
    calculator, frames = MaceCalculator("lif-compact"), []
    model = checkpoints.load("lif-compact")
    away = np.random.default_rng(7).normal(size=len(energy_feature(model, CELL)))
    for _ in range(40):
        atoms = shaken(rng, cell=cell)
        atoms.calc = calculator
        energy = atoms.get_potential_energy() + 0.001 * rng.normal()
        energy += 0.01 * float(energy_feature(model, atoms) @ away)
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        atoms.info["REF_energy"] = energy
        frames.append(atoms)
    ase.io.write(path, frames)
    return [str(path)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run of eight atoms whose crossings are more distorted than its other frames."""
    rng = np.random.default_rng(2)

    def positions(n, size):
        return np.stack([shaken(rng, size).positions for _ in range(n)])

    found = [Ensembles(t, positions(24, 0.25), positions(24, 0.1)) for t in (600.0, 900.0)]
    with checkpoints.locate("lif-compact") as file:
        digest = sha256(file)
    series = SimpleNamespace(
        run_file='[model]\nname_or_path = "lif-compact"\n',
        provenance=json.dumps({"model_sha256": digest}),
        temperature=np.array([600.0, 900.0]),
        cell=np.stack([CELL.cell.array] * 2),
        network=ROCK_SALT,
        is_mobile=CELL.numbers == 3,
    )
    monkeypatch.setattr(own, "load_series", lambda _: series)
    monkeypatch.setattr(own, "load_ensembles", lambda _: found)
    ase.io.write(tmp_path / "final.extxyz", CELL)
    return tmp_path, series


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "trusted"), [(interstitial(), True), (CELL, False)])
def test_both_errors_stand_beside_each_other(folder, cell, trusted):
    """Labels of other last weights are what is allowed for, if frames show a jump."""
    directory, _ = folder
    rng = np.random.default_rng(3)
    frames = [labelled(directory / f"{n}.extxyz", rng, cell) for n in ("train", "valid")]
    record = own.write_model_error(directory, *frames)
    assert read_model_error(directory) == json.loads((directory / FILE).read_text())
    calibration = record["calibration"]
    assert (calibration is not None and calibration["trusted"]) is trusted
    assert min(record["log_diffusivity_at_most"]) > 0
    assert record["activation_energy_at_most_ev"] > 0
    energy = SimpleNamespace(standard_error=0.03)
    fit = SimpleNamespace(activation_energy=energy)
    study = SimpleNamespace(activation=SimpleNamespace(headline=fit))
    text = model_error(record, study)[1].text
    assert "that of the hops is 0.030 eV" in text
    assert ("Not to be trusted" in text) is not trusted


def test_an_error_that_noise_hides_has_a_bound():
    record = {
        "temperature_kelvin": [800.0, 900.0],
        "log_diffusivity_standard_error": [None, 0.2],
        "log_diffusivity_at_most": [0.1, 0.3],
        "activation_energy_standard_error_ev": None,
        "activation_energy_at_most_ev": 0.05,
        "crossings": [30, 40],
        "frames": [400, 400],
        "calibration": None,
    }
    fit = SimpleNamespace(activation_energy=SimpleNamespace(standard_error=0.03))
    study = SimpleNamespace(activation=SimpleNamespace(headline=fit))
    text = model_error(record, study)[1].text
    assert "a factor in D of at most 1.11 at 800 K, 1.22 at 900 K" in text
    assert "at most 0.050 eV in Ea; that of the hops is 0.030 eV. *At most*" in text
    assert "Not to be trusted" in text


def test_another_model_is_refused(folder):
    directory, series = folder
    series.provenance = json.dumps({"model_sha256": "0" * 64})
    with pytest.raises(ValueError, match="not the model of this run"):
        own.write_model_error(directory, [], [])


def test_a_folder_without_is_as_before(tmp_path):
    assert read_model_error(tmp_path) is None
    assert model_error(None, None) == []
    (tmp_path / FILE).write_text("[1")
    assert read_model_error(tmp_path) is None
