"""LAMMPS dumps with types, names that stand for nothing, times, line ends of Windows."""

import numpy as np
import pytest
from written_by_hand import assert_same, lammps_frames, read, walk

from jaxdiff.io.trajectory import open_trajectory

KNOWN = walk(n_frames=6)
PRINTED = 2e-9
LITHIUM_FLUORIDE = {1: "Li", 2: "F"}
LAMMPS = {"species": LITHIUM_FLUORIDE, "timestep_fs": 1.0}


@pytest.fixture
def dump(tmp_path):
    def write(text):
        path = tmp_path / "dump.lammpstrj"
        path.write_bytes("".join(text).encode())
        return path

    return write


def test_types_are_asked_for_as_the_command_line_spells_them(dump):
    path = dump(lammps_frames(KNOWN))
    with pytest.raises(ValueError, match="not elements; .* --species 1=Li --species 2=F"):
        open_trajectory(path, timestep_fs=1.0)
    with pytest.raises(ValueError, match="atom type 2, .* only 1; add --species 2=ELEMENT"):
        open_trajectory(path, timestep_fs=1.0, species={1: "Li"})


@pytest.mark.parametrize("name", ["X", "C"])
def test_names_that_stand_for_no_element(dump, name):
    text = "".join(lammps_frames(KNOWN, "id type element xu yu zu"))
    path = dump(text.replace("Li", name).replace(" F ", f" {name} "))
    with pytest.raises(ValueError, match=r"--species 1=Li --species 2=F\.$"):
        open_trajectory(path, timestep_fs=1.0)
    assert_same(path, KNOWN, PRINTED, **LAMMPS)
    only = "".join(lammps_frames(KNOWN, "id element xu yu zu"))
    with pytest.raises(ValueError, match="element X, .*name it .dump_modify element"):
        open_trajectory(dump(only.replace(" F ", " X ")), timestep_fs=1.0)


def test_line_ends_of_windows(dump):
    assert_same(
        dump("".join(lammps_frames(KNOWN)).replace("\n", "\r\n")), KNOWN, PRINTED, **LAMMPS
    )


@pytest.mark.parametrize(("units", "unit"), [("metal", 1.0), ("real", 1e3)])
def test_times(dump, units, unit):
    """ITEM: TIME is ps or fs, as ITEM: UNITS says; without it the unit is asked for."""
    frames = lammps_frames(KNOWN)
    timed = [f"ITEM: TIME\n{0.1 * k * unit:.4f}\n{text}" for k, text in enumerate(frames)]
    stated = dump([f"ITEM: UNITS\n{units}\n", *timed])
    assert_same(stated, KNOWN, PRINTED, species=LITHIUM_FLUORIDE)
    with pytest.raises(ValueError, match=r"frames 0\.2 ps apart, .*agree in ps"):
        open_trajectory(stated, species=LITHIUM_FLUORIDE, timestep_fs=2.0)
    silent = dump(timed)
    assert_same(silent, KNOWN, PRINTED, **LAMMPS)
    with pytest.raises(ValueError, match="in a time without a unit"):
        open_trajectory(silent, species=LITHIUM_FLUORIDE)
    with pytest.raises(ValueError, match="agree in ps or fs"):  # ps for fs
        open_trajectory(silent, species=LITHIUM_FLUORIDE, timestep_fs=0.3)


@pytest.mark.parametrize("slip", [0.001, 1000.0])
def test_a_time_step_in_other_units(dump, slip):
    with pytest.raises(ValueError, match="no MD time step.*metal units.*--timestep-fs 1"):
        open_trajectory(dump(lammps_frames(KNOWN)), **{**LAMMPS, "timestep_fs": slip})


def test_a_restart_from_before_the_end(dump):
    frames = lammps_frames(KNOWN)
    path = dump([*frames[:5], *frames[3:]])
    with pytest.raises(ValueError, match=r"400 and 300, .* back, .*--stop 5 or --start 5"):
        read(path, **LAMMPS)
    _, position, _, _ = read(path, **LAMMPS, stop=5)
    np.testing.assert_allclose(position, KNOWN.position[:5], rtol=0, atol=PRINTED)
    _, position, _, _ = read(path, **LAMMPS, start=5)
    np.testing.assert_allclose(position, KNOWN.position[3:], rtol=0, atol=PRINTED)


def test_binary_dumps(tmp_path):
    path = tmp_path / "dump.bin"
    path.write_bytes(b"\xf6\xff\xff\xff\xff\xff\xff\xffDUMPCUSTOM\x01\x00\x00\x00")
    with pytest.raises(ValueError, match="binary LAMMPS dump; .*binary2txt"):
        open_trajectory(path, **LAMMPS)
