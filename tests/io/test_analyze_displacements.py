"""The command on crystals without a list of sites: other crystals, cells that vary."""

import importlib
import json
import re

import browsing
import numpy as np
import pytest
import typer
from lattice_walks import carriers
from typer.testing import CliRunner

from jaxdiff.io.export import write_trajectory
from jaxdiff.io.trajectory import Frames, open_trajectory
from jaxdiff.runs.read import read

command = importlib.import_module("jaxdiff.cli.analyze")  # the package has the function
again = importlib.import_module("jaxdiff.cli.report")

N_FRAMES, EDGE = 120, 12.0
RATE = (0.15, 0.15, 0.15)
GRID = np.stack(np.meshgrid(*[np.arange(3) / 3] * 3), axis=-1).reshape(-1, 3)
BASE = np.concatenate([GRID, GRID + 1 / 6])


def walk(path, *, elements=(11, 16), shape=None, breath=0.0, drift=0.0, seed=0):
    """27 mobile atoms of 54, by default Na in NaS; the cell may be oblique or breathe."""
    paths = carriers(27, RATE).paths(seed, N_FRAMES)
    number = np.where(paths.is_mobile, *elements)
    cell = EDGE * (np.eye(3) if shape is None else np.array(shape))
    fraction = BASE + paths.displacement @ np.linalg.inv(cell)
    time = np.arange(N_FRAMES)
    fraction = fraction + drift * time[:, None, None] / N_FRAMES
    stretch = 1 + breath * np.sin(time / 3)
    several = stretch[:, None, None] * cell
    fraction = fraction - np.floor(fraction) if path.suffix == ".extxyz" else fraction
    given = Frames(fraction @ several, several, time * paths.frame_ps)
    write_trajectory(path, [given], atomic_number=number)
    return path


@pytest.fixture(scope="module")
def invoke(tmp_path_factory):
    app = typer.Typer()
    app.command()(command.analyze)

    def invoke(*arguments):
        out = tmp_path_factory.mktemp("out")
        arguments = [str(a) for a in (*arguments, "--out", out)]
        return CliRunner().invoke(app, arguments), out

    return invoke


def study(out):
    return json.loads((out / "report.json").read_text())["study"]


def diffusivity(out, name="tracer"):
    mean = study(out)["rows"][0]["motion"][name]["mean"]
    return mean["value"], *mean["interval"]


@pytest.mark.parametrize(
    ("case", "kelvin", "truth", "why"),
    [
        ("other_crystal/bcc_iodide", 500, 3.60e-5, "54 framework atoms in a cell"),
        ("antifluorite_taken_for_rock_salt/li2o", 1000, 3.79e-7, "0 of 215 Li atoms stand"),
    ],
)
def test_cases_of_other_crystals_give_their_value(invoke, shared, case, kelvin, truth, why):
    path = shared / "cases" / f"{case}.extxyz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    result, out = invoke(path, "--temperature-kelvin", kelvin)
    assert result.exit_code == 0, result.output
    value, low, high = diffusivity(out)
    assert low < truth < high
    assert value == pytest.approx(truth, rel=0.4)
    text = (out / "report.md").read_text()
    assert why in text
    assert "give the supercell" not in text


def test_the_argyrodite_gives_its_known_value(invoke, shared):
    path = shared / "data" / "trajectories" / "li6ps5cl_XDATCAR.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    result, out = invoke(path, "--frame-ps", 0.1, "--temperature-kelvin", 600)
    assert result.exit_code == 0, result.output
    value, low, high = diffusivity(out)
    assert 1.22e-5 < value < 1.52e-5
    assert low < 1.37e-5 < high < 1.8e-5
    _, low, high = diffusivity(out, "charge")
    assert low < 2e-6 < 9e-6 < high
    motion = study(out)["rows"][0]["motion"]
    line = motion["lines"][0]
    msd = np.interp([1, 2, 5, 10], line["time_ps"], line["msd"])
    np.testing.assert_allclose(msd, [1.60, 2.47, 5.12, 8.94], rtol=0.01)
    assert motion["longest_step"] == pytest.approx(2.42, abs=0.01)
    failed = [c["name"] for c in study(out)["checks"] if c["passed"] is False]
    assert failed == ["collective motion is known"]


