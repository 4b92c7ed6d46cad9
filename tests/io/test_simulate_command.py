"""The command, with a harmonic crystal in place of a model."""

import importlib
import json
import shlex
import subprocess
import sys
import threading

import ase.io
import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jaxdiff.analysis import load_series
from jaxdiff.cli import app
from jaxdiff.io import folder as io_folder
from jaxdiff.runs import build
from jaxdiff.system import read_structure

command = importlib.import_module("jaxdiff.cli.simulate")  # the package has the function

RUN = """
[model]
name_or_path = "harmonic"
[system]
supercell = 2
interstitials = 0
[ensemble]
temperatures_kelvin = [300, 400]
replicas_per_temperature = 2
timestep_fs = 2
seed = 1
[equilibration]
duration_ps = 0.1
[production]
duration_ps = 0.5
[output]
directory = "{directory}"
chunk_ps = 0.2
"""


def load(section, system, replicas=1):
    """Springs to the sites of the first replica; weaker ones break."""
    site = jnp.asarray(system.position)
    mass = jnp.asarray(system.mass)[:, None]  # springs that leave the centre of mass alone

    def energy_and_force(params, position, cell, neighbors):
        away = position - site
        energy = params * jnp.sum(mass * away**2) / 2
        limit = {"harmonic": 5.0, "weak": 0.75, "broken": -1.0}[section.name_or_path]
        broken = jnp.max(jnp.abs(away)) > limit
        force = -params * mass * away
        return jnp.where(broken, jnp.nan, energy), force, jnp.zeros((3, 3))

    return build.Potential(jnp.asarray(0.3), energy_and_force, 2.0, "0" * 64)


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "load_potential", load)
    monkeypatch.setattr(command, "_report", lambda directory: None)
    app = typer.Typer()
    app.command()(command.simulate)

    def invoke(*options):
        path = tmp_path / "in.toml"
        path.write_text(RUN.format(directory=tmp_path / "out"))
        return CliRunner().invoke(app, [str(path), *options]), tmp_path / "out"

    return invoke


def test_a_run_leaves_series_run_file_and_final_state(invoke):
    result, out = invoke()
    assert result.exit_code == 0, result.output
    assert "OVITO" not in result.output
    with h5py.File(out / "series.h5") as file:
        assert file.attrs["status"] == "complete"
        assert file.attrs["run_file"] == (out / "run.toml").read_text()
        assert (file.attrs["steps_per_frame"], file.attrs["n_mobile"]) == (10, 32)
        np.testing.assert_allclose(file["thermo/time_ps"], 0.02 * np.arange(1, 26))
        np.testing.assert_allclose(file["equilibration/time_ps"], 0.02 * np.arange(1, 6))
        np.testing.assert_array_equal(file["temperature_kelvin"], [300, 300, 400, 400])
        np.testing.assert_array_equal(file["replica_seed_index"], [0, 1, 0, 1])
        np.testing.assert_array_equal(file["sites/frames"], [25] * 4)
        assert file["sites/initial"].shape == (4, 32, 4)  # index and image
        assert file["sites/change_frame"].shape == (0,)
        assert file["positions/position"].shape == (4, 0, 64, 3)
        provenance = json.loads(file.attrs["provenance"])
        assert provenance["model_sha256"] == "0" * 64
        assert {"versions", "device", "started", "finished", "wall_s"} <= set(provenance)
        conserved = file["thermo/conserved_energy_ev"][:]
        assert np.ptp(conserved, axis=1).max() < 0.05
    frames = ase.io.read(out / "final.extxyz", index=":")
    assert [frame.info["temperature_kelvin"] for frame in frames] == [300, 300, 400, 400]
    np.testing.assert_allclose(frames[0].get_momenta().sum(0), 0, atol=1e-5)
    assert read_structure(out / "final.extxyz").velocity is not None


def test_positions_are_kept_at_their_stride_if_wanted(invoke):
    result, out = invoke("--set", "output.positions_every_ps=0.1")
    with h5py.File(out / "series.h5") as file:
        np.testing.assert_allclose(file["positions/time_ps"], [0.1, 0.2, 0.3, 0.4, 0.5])
        last = [frame.positions for frame in ase.io.read(out / "final.extxyz", index=":")]
        np.testing.assert_allclose(file["positions/position"][:, -1], last, atol=2e-6)
    assert load_series(out / "series.h5").position.shape == (4, 5, 64, 3)
    # the line that says how OVITO opens it is a command that does so
    said, line = result.stdout.splitlines()[-1].split(": ", 1)
    assert said == "To see a trajectory in OVITO"
    name, *words = shlex.split(line)
    assert name == "jaxdiff"
    assert CliRunner().invoke(app, words).exit_code == 0
    text = (out / "replica2.lammpstrj").read_text()  # the first of the hottest
    assert text.count("ITEM: TIMESTEP") == 5


