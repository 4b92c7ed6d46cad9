"""Labels by the real pw.x, on a cell of two atoms: seconds."""

import json

import ase
import ase.io
import numpy as np
import pytest
from quantum_espresso import MPIRUN, pseudopotentials
from typer.testing import CliRunner

from jaxdiff.cli import app

CELL = [[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]]
STEP = 0.02  # Å


@pytest.fixture
def label(tmp_path, monkeypatch):
    """Frames through `jaxdiff label`, with a cutoff far too low for anything else."""
    monkeypatch.chdir(tmp_path)
    template = "&SYSTEM\n ecutwfc = 25\n/\n&ELECTRONS\n conv_thr = 1d-11\n/\n"
    (tmp_path / "pw.in").write_text(template)
    table = {
        "template": "pw.in",
        "pseudopotential_folder": str(pseudopotentials()),
        "kpoint_density_angstrom": 0.9,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    text = "\n".join(["[dft]", *lines, 'pseudopotentials = { Li = "Li.UPF", F = "F.UPF" }'])
    (tmp_path / "label.toml").write_text(f'{text}\n[output]\ndirectory = "labels"\n')

    def run(frames, *options):
        ase.io.write("frames.extxyz", frames)
        arguments = ["label", "label.toml", "frames.extxyz", *options]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.output, ase.io.read("labels/labels.extxyz", ":")

    return run


def moved(along):
    """One atom along a line from where it feels a force."""
    atoms = ase.Atoms("LiF", [[0.1, 0.05, -0.08], [2, 2, 2]], cell=CELL, pbc=True)
    atoms.positions[0] += along * np.array([1.0, 0.0, 0.0])
    return atoms


@pytest.mark.slow
def test_forces_are_the_derivative_of_energies(label):
    _, frames = label([moved(0), moved(STEP), moved(-STEP)])
    middle, above, below = (atoms.info["REF_energy"] for atoms in frames)
    found = frames[0].arrays["REF_forces"][0, 0]
    assert abs(found) > 0.1
    # the curvature between three points makes up for most of the cubic term
    assert found == pytest.approx(-(above - below) / (2 * STEP), rel=0.02)
    assert above + below - 2 * middle > 0
    np.testing.assert_allclose(frames[0].arrays["REF_forces"].sum(axis=0), 0, atol=1e-5)
    assert frames[0].info["label_kpoints"] > 1


@pytest.mark.slow
def test_several_processes_make_the_same_label(label, tmp_path):
    if not MPIRUN.exists():
        pytest.skip(f"there is no {MPIRUN}, Open MPI's")
    _, (one,) = label([moved(0)])
    command = f"{MPIRUN} --allow-run-as-root --oversubscribe -np 2 pw.x"
    options = (f"--set=dft.command={command}", f"--set=output.directory={tmp_path}/two")
    label([moved(0)], *options)
    (two,) = ase.io.read(tmp_path / "two/labels.extxyz", ":")
    assert two.info["REF_energy"] == pytest.approx(one.info["REF_energy"], abs=1e-5)
    np.testing.assert_allclose(
        two.arrays["REF_forces"], one.arrays["REF_forces"], atol=1e-4
    )
    output = (tmp_path / "two/units/0000/pw.out").read_text()
    assert "running on     2 processors" in output
