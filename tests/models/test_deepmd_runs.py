"""DeepPot-SE through a run and a committee: a model like any other."""

import json
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_second_family as second
from ase.build import bulk
from deepmd_oracle import weak

from jaxdiff import checkpoints, neighbors
from jaxdiff.analysis import load_series
from jaxdiff.calculator import MaceCalculator
from jaxdiff.finetune.environments import committee_deviation
from jaxdiff.io import runfile
from jaxdiff.lattice.lithium_fluoride import rock_salt
from jaxdiff.runs import build, simulation
from jaxdiff.system import to_ase


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("deepmd") / "weak.dp"
    checkpoints.save(path, weak())
    return path


def test_force_field_of_a_run(file):
    """What `simulate` integrates, with tables, beside the calculator, without."""
    system = rock_salt(2, 4.0)
    section = runfile.ModelSection(name_or_path=str(file), precision="float64")
    field = build.load_potential(section, system)
    assert field.evaluator == "compiled: faster than the plain one on a CPU"
    atoms = to_ase(system)
    atoms.rattle(0.1, seed=2)
    position, cell = jnp.asarray(atoms.positions), jnp.asarray(system.cell)
    lists = neighbors.allocate(position, cell, field.cutoff, 0.2)
    found = jax.jit(field.energy_and_force)(field.params, position, cell, lists)
    atoms.calc = MaceCalculator(file)
    forces = atoms.get_forces()
    largest = np.abs(forces).max()
    assert largest > 1e-4
    energy = atoms.get_potential_energy()
    assert found[0] == pytest.approx(energy, abs=1e-5 * largest * len(atoms))
    np.testing.assert_allclose(found[1], forces, rtol=0, atol=1e-5 * largest)
    strain = atoms.get_stress(voigt=False) * atoms.get_volume()
    np.testing.assert_allclose(found[2], strain, rtol=0, atol=1e-4 * largest)


def test_a_committee_and_a_species_that_is_not_there():
    atoms = bulk("LiF", "rocksalt", a=4.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    same, other = weak(0), weak(1)
    assert committee_deviation([same, same], atoms).force == 0
    assert committee_deviation([same, other], atoms).force > 1e-5
    atoms.symbols[0] = "Na"
    with pytest.raises(ValueError, match="the model does not know Na; it knows Li, F"):
        committee_deviation([same, other], atoms)


@pytest.mark.slow
def test_simulate(file, tmp_path):
    text = second.SIMULATE.format(model=file, out=tmp_path / "out")
    run = runfile.parse(tomllib.loads(text))
    simulation.simulate(run, tmp_path / "out", lambda *_: None, lambda _: None)
    series = load_series(tmp_path / "out/series.h5")
    assert json.loads(series.provenance)["evaluator"].startswith("compiled: ")
