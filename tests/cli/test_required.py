"""What a command needs is asked for at once."""

import pytest
from ase.build import bulk
from typer.testing import CliRunner

from jaxdiff.cli import app


def told(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 2
    return result.output


def test_options_that_are_missing_are_named_together(tmp_path):
    output = told("analyze", tmp_path / "dump.lammpstrj")
    assert "needs --temperature-kelvin and --out" in output
    assert "--network" not in output


def test_help_is_not_in_the_way():
    result = CliRunner().invoke(app, ["analyze", "--help"])
    assert result.exit_code == 0


NAMED = ["--species", "1=Li", "--species", "2=F"]


@pytest.mark.parametrize("given", [[], ["--timestep-fs", 1], NAMED])
def test_what_a_dump_does_not_say_is_asked_for_together(tmp_path, given):
    path = tmp_path / "dump.lammpstrj"
    head = "ITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 8\n0 8\n0 8\n"
    atoms = "ITEM: ATOMS id type x y z\n1 1 0 0 0\n2 2 2 2 2\n"
    frames = [f"ITEM: TIMESTEP\n{100 * step}\n{head}{atoms}" for step in range(4)]
    path.write_text("".join(frames))
    wanted = ("--temperature-kelvin", 500, "--out", tmp_path / "out")
    output = told("analyze", path, *wanted, *given)
    assert ("--timestep-fs, the MD" in output) == (given[:1] != ["--timestep-fs"])
    assert ("--species 1=Li" in output) == (given[:1] != ["--species"])


def test_a_cell_and_times_that_are_missing_are_asked_for_together(tmp_path):
    path = tmp_path / "pos.xyz"
    atoms = bulk("LiF", "rocksalt", a=4.1, cubic=True)
    rows = [
        f"{s} {x} {y} {z}"
        for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    path.write_text(
        "".join("\n".join([str(len(atoms)), "frame", *rows, ""]) for _ in range(3))
    )
    output = told("analyze", path, "--temperature-kelvin", 500, "--out", tmp_path / "out")
    assert "--cell-angstrom" in output
    assert "--frame-ps" in output
