"""The command on trajectories with known hops, in every format."""

import importlib
import re

import numpy as np
import pytest
import typer
from ase.build import bulk
from typer.testing import CliRunner

from jaxdiff.analysis import load_series
from jaxdiff.io.export import write_trajectory
from jaxdiff.io.trajectory import Frames
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.lattice.rock_salt import ROCK_SALT

command = importlib.import_module("jaxdiff.cli.analyze")  # the package has the function

LATTICE, N_FRAMES, FRAME_PS = 4.1, 700, 0.03
SYSTEM = rock_salt_interstitial(3, LATTICE)
SYSTEM_SYMBOLS = [{3: "Li", 9: "F"}[z] for z in SYSTEM.atomic_number.tolist()]
HOPS = (40, 300, 301, 620)  # two of them one frame apart: one jump of two steps


def frames(temperature=500, thermal=0.1, wrap=False):
    """An interstitial that hops along x, in a cell that grows a little with time."""
    rng = np.random.default_rng(temperature)
    position = np.broadcast_to(SYSTEM.position, (N_FRAMES, 217, 3)).copy()
    for frame in HOPS:
        position[frame:, 108, 0] += LATTICE / 2
    stretch = 1 + 1e-3 * np.arange(N_FRAMES)[:, None, None] / N_FRAMES
    position = (position + thermal * rng.normal(size=position.shape)) * stretch
    cell = SYSTEM.cell * stretch
    if wrap:
        position -= cell[:, :1, :1] * np.floor(position / cell[:, :1, :1])
    return Frames(position, cell, np.arange(N_FRAMES) * FRAME_PS)


@pytest.fixture
def invoke(tmp_path, undrawn):
    app = typer.Typer()
    app.command()(command.analyze)

    def invoke(*arguments, out="out"):
        arguments = [str(a) for a in (*arguments, "--out", tmp_path / out)]
        return CliRunner().invoke(app, arguments), tmp_path / out

    return invoke


def write(path, given, **options):
    write_trajectory(path, [given], atomic_number=SYSTEM.atomic_number, **options)
    return path


FORMATS = ["dump.lammpstrj", "all.extxyz", "XDATCAR", "all.h5md", "all.traj"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("wrap", [False, True])
def test_the_hops_are_found_in_every_format(invoke, tmp_path, name, wrap):
    """Wrapped without image flags too: atoms move little between frames."""
    if wrap and name in ("dump.lammpstrj", "all.h5md"):
        pytest.skip("as we write these formats, they say that they are unwrapped")
    path = write(tmp_path / name, frames(wrap=wrap))
    times = {"XDATCAR": ["--frame-ps", FRAME_PS], "dump.lammpstrj": ["--timestep-fs", 1]}
    options = times.get(name, [])
    result, out = invoke(path, "--temperature-kelvin", 500, *options)
    assert result.exit_code == 0, result.output
    series = load_series(out / "series.h5")
    assert series.dwell_frames == 2
    assert series.frame_ps == pytest.approx(FRAME_PS)
    np.testing.assert_array_equal(series.events.frame, [41, 302, 621])
    assert [ROCK_SALT.classes[k] for k in series.events.kind] == [
        "direct",
        "concerted",
        "direct",
    ]
    np.testing.assert_array_equal(series.events.jump[:, 0], [2, 4, 2])
    assert series.lattice_constant == pytest.approx(LATTICE * 1.0005, rel=1e-5)
    np.testing.assert_allclose(series.cell[0], SYSTEM.cell * 1.0005, rtol=1e-5)
    np.testing.assert_allclose(series.exposure_ps, N_FRAMES * FRAME_PS)


def test_several_trajectories_are_replicas(invoke, tmp_path):
    cold, hot = (write(tmp_path / f"{t}.traj", frames(t)) for t in (400, 600))
    kelvin = ("--temperature-kelvin", 400, "--temperature-kelvin", 600)
    keep = ("--keep-frames", 100, "--frame-ps", FRAME_PS)
    result, out = invoke(cold, hot, *kelvin, *keep)
    assert result.exit_code == 0, result.output
    series = load_series(out / "series.h5")
    np.testing.assert_array_equal(series.temperature, [400, 600])
    np.testing.assert_array_equal(series.hop_count, [3, 3])
    stride = round(series.position_time_ps[1] / FRAME_PS)
    assert 100 <= series.position.shape[1] < 200
    np.testing.assert_allclose(
        series.position[1], frames(600).position[::stride], atol=1e-5
    )
    assert series.provenance.count('"sha256"') == 2


def test_a_file_by_any_name_is_read_if_its_format_is_said(invoke, tmp_path):
    path = write(tmp_path / "all.h5md", frames()).rename(tmp_path / "positions.out")
    options = ("--temperature-kelvin", 500, "--file-format", "h5md", "--keep-frames", 0)
    result, out = invoke(path, *options)
    assert result.exit_code == 0, result.output
    assert load_series(out / "series.h5").hop_count[0] == 3


def test_stride_and_dwell_are_those_asked_for(invoke, tmp_path):
    path = write(tmp_path / "all.h5md", frames())
    options = ("--stride", 2, "--dwell-frames", 5, "--keep-frames", 0)
    result, out = invoke(path, "--temperature-kelvin", 500, *options)
    assert result.exit_code == 0, result.output
    series = load_series(out / "series.h5")
    assert series.frame_ps == pytest.approx(2 * FRAME_PS)
    np.testing.assert_array_equal(series.events.frame, [20 + 4, 151 + 4, 310 + 4])
    assert series.position.shape[1] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature-kelvin", 1, "--temperature-kelvin", 2], "2 temperatures for 1"),
        (["--temperature-kelvin", -5], "outside 0 to 5000 K"),
        (["--temperature-kelvin", 500, "--mobile", "Qq"], "is no element"),
        (["--temperature-kelvin", 500, "--mobile", "Na"], "has no Na; it has Li, F"),
        (
            ["--temperature-kelvin", 500, "--supercell", "2"],
            r"108 host atoms .*, but .* 32 host sites",
        ),
        (["--temperature-kelvin", 500, "--supercell", "1,2"], "one number, three, or nine"),
        (["--temperature-kelvin", 500, "--species", "Li"], "not of the form 1=Li"),
        (["--temperature-kelvin", 500, "--network", "cube"], "give one of rock-salt"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(invoke, tmp_path, options, message):
    path = write(tmp_path / "all.h5md", frames())
    result, _ = invoke(path, *options)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert re.search(message, result.output), result.output


PYTHON = r"frame_ps|timestep_fs|file_format|species=|unwrapped=|stop=|is_mobile|supercell="


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("types", ["--timestep-fs", 1], "--species 1=Li --species 2=F"),
        ("types", ["--timestep-fs", 1, "--species", "1=Li"], "add --species 2=ELEMENT"),
        ("types", ["--species", "1=Li", "--species", "2=F"], "give --timestep-fs"),
        ("elements", ["--frame-ps", 0], "--frame-ps 0.0; it must be positive"),
        ("elements", ["--frame-ps", 1, "--stride", 0], "--stride 0; frames are counted"),
        ("elements", ["--frame-ps", 1, "--file-format", "pdf"], "--file-format pdf is not"),
        ("elements", ["--frame-ps", 1, "--cell-angstrom", "8,8,8"], "--cell-angstrom out"),
        ("elements", ["--frame-ps", 1, "--cell-angstrom", "8,8"], "three edges or nine"),
        ("cp2k", [], "--cell-angstrom 20.3,20.3,20.3"),
    ],
)
def test_messages_are_in_the_language_of_the_command_line(
    invoke, tmp_path, content, options, message
):
    path = tmp_path / "dump"
    box = "ITEM: BOX BOUNDS pp pp pp\n0 8\n0 8\n0 8\n"
    kind, li, f = {"types": ("type", 1, 2)}.get(content, ("element", "Li", "F"))
    text = "".join(
        f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n2\n{box}"
        f"ITEM: ATOMS id {kind} x y z\n1 {li} {k} 0 0\n2 {f} 2 0 0\n"
        for k in range(2)
    )
    cp2k = "2\n i = 1, time = 1.0, E = -1.0\nLi 0 0 0\nF 2 0 0\n"
    path.write_text(cp2k if content == "cp2k" else text)
    result, _ = invoke(path, "--temperature-kelvin", 500, *options)
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1
    assert re.search(message, result.output), result.output
    assert not re.search(PYTHON, result.output), result.output


