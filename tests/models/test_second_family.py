"""A family that the library does not know goes through it by its record alone."""

import json
import tomllib

import ase.io
import ions_family
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import neighbor_list
from ions_family import ions
from scipy.special import erfc

from jaxdiff import checkpoints, neighbors
from jaxdiff.analysis import load_series
from jaxdiff.calculator import MaceCalculator
from jaxdiff.checkpoints import families
from jaxdiff.finetune import loop
from jaxdiff.io import barrierfile, runfile
from jaxdiff.io.trainfile import read_train_file
from jaxdiff.lattice.lithium_fluoride import rock_salt
from jaxdiff.runs import barriers, build, simulation
from jaxdiff.system import to_ase

SIMULATE = """
[model]
name_or_path = "{model}"
precision = "float64"
[system]
supercell = 2
[ensemble]
temperatures_kelvin = [300]
replicas_per_temperature = 1
timestep_fs = 1
seed = 5
[equilibration]
thermostat = "nve"
duration_ps = 0.01
[production]
thermostat = "nve"
duration_ps = 0.02
[hops]
stride_fs = 5
[output]
directory = "{out}"
chunk_ps = 0.02
"""
FINETUNE = """
seed = 3
directory = "{out}"
precision = "float64"
[model]
name_or_path = "{model}"
[data]
train = ["{folder}/train.xyz"]
valid = ["{folder}/valid.xyz"]
isolated_atom_ev = "foundation"
[freeze]
groups = ["pair"]
[optimizer]
epochs = 4
batch_size = 2
learning_rate = 0.01
average_decay = 0.5
"""
BARRIER = """
[model]
name_or_path = "{model}"
[ends.vacancy]
first = "{folder}/first.xyz"
last = "{folder}/last.xyz"
[search]
images = 1
[output]
directory = "{folder}/barrier"
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A native file of the family, which the table now has."""
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, ions_family.FAMILY))
    checkpoints.save_native(tmp_path / "ions.safetensors", ions())
    return tmp_path / "ions.safetensors"


def crystal(seed):
    atoms = bulk("LiF", "rocksalt", a=4.0, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_calculator(file):
    atoms = crystal(0)
    atoms.calc = MaceCalculator(file)
    i, j, r = neighbor_list("ijd", atoms, 4.5)
    charge = np.where(atoms.numbers == 3, 1.0, -1.0)
    strength = np.array([99.0, 212.0, 421.0])[(charge[i] < 0) + 1 * (charge[j] < 0)]
    energy = strength * np.exp(-r / 0.299)
    energy += 14.4 * charge[i] * charge[j] * erfc(0.3 * r) / r
    energy = np.sum(0.5 * energy * (1 - (r / 4.5) ** 2) ** 3) - 3.0 * 4
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
    force = atoms.get_forces()[3, 1]
    energies = []
    for step in (-1e-4, 1e-4):
        moved = atoms.copy()
        moved.positions[3, 1] += step
        moved.calc = atoms.calc
        energies.append(moved.get_potential_energy())
    assert force == pytest.approx((energies[0] - energies[1]) / 2e-4, abs=1e-6)
    assert abs(force) > 1e-3


def test_force_field_of_a_run(file):
    """What `simulate` integrates: restricted, in the run's precision, with its reason."""
    system = rock_salt(2, 4.0)
    section = runfile.ModelSection(name_or_path=str(file), precision="float64")
    field = build.load_potential(section, system)
    assert field.evaluator.startswith("plain: no other is known to be faster")
    assert "their tolerance has no effect" in field.evaluator
    atoms = to_ase(system)
    atoms.rattle(0.1, seed=2)
    position, cell = jnp.asarray(atoms.positions), jnp.asarray(system.cell)
    lists = neighbors.allocate(position, cell, field.cutoff, 0.2)
    energy, force, _ = jax.jit(field.energy_and_force)(field.params, position, cell, lists)
    atoms.calc = MaceCalculator(file)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(force, atoms.get_forces(), rtol=0, atol=1e-9)
    section = section.model_copy(update={"evaluator": "compiled"})
    with pytest.raises(ValueError, match='"compiled", and this kind of model has plain'):
        build.load_potential(section, system)


@pytest.mark.slow
def test_simulate(file, tmp_path):
    run = runfile.parse(tomllib.loads(SIMULATE.format(model=file, out=tmp_path / "out")))
    simulation.simulate(run, tmp_path / "out", lambda *_: None, lambda _: None)
    series = load_series(tmp_path / "out/series.h5")
    assert json.loads(series.provenance)["evaluator"].startswith("plain: ")


def test_finetune(file, tmp_path):
    for name, seeds in (("train", range(4)), ("valid", (8, 9))):
        frames = [crystal(seed) for seed in seeds]
        for atoms in frames:
            atoms.calc = MaceCalculator(ions(1.05))
            atoms.info["REF_energy"] = atoms.get_potential_energy()
            atoms.arrays["REF_forces"] = atoms.get_forces()
            atoms.calc = None
        ase.io.write(tmp_path / f"{name}.xyz", frames, format="extxyz")
    path = tmp_path / "train.toml"
    path.write_text(FINETUNE.format(model=file, folder=tmp_path, out=tmp_path / "out"))
    model = loop.train(read_train_file(path)).model
    lines = (tmp_path / "out/metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["valid_loss"] for line in lines]
    assert losses[-1] < 0.7 * losses[0]
    charge = np.asarray(model.weights["charge"])
    assert 1.01 < charge[0] < 1.1
    np.testing.assert_array_equal(model.weights["pair"]["length"], 0.299)
    checkpoints.save_native(tmp_path / "trained.safetensors", model)
    again = checkpoints.load(tmp_path / "trained.safetensors")
    np.testing.assert_array_equal(again.weights["charge"], charge)


@pytest.mark.slow
def test_barrier(file, tmp_path):
    """A lithium beside a vacancy, in a cell of seven atoms: the ends are equivalent."""
    first = bulk("LiF", "rocksalt", a=3.6, cubic=True)
    vacancy, jumping = np.flatnonzero(first.numbers == 3)[:2]
    last, middle = first.copy(), first.copy()
    last.positions[jumping] = first.positions[vacancy]
    middle.positions[jumping] = (first.positions[vacancy] + first.positions[jumping]) / 2
    ends = [first, last, middle]
    for atoms in ends:
        del atoms[vacancy]
        atoms.calc = MaceCalculator(ions())
    rigid = middle.get_potential_energy() - first.get_potential_energy()
    for name, atoms in zip(("first", "last"), ends, strict=False):
        atoms.calc = None
        ase.io.write(tmp_path / f"{name}.xyz", atoms)
    path = tmp_path / "barrier.toml"
    path.write_text(BARRIER.format(model=file, folder=tmp_path))
    found = barriers.search_to_folder(barrierfile.load(path), lambda *_: None)["vacancy"]
    assert found["forward_ev"] == pytest.approx(found["backward_ev"], abs=1e-3)
    assert 0.1 * rigid < found["forward_ev"] < rigid
