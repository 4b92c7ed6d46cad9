"""`jaxdiff lattice`, with springs to sites in an elastic cell in place of a model."""

import importlib
import json
import re

import jax.numpy as jnp
import pytest
import typer
from typer.testing import CliRunner

from jaxdiff import units
from jaxdiff.neighbors import volume
from jaxdiff.runs import build

command = importlib.import_module("jaxdiff.cli.lattice")  # the package has the function

CONSTANT, MODULUS = 4.1, 60.0  # Å, GPa
RUN = """
[model]
name_or_path = "springs"
[system]
supercell = 2
interstitials = 0
lattice_constant_angstrom = {constant}
[ensemble]
temperatures_kelvin = [300, 600]
replicas_per_temperature = 2
timestep_fs = 2
seed = 1
[equilibration]
duration_ps = 0.5
[production]
duration_ps = 0.4
[barostat]
pressure_gpa = 0
pressure_time_ps = 0.1
[output]
directory = "{directory}"
"""


def load(section, system, replicas=1):
    """Energy k Σ m |x - site|² / 2 + B (V - V0)² / 2 V0; sites go with the cell."""
    fraction = jnp.asarray(system.position) @ jnp.linalg.inv(jnp.asarray(system.cell))
    mass, rest = jnp.asarray(system.mass)[:, None], volume(jnp.asarray(system.cell))
    stiffness = MODULUS * units.GIGAPASCAL / rest

    def energy_and_force(spring, position, cell, neighbors):
        away, more = position - fraction @ cell, volume(cell) - rest
        energy = spring * jnp.sum(mass * away**2) / 2 + stiffness * more**2 / 2
        force = -spring * mass * away
        isotropic = stiffness * more * volume(cell) * jnp.eye(3)
        return energy, force, isotropic - jnp.einsum("na,nb->ab", away, force)

    return build.Potential(jnp.asarray(0.3), energy_and_force, 2.0, "0" * 64)


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "load_potential", load)
    app = typer.Typer()
    app.command()(command.lattice)

    def invoke(*options):
        path = tmp_path / "in.toml"
        path.write_text(RUN.format(constant=CONSTANT, directory=tmp_path / "out"))
        return CliRunner().invoke(app, [str(path), *options]), tmp_path / "out"

    return invoke


@pytest.mark.slow
def test_too_short_a_run_says_so_and_goes_on(invoke):
    short, out = invoke()
    said = " ".join(short.output.split())
    assert short.exit_code == 2
    assert "are too short for an error" in said
    assert "with a larger production.duration_ps goes on from there" in said
    long, _ = invoke("--set", "production.duration_ps=16")
    assert long.exit_code == 0, long.output
    assert "Going on in" in long.output
    points = json.loads((out / "lattice.json").read_text())["points"]
    seen = re.findall(r"(\d+) K: a = (.*) ± (.*) Å, B = (.*) ± (.*) GPa", long.output)
    assert [kelvin for kelvin, *_ in seen] == ["300", "600"]
    for point, row in zip(points, seen, strict=True):
        _, constant, off, modulus, error = map(float, row)
        assert point["lattice_constant_angstrom"]["value"] == pytest.approx(
            constant, abs=1e-4
        )
        # what springs pull, momenta push
        assert abs(constant - CONSTANT) < 4 * off < 0.02
        assert abs(modulus - MODULUS) < 4 * error < 0.6 * MODULUS


def test_one_temperature_is_refused_before_it_is_run(invoke):
    result, out = invoke("--set", "ensemble.temperatures_kelvin=[300]")
    assert result.exit_code == 2
    assert "needs two temperatures or more; add others" in " ".join(result.output.split())
    assert not out.exists()