def test_cp2k_with_a_cell(invoke, tmp_path):
    """Times in fs, wrapped positions, the cell on the command line."""
    given = frames(wrap=True)
    rows = "\n".join(f"{symbol} %.6f %.6f %.6f" for symbol in SYSTEM_SYMBOLS)
    stretched = given.position * (SYSTEM.cell[0, 0] / given.cell[:, :1, :1])
    path = tmp_path / "cp2k.xyz"
    with path.open("w") as file:
        for k, position in enumerate(stretched):
            file.write(f"217\n i = {k:8d}, time = {30.0 * k:12.3f}, E = -99.5\n")
            file.write(rows % tuple(position.ravel()) + "\n")
    cell = ",".join(["12.3"] * 3)
    options = ("--temperature-kelvin", 500, "--cell-angstrom", cell, "--keep-frames", 0)
    result, out = invoke(path, *options)
    assert result.exit_code == 0, result.output
    series = load_series(out / "series.h5")
    np.testing.assert_array_equal(series.events.frame, [41, 302, 621])


def test_a_full_folder_is_left_alone(invoke, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("data")
    path = write(tmp_path / "all.h5md", frames())
    result, _ = invoke(path, "--temperature-kelvin", 500)
    assert result.exit_code == 2
    assert "is not empty" in result.output


def test_a_crystal_of_the_same_framework_is_refused(invoke, tmp_path):
    """Li2O has its anions where rock salt has them, and its lithium between the sites."""
    crystal = bulk("OLi2", "fluorite", a=4.6, cubic=True) * 2
    number = crystal.numbers
    several = np.broadcast_to(crystal.positions, (8, len(number), 3))
    cell = np.broadcast_to(crystal.cell.array, (8, 3, 3))
    given = Frames(several, cell, np.arange(8) * FRAME_PS)
    write_trajectory(tmp_path / "li2o.extxyz", [given], atomic_number=number)
    options = ("--temperature-kelvin", 500, "--network", "rock-salt")
    result, out = invoke(tmp_path / "li2o.extxyz", *options)
    assert result.exit_code == 2
    assert "0 of 64 Li atoms stand on lattice sites of rock salt" in result.output
    assert "--network" in result.output
    assert not (out / "series.h5").exists()
