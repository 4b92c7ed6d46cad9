"""Dispersion beside a force field: in ensembles, at constant pressure, and refused."""

import dataclasses
import tomllib

import ionic_run
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.analysis.series import load_series
from jaxdiff.calculator import dispersion_of
from jaxdiff.io import barrierfile, runfile, trainfile
from jaxdiff.io.config import RunFileError, checked
from jaxdiff.report.settings import source
from jaxdiff.runs import build, levels
from jaxdiff.system import to_ase

WITH = {"model__dispersion": "d3bj", "model__dispersion_cutoff_angstrom": 8.0}


def parse(directory="nowhere", **changes):
    table = tomllib.loads(ionic_run.RUN.format(directory=directory))
    overrides = [f"{name.replace('__', '.')}={value}" for name, value in changes.items()]
    return runfile.parse(runfile.overridden(table, overrides))


@pytest.mark.slow
def test_energies_forces_and_strain_of_replicas_are_those_of_both():
    """Two replicas at once, as a group is computed, with parameters as arguments."""
    ensemble = build.build(parse(**WITH), ionic_run.load)
    state, field = ensemble.first_state(), ensemble.potential
    place = state.motion.position[:2], state.motion.cell[:2]
    lists = jax.tree.map(lambda x: x[:2], state.neighbors)
    many = jax.jit(jax.vmap(field.energy_and_force, (None, 0, 0, 0)))
    both = many(field.params, *place, lists)
    ions = ionic_run.load(None, ensemble.systems[0])
    alone = jax.vmap(ions.energy_and_force, (None, 0, 0, 0))(ions.params, *place, lists)
    for r, system in enumerate(ensemble.systems[:2]):
        atoms = to_ase(dataclasses.replace(system, velocity=None))
        expected = dispersion_of(atoms, "pbe", 8.0)
        assert expected[0] < -10
        for total, part, own in zip(both, alone, expected, strict=True):
            np.testing.assert_allclose(total[r] - part[r], own, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_run_says_that_dispersion_was_added(tmp_path):
    changes = {**WITH, "model__dispersion_functional": "pbesol"}
    run = parse(tmp_path / "run", ensemble__temperatures_kelvin="[900]", **changes)
    text = runfile.to_toml(run)
    assert 'dispersion_functional = "pbesol"' in text
    assert "diverged" not in ionic_run.run(text)
    series = load_series(tmp_path / "run/series.h5")
    assert "DFT-D3(BJ) of pbesol, pairs up to 8" in series.provenance
    said = str(source(series))
    assert "terms added to the energy of the model" in said
    assert "DFT-D3(BJ) of pbesol" in said
    without = parse(tmp_path / "run", ensemble__temperatures_kelvin="[900]")
    with pytest.raises(ValueError, match="dispersion"):
        ionic_run.run(runfile.to_toml(without))


def test_images_suffice_for_the_smallest_cell_of_a_study():
    run = parse(model__dispersion="d3bj")
    system = build.build(run, ionic_run.load).systems[0]
    term = levels.terms_of(run.model, system, compression=0.05)[0]
    cell = jnp.asarray(system.cell)
    energies = [
        float(jax.jit(term.energy_force_strain)(scale * system.position, scale * cell)[0])
        for scale in (1.0, 0.96)
    ]
    assert energies[1] < energies[0] < 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__dispersion": "d3bj", "model__dispersion_functional": "pbee"},
            r"^model\.dispersion: 'pbee' has no parameters .* one of .*, pbe, ",
        ),
        ({"model__dispersion": "d4"}, r'model\.dispersion = "d4": .*d3bj'),
        (
            {"model__dispersion_functional": "pbe"},
            r'dispersion_functional says nothing without dispersion; add .* = "d3bj"',
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build.build(parse(**changes), ionic_run.load)


def test_training_refuses_dispersion():
    with pytest.raises(
        RunFileError, match="dispersion is no part of a model that is train"
    ):
        checked(
            trainfile.TrainFile,
            {"model": {"name_or_path": "lif-compact", "dispersion": "d3bj"}},
        )


def test_a_barrier_with_dispersion_is_another_one():
    model = {"name_or_path": "lif-compact"}
    table = {
        "system": {"supercell": 2, "paths": ["collinear"]},
        "output": {"directory": "nowhere"},
    }
    plain, with_it = (
        checked(barrierfile.BarrierFile, {"model": model | more, **table}).model
        for more in ({}, {"dispersion": "d3bj"})
    )
    assert levels.what_counts(plain) == {}
    assert levels.what_counts(with_it) == {"dispersion": "d3bj"}
