"""The command, with a harmonic crystal in place of a model."""

import importlib
import json

import ase.io
import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jaxdiff.analysis import load_series
from jaxdiff.system import read_structure

command = importlib.import_module("jaxdiff.cli.simulate")  # the package has the function

RUN = """
[model]
name_or_path = "harmonic"
[system]
supercell = 2
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


def load(section, system):
    site = jnp.asarray(system.position)
    mass = jnp.asarray(system.mass)[:, None]  # springs that leave the centre of mass alone

    def energy_and_force(params, position, cell, neighbors):
        away = position - site
        energy = params * jnp.sum(mass * away**2) / 2
        broken = jnp.max(jnp.abs(away)) > 5 if section.name_or_path == "harmonic" else True
        return jnp.where(broken, jnp.nan, energy), -params * mass * away

    return command.Potential(jnp.asarray(0.3), energy_and_force, 2.0, "0" * 64)


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_potential", load)
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
    with h5py.File(out / "series.h5") as file:
        assert file.attrs["status"] == "complete"
        assert file.attrs["run_file"] == (out / "run.toml").read_text()
        assert (file.attrs["steps_per_frame"], file.attrs["n_mobile"]) == (10, 33)
        np.testing.assert_allclose(file["thermo/time_ps"], 0.02 * np.arange(1, 26))
        np.testing.assert_allclose(file["equilibration/time_ps"], 0.02 * np.arange(1, 6))
        np.testing.assert_array_equal(file["temperature_kelvin"], [300, 300, 400, 400])
        np.testing.assert_array_equal(file["replica_seed_index"], [0, 1, 0, 1])
        np.testing.assert_array_equal(file["sites/frames"], [25] * 4)
        assert file["sites/initial"].shape == (4, 33, 3)
        assert file["sites/change_frame"].shape == (0,)
        assert file["positions/position"].shape == (4, 0, 65, 3)
        provenance = json.loads(file.attrs["provenance"])
        assert provenance["model_sha256"] == "0" * 64
        assert {"versions", "device", "started", "finished", "wall_s"} <= set(provenance)
        conserved = file["thermo/conserved_energy_ev"][:]
        assert np.ptp(conserved, axis=1).max() < 0.05
    frames = ase.io.read(out / "final.extxyz", index=":")
    assert [frame.info["temperature_kelvin"] for frame in frames] == [300, 300, 400, 400]
    np.testing.assert_allclose(frames[0].get_momenta().sum(0), 0, atol=1e-5)
    assert read_structure(out / "final.extxyz").velocity is not None


def test_positions_are_kept_at_the_end_of_each_chunk_if_wanted(invoke):
    _, out = invoke("--set", "output.keep_positions=true")
    with h5py.File(out / "series.h5") as file:
        np.testing.assert_allclose(file["positions/time_ps"], [0.2, 0.4, 0.5])
        last = [frame.positions for frame in ase.io.read(out / "final.extxyz", index=":")]
        np.testing.assert_allclose(file["positions/position"][:, -1], last, atol=2e-6)
    assert load_series(out / "series.h5").position.shape == (4, 3, 65, 3)


def test_a_full_directory_is_left_alone(invoke):
    _, out = invoke("--set", "production.duration_ps=-1")
    assert not out.exists()
    out.mkdir()
    (out / "precious").write_text("data")
    result, _ = invoke()
    assert result.exit_code == 2
    assert "is not empty, and a run overwrites nothing" in result.output


def test_bad_input_is_exit_2_and_one_line(invoke):
    result, _ = invoke("--set", "ensemble.timestep=2")
    assert result.exit_code == 2
    assert "ensemble.timestep is not known" in result.output
    assert "Traceback" not in result.output


def test_divergence_is_exit_3_with_the_series_on_disk(invoke):
    result, out = invoke("--set", "model.name_or_path=broken")
    assert result.exit_code == 3, result.output
    assert "replica 0 (300 K) diverged" in result.output
    with h5py.File(out / "series.h5") as file:
        assert file.attrs["status"] == "diverged"
    assert (out / "final.extxyz").exists()