def test_a_report_of_sodium_speaks_of_no_other_crystal(invoke, tmp_path):
    kelvin = ("--temperature-kelvin", 600, "--temperature-kelvin", 800)
    several = [walk(tmp_path / f"{k}.extxyz", seed=k) for k in range(2)]
    result, out = invoke(*several, *kelvin, "--mobile", "Na")
    assert result.exit_code == 0, result.output
    page = browsing.words((out / "report.html").read_text())
    text = (out / "report.md").read_text() + page
    assert not re.search(r"lithium|LiF|\bLi\b", text)
    assert "Na in NaS" in text
    assert "+1 e, the common oxidation state" in text
    assert (out / "figures" / "arrhenius.png").stat().st_size > 5000
    before = (out / "report.html").read_bytes()
    app = typer.Typer()
    app.command()(again.report)
    result = CliRunner().invoke(app, [str(out)])
    assert result.exit_code == 0, result.output
    assert (out / "report.html").read_bytes() == before


OBLIQUE = ((1.0, 0.0, 0.0), (0.4, 0.9, 0.0), (-0.3, 0.2, 0.8))


@pytest.mark.parametrize(
    "how",
    [{"breath": 0.03}, {"drift": 3.0}, {"shape": OBLIQUE}, {"elements": (9, 20)}],
    ids=["cell that breathes", "drift", "oblique cell", "fluoride"],
)
def test_displacements_are_those_of_a_crystal_at_rest(tmp_path, how):
    """Less drift, in the mean cell, by minimum images: those that the walk was made of."""
    trajectory = open_trajectory(walk(tmp_path / "all.extxyz", **how))
    element = "F" if "elements" in how else "Na"
    found = read(trajectory, element, 600.0).paths
    truth = carriers(27, RATE).paths(0, N_FRAMES)
    expected = truth.displacement.astype(float)
    expected = expected - expected[:, ~truth.is_mobile].mean(axis=1, keepdims=True)
    mean = 1 + how.get("breath", 0) * np.sin(np.arange(N_FRAMES) / 3).mean()
    np.testing.assert_allclose(found.displacement, mean * expected, atol=2e-4)
    volume = abs(np.linalg.det(how.get("shape", np.eye(3)))) * EDGE**3
    assert found.volume == pytest.approx(volume, rel=0.01)


def test_charges_and_conductivities(invoke, tmp_path):
    """An anion of two charges conducts four times as much as one of one."""
    path = walk(tmp_path / "o.extxyz", elements=(8, 20))
    options = (path, "--temperature-kelvin", 900, "--mobile", "O")
    (_, two), (_, one) = invoke(*options), invoke(*options, "--charge", 1)
    assert study(two)["charge"] == -2
    assert study(one)["charge_from"] == "as given"
    first, second = (study(o)["rows"][0]["nernst_einstein"]["value"] for o in (two, one))
    assert first == pytest.approx(4 * second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mobile", "Li"], "has no Li; it has Na, S"),
        (["--mobile", "S", "--charge", 0], "--charge 0 is no charge of an ion"),
        (["--mobile", "Na", "--stop", 15], "needs 20 at least"),
        (["--mobile", "Na", "--network", "rock-salt"], "this is another crystal; hops are"),
        (["--mobile", "Na", "--supercell", "2"], "is not|but the supercell has"),
    ],
)
def test_what_is_refused(invoke, tmp_path, options, message):
    path = walk(tmp_path / "all.extxyz")
    result, _ = invoke(path, "--temperature-kelvin", 500, *options)
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1
    assert re.search(message, result.output), result.output


def test_crystals_of_two_compositions_are_refused(invoke, tmp_path):
    one = walk(tmp_path / "one.extxyz")
    two = walk(tmp_path / "two.extxyz", elements=(11, 17))
    result, _ = invoke(one, two, "--temperature-kelvin", 500, "--mobile", "Na")
    assert result.exit_code == 2
    assert "is NaCl and" in result.output


def test_long_trajectories_are_thinned(tmp_path, monkeypatch):
    """Every second, then every fourth frame; times go with it."""
    module = importlib.import_module("jaxdiff.runs.read")
    monkeypatch.setattr(module, "_BYTES", 12 * 54 * 45)
    found = read(open_trajectory(walk(tmp_path / "all.extxyz")), "Na", 600.0)
    assert (found.stride, found.n_frames) == (4, N_FRAMES)
    assert found.paths.frame_ps == pytest.approx(0.4)
    whole = carriers(27, RATE).paths(0, N_FRAMES)
    step = whole.mobile[::4].astype(float)
    step = step - whole.displacement[::4, ~whole.is_mobile].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.paths.mobile, step, atol=2e-4)
