"""A run compares its evaluator with the plain one before it starts, or goes on."""

import dataclasses
import json
import tomllib

import jax
import numpy as np
import pytest

from jaxdiff.analysis.series import load_series
from jaxdiff.checkpoints import save_native
from jaxdiff.io import runfile
from jaxdiff.io.series import SERIES
from jaxdiff.models import evaluators
from jaxdiff.models.mace import compiled
from jaxdiff.models.mace.initial import initialize
from jaxdiff.report import settings
from jaxdiff.runs import build, memory, self_check, simulation

RUN = """
[model]
name_or_path = "{model}"
evaluator = "compiled"
[system]
supercell = 2
[ensemble]
temperatures_kelvin = [600]
replicas_per_temperature = 2
timestep_fs = 2
seed = 7
[equilibration]
duration_ps = 0.02
[production]
duration_ps = 0.12
[output]
directory = "{directory}"
"""


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    """A model that compiles quickly."""
    light = dataclasses.replace(
        model.architecture, max_ell=1, hidden=((0,), (0,)), correlation=(2, 1), channels=4
    )
    energies = np.array([[-200.0, -2700.0]])
    path = tmp_path_factory.mktemp("light") / "model.safetensors"
    save_native(path, initialize(light, jax.random.key(5), atomic_energies=energies))
    return path


@pytest.fixture
def parsed(file, tmp_path):
    def parsed(*overrides, directory="run"):
        text = RUN.format(model=file, directory=tmp_path / directory)
        return runfile.parse(runfile.overridden(tomllib.loads(text), list(overrides)))

    return parsed


@pytest.fixture
def broken(monkeypatch):
    """The compiled evaluator with all weights a thousandth too large."""

    def prepare(model, request):
        wrong = jax.tree.map(lambda x: 1.001 * np.asarray(x), model.weights)
        return compiled.prepare(dataclasses.replace(model, weights=wrong), request)

    kernel = dataclasses.replace(compiled.COMPILED, prepare=prepare)
    choose = evaluators.choose
    monkeypatch.setattr(
        evaluators,
        "choose",
        lambda model, kind: choose(model, kernel if kind == "compiled" else kind),
    )


def start(run):
    ensemble = build.build(run)
    return ensemble, ensemble.conditions(build.EQUILIBRATION), ensemble.first_state()


@pytest.mark.slow
def test_both_evaluators_agree_with_terms_beside_them(parsed):
    """In a perfect crystal, too, where forces vanish unless atoms are moved."""
    for overrides in (
        ["system.interstitials=0", "model.precision=float64", "model.radial_tolerance=0"],
        ["model.dispersion=d3bj", "model.dispersion_cutoff_angstrom=8"],
    ):
        ensemble, *given = start(parsed(*overrides))
        found = self_check.compare(ensemble, ensemble.potential.model, *given)
        assert isinstance(found, self_check.SelfCheck)
        exact = overrides[1] == "model.precision=float64"
        assert max(found.found) < (1e-9 if exact else 1e-4)
        assert found.passed
        position = self_check._of_the_run(ensemble, *given, 0)[0]
        moved = position - np.asarray(given[1].motion.position[0])
        assert 0.015 < moved.std() < 0.025


@pytest.mark.slow
def test_a_wrong_evaluator_stops_the_run_with_the_figures(parsed, broken, tmp_path):
    said = []
    run = parsed()
    with pytest.raises(ValueError, match='model.evaluator = "plain"') as error:
        simulation.simulate(run, tmp_path / "run", lambda *_: None, said.append)
    ensemble, *given = start(run)
    found = self_check.compare(ensemble, ensemble.potential.model, *given)
    assert isinstance(found, self_check.SelfCheck)
    assert found.energy_ev_per_atom > found.allowed[0]
    assert found.force_ev_per_angstrom > found.allowed[1]
    for text in (str(error.value), said[0]):
        assert f"compiled in float32 differs from plain in float64 by {found}" in text
    assert f"{found.force_ev_per_angstrom:.1e} eV/Å (allowed 1e-04)" in str(found)
    assert not (tmp_path / "run" / SERIES).exists()


@pytest.mark.slow
def test_or_it_goes_on_with_the_plain_one(parsed, broken, tmp_path):
    """With the same bits as a run that asked for it; and says so."""
    said = []

    def positions(name, *overrides):
        run = parsed(*overrides, directory=name)
        simulation.simulate(run, tmp_path / name, lambda *_: None, said.append)
        return (tmp_path / name / "final.extxyz").read_text()

    found = positions("fallen", "model.if_evaluator_differs=plain")
    first, second, *_ = said
    assert first.startswith("Self-check of the evaluator: compiled in float32 differs")
    assert second.startswith("Self-check of the evaluator: plain in float32 differs")
    assert found == positions("asked", "model.evaluator=plain")
    series = load_series(tmp_path / "fallen" / SERIES)
    provenance = json.loads(series.provenance)
    assert provenance["evaluator"].startswith("plain: compiled differed from it by ")
    assert provenance["working_bytes"] > 0
    check = provenance["self_check"]
    assert check["force_ev_per_angstrom"] < check["allowed"][1]
    shown = str(settings.source(series))
    assert "difference from the plain evaluator" in shown
    assert check["in_words"] in shown


@pytest.mark.slow
def test_a_plain_evaluator_that_is_wrong_stops_it_whatever_is_asked(parsed, monkeypatch):
    monkeypatch.setattr(self_check, "TOLERANCE", 0.0)
    monkeypatch.setattr(self_check, "OF_TABLES", 0.0)
    run = parsed("model.evaluator=plain", "model.if_evaluator_differs=plain")
    with pytest.raises(ValueError, match=r'use model.precision = "float64"'):
        self_check.settled(*start(run), lambda line: None)


@pytest.mark.slow
def test_what_cannot_be_compared_is_said(parsed, monkeypatch):
    said = []
    ensemble, *given = start(parsed())
    monkeypatch.setattr(memory, "host_bytes", lambda: 1000)
    settled, found = self_check.settled(ensemble, *given, said.append)
    assert settled is ensemble
    assert "the plain evaluator needs 0.0 GB" in found["not_compared"]
    assert found["not_compared"] in said[0]
    other = dataclasses.replace(ensemble.potential, model=None)
    other = dataclasses.replace(ensemble, potential=other)
    assert self_check.settled(other, *given, said.append) == (other, {})
    assert len(said) == 1


def test_an_error_that_is_not_a_number_is_none(parsed):
    check = self_check.SelfCheck(float("nan"), 0.0, 0.0, (1.0, 1.0, 1.0))
    assert not check.passed
