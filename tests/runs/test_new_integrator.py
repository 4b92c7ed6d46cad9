"""A thermostat of one file and one entry of the table, from the run file to the report."""

import tomllib

import h5py
import ionic_run
import numpy as np
import pytest
from andersen import ANDERSEN

from jaxdiff.io import runfile
from jaxdiff.md.integrators import TABLE
from jaxdiff.report import write_report
from jaxdiff.runs import build, checkpoint


def text(directory, production="andersen", equilibration="langevin"):
    return (
        ionic_run.RUN.format(directory=directory)
        .replace("[production]", f'[production]\nthermostat = "{production}"')
        .replace("[equilibration]", f'[equilibration]\nthermostat = "{equilibration}"')
        .replace("0.3\n[hops]", "0.3\nfriction_per_ps = 20\n[hops]")
    )


@pytest.mark.slow
def test_it_runs_is_saved_and_is_reported(tmp_path, monkeypatch):
    message = '"andersen": give one of nve, nose-hoover, langevin, csvr'
    with pytest.raises(runfile.RunFileError, match=f"production.thermostat = {message}"):
        runfile.parse(tomllib.loads(text(tmp_path)))
    monkeypatch.setitem(TABLE, ANDERSEN.name, ANDERSEN)
    ionic_run.run(text(tmp_path / "run"))
    with h5py.File(tmp_path / "run" / checkpoint.LATEST) as file:
        own = {name: x[()] for name, x in file["state/integrators/andersen"].items()}
        assert (own["count"] > 0).all()
        assert own["count"].sum() < 100  # 20 per ps in 0.3 ps, of four replicas
    with h5py.File(tmp_path / "run" / "series.h5") as file:
        thermo = file["thermo"]
        conserved, potential = (
            thermo[name][()] for name in ("conserved_energy_ev", "potential_energy_ev")
        )
    assert (conserved.std(axis=1) < 0.05 * potential.std(axis=1)).all()
    assert (np.abs(own["heat"]) > 10 * conserved.std(axis=1)).all()
    write_report(tmp_path / "run", allow_incomplete=True)
    report = (tmp_path / "run" / "report.md").read_text()
    assert f"| thermostat of the production | {ANDERSEN.title} |" in report


@pytest.mark.slow
def test_a_program_holds_what_its_run_uses():
    run = runfile.parse(tomllib.loads(text("nowhere", "nose-hoover")))
    ensemble = build.build(run, ionic_run.load)
    assert ensemble.plan.integrators == ("nve", "langevin", "nose-hoover")
    assert set(ensemble.first_state().integrators) == set(ensemble.plan.integrators)
    changed = tomllib.loads(text("nowhere", "nve", "nve")) | {"barostat": {}}
    assert runfile.parse(changed).integrator("production") == "cell-rescaling"
    assert runfile.parse(changed).integrator("equilibration") == "nve"


def test_thermostats_and_barostats_are_told_apart():
    table = tomllib.loads(text("nowhere", "cell-rescaling"))
    table["barostat"] = {"method": "csvr"}
    with pytest.raises(runfile.RunFileError) as error:
        runfile.parse(table)
    assert "nve, nose-hoover, langevin, csvr." in str(error.value)
    assert 'barostat.method = "csvr": give one of cell-rescaling.' in str(error.value)
    schema = runfile.RunFile.model_json_schema()["$defs"]["BarostatSection"]
    assert schema["properties"]["method"]["enum"] == ["cell-rescaling"]
