"""The command on trajectories with known hops, in every format."""

import importlib
import re

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jaxdiff.analysis import load_series
from jaxdiff.analysis.defects import CLASSES
from jaxdiff.crystal import rock_salt_interstitial
from jaxdiff.io.export import write_trajectory
from jaxdiff.io.trajectory import Frames

command = importlib.import_module("jaxdiff.cli.analyze")  # the package has the function

LATTICE, N_FRAMES, FRAME_PS = 4.1, 700, 0.03
SYSTEM = rock_salt_interstitial(3, LATTICE)
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
def invoke(tmp_path, monkeypatch):
    report = importlib.import_module("jaxdiff.report")
    monkeypatch.setattr(report, "write_report", lambda directory: directory / "report.md")
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
    assert [CLASSES[k] for k in series.events.kind] == ["direct", "concerted", "direct"]
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
        (["--temperature-kelvin", 500, "--mobile", "Na"], "is not a supercell"),
        (["--temperature-kelvin", 500, "--supercell", "2"], "217 atoms|32 anion sites"),
        (["--temperature-kelvin", 500, "--supercell", "1,2"], "one number, three, or nine"),
        (["--temperature-kelvin", 500, "--species", "Li"], "not of the form 1=Li"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(invoke, tmp_path, options, message):
    path = write(tmp_path / "all.h5md", frames())
    result, _ = invoke(path, *options)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert re.search(message, result.output), result.output


def test_a_full_folder_is_left_alone(invoke, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("data")
    path = write(tmp_path / "all.h5md", frames())
    result, _ = invoke(path, "--temperature-kelvin", 500)
    assert result.exit_code == 2
    assert "is not empty" in result.output
