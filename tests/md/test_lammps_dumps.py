"""Dumps that LAMMPS itself writes come back as what it computed, in every style."""

import ionic
import numpy as np
import pytest

from jaxdiff.io.trajectory import open_trajectory

SCRIPT = """
units real
lattice fcc 4.0
region box block 0 2 0 2 0 2
create_box 2 box
create_atoms 1 box
mass 1 6.94
mass 2 19
set group all type/fraction 2 0.5 1
pair_style lj/cut 3.5
pair_coeff * * 0.1 2.8
velocity all create 900 1
fix 1 all nve
timestep 2
dump 1 all custom 10 {0}/timed id type x y z
dump_modify 1 time yes units yes
dump 2 all custom 10 {0}/plain id type xu yu zu
dump 3 all custom/gz 10 {0}/packed.gz id type xs ys zs ix iy iz
dump 4 all extxyz 10 {0}/extended
dump_modify 4 time yes element Li F
dump 5 all xyz 10 {0}/xyz
dump 6 all dcd 10 {0}/dcd
run 100
write_data {0}/data
"""
GIVEN = {"species": {1: "Li", 2: "F"}, "timestep_fs": 2.0}
CELL = 8.0 * np.eye(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What LAMMPS left, 11 frames of 32 atoms every 20 fs."""
    path = tmp_path_factory.mktemp("lammps")
    try:
        lammps = ionic.load_lammps()
        lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    except (ImportError, OSError) as error:
        pytest.skip(f"LAMMPS is not installed ({error})")
    lmp.commands_string(SCRIPT.format(path))
    lmp.close()
    return path


def positions(path, **given):
    trajectory = open_trajectory(path, **given)
    (frames,) = trajectory.chunks()
    assert trajectory.frame_ps == pytest.approx(0.02)
    assert trajectory.note == ""
    np.testing.assert_allclose(frames.cell, np.broadcast_to(CELL, (11, 3, 3)), atol=1e-5)
    assert sorted(set(trajectory.atomic_number.tolist())) == [3, 9]
    return frames.position


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("timed", {"species": GIVEN["species"]}),
        ("timed", GIVEN),
        ("packed.gz", GIVEN),
        ("extended", {"timestep_fs": 2.0}),
        ("extended", {"frame_ps": 0.02}),
        ("xyz", {**GIVEN, "cell": CELL}),
        ("dcd", {"frame_ps": 0.02, "species": GIVEN["species"]}),
        ("dcd", {"frame_ps": 0.02}),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_style_has_the_same_positions(folder, name, given):
    if name == "dcd":
        pytest.importorskip("MDAnalysis")
        given = {**given, "topology": folder / "data"}
    # six digits of 8 Å, twice; the scaled ones times the cell
    np.testing.assert_allclose(
        positions(folder / name, **given),
        positions(folder / "plain", **GIVEN),
        rtol=0,
        atol=2e-4,
    )


def test_its_times_have_no_unit(folder):
    with pytest.raises(ValueError, match="--frame-ps 20 if it is ps, --frame-ps 0.02 if"):
        open_trajectory(folder / "extended")
    with pytest.raises(ValueError, match="do not agree in ps or fs"):
        open_trajectory(folder / "extended", timestep_fs=1.0)


@pytest.mark.parametrize("name", ["timed", "plain", "extended", "xyz"])
def test_without_the_last_line_end(folder, name, tmp_path):
    path = tmp_path / name
    path.write_bytes((folder / name).read_bytes().rstrip())
    given = GIVEN if name != "xyz" else {**GIVEN, "cell": CELL}
    trajectory = open_trajectory(path, **given)
    assert sum(len(frames.time_ps) for frames in trajectory.chunks()) == 11