HOLD = """
import sys, time, filelock
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def earlier_start(tmp_path):
    """A process that has the folder of the run, for a minute."""
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out/lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_an_earlier_start_that_has_not_ended_is_waited_for_if_wanted(
    invoke, earlier_start, monkeypatch
):
    """As a batch system needs it, which starts a run again while the last one dies."""
    monkeypatch.setattr(io_folder, "PATIENCE_S", 0.0)
    result, _ = invoke()
    assert result.exit_code == 2
    assert "another process is running" in " ".join(result.output.split())
    echo, said = typer.echo, []

    def told(line, *given, **named):
        said.append(line)
        if "waiting for it, up to 60 s" in line:
            threading.Timer(1.0, earlier_start.kill).start()
        echo(line, *given, **named)

    monkeypatch.setattr(typer, "echo", told)
    result, out = invoke("--wait", "60")
    assert result.exit_code == 0, result.output
    assert said[0].startswith("Another process is running"), said
    assert load_series(out / "series.h5").status == "complete"


def test_a_full_directory_is_left_alone(invoke):
    _, out = invoke("--set", "production.duration_ps=-1")
    assert not out.exists()
    out.mkdir()
    (out / "precious").write_text("data")
    result, _ = invoke()
    assert result.exit_code == 2
    assert "is not empty, and a run overwrites nothing" in result.output
    assert [path.name for path in out.iterdir()] == ["precious"]


def test_bad_input_is_exit_2_and_one_line(invoke):
    result, _ = invoke("--set", "ensemble.timestep=2")
    assert result.exit_code == 2
    assert "ensemble.timestep is not known" in result.output
    assert "Traceback" not in result.output


def test_divergence_of_all_is_exit_3_with_the_series_on_disk(invoke):
    result, out = invoke("--set", "model.name_or_path=broken")
    assert result.exit_code == 3, result.output
    for replica, kelvin in enumerate((300, 300, 400, 400)):
        assert f"diverged: replica {replica} ({kelvin} K) diverged at" in result.output
    series = load_series(out / "series.h5")
    assert series.status == "diverged"
    np.testing.assert_array_equal(series.diverged_ps, 0)
    assert not series.exposure_ps.any()
    assert np.isnan(series.kinetic_temperature).all()


def test_divergence_of_some_is_exit_3_and_a_whole_series_of_the_others(invoke):
    result, out = invoke(
        "--set",
        "model.name_or_path=weak",
        "--set",
        "ensemble.temperatures_kelvin=[10,2500]",
    )
    assert result.exit_code == 3, result.output
    assert "replica 2 (2500 K) diverged at" in result.output
    with h5py.File(out / "series.h5") as file:
        assert file.attrs["status"] == "diverged"
        stopped = file["diverged_ps"][:]
        assert np.isnan(stopped[:2]).all()
        assert (stopped[2:] >= 0).all()
        temperature = file["thermo/temperature_kelvin"][:]
        assert np.isfinite(temperature[:2]).all()
        assert np.isnan(temperature[2:, -1]).all()
        np.testing.assert_array_equal(file["sites/frames"][:2], 25)
        assert (file["sites/frames"][2:] < 25).all()
    frames = ase.io.read(out / "final.extxyz", index=":")
    assert all(np.isfinite(frame.positions).all() for frame in frames)
    again, _ = invoke(
        "--set",
        "model.name_or_path=weak",
        "--set",
        "ensemble.temperatures_kelvin=[10,2500]",
    )
    assert again.exit_code == 3
    assert "replica 2 (2500 K) diverged at" in again.output


def test_a_complete_run_is_not_run_again_but_can_be_made_longer(invoke):
    first, out = invoke()
    before = (out / "series.h5").read_bytes()
    again, _ = invoke()
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert (out / "series.h5").read_bytes() == before
    longer, _ = invoke("--set", "production.duration_ps=0.8")
    assert longer.exit_code == 0, longer.output
    assert "Going on in" in longer.output
    with h5py.File(out / "series.h5") as file:
        np.testing.assert_allclose(file["thermo/time_ps"], 0.02 * np.arange(1, 41))
        assert "duration_ps = 0.8" in file.attrs["run_file"]


def test_another_run_in_the_same_folder_is_refused_and_nothing_changes(invoke):
    _, out = invoke()
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    other, _ = invoke("--set", "ensemble.seed=2", "--set", "ensemble.timestep_fs=1")
    assert other.exit_code == 2
    assert "ensemble.seed = 1, not 2, and 1 more differ" in other.output
    free = "duration_ps", "directory", "checkpoint_minutes", "chunk_ps", "group_size"
    assert all(f".{key}" in other.output.split("Only")[1] for key in free)
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before


def test_a_cell_that_varies_is_for_the_lattice_command(invoke):
    result, _ = invoke("--set", "barostat.pressure_gpa=0.0")
    assert result.exit_code == 2
    assert "use jaxdiff lattice" in result.output
