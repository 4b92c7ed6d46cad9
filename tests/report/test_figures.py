"""Figures as a journal wants them: their files, their numbers, their keys and colours."""

import csv
import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxdiff.analysis import load_series, summarize
from jaxdiff.report import figures
from jaxdiff.report.figures.band import smooth
from jaxdiff.report.figures.files import as_bytes, as_csv
from jaxdiff.report.figures.style import (
    ONE_COLUMN,
    logarithmic,
    power,
    temperature_styles,
)

OF_STUDY = (
    *("arrhenius", "joint_region", "displacements", "displacement_exponent"),
    *("tracer_displacements", "frame_displacements"),
)
OF_SERIES = ("hops", "kinetic_temperature", "potential_energy", "conserved_energy")
OF_BOTH = ("classes", "convergence", "dispersion")


@pytest.fixture
def png_alone():
    """Not here: figures are all that they are."""


@pytest.fixture
def run(write_series):
    """Series and study of a run that has something of everything."""
    folder = write_series(
        temperatures=(300.0, 400.0, 500.0), replicas=4, duration_ps=80.0, positions=6
    )
    series = load_series(folder)
    return series, summarize(series)


def drawn(run, name, ax=None):
    series, study = run
    data = (study,) if name in OF_STUDY else (series,)
    data = (series, study) if name in OF_BOTH else data
    data = (study.rows[-1],) if name == "survival" else data
    return getattr(figures, name)(*data, ax)


def rows(axes):
    return list(csv.DictReader(io.StringIO(as_csv(axes))))


def series_of(axes, name):
    return [row for row in rows(axes) if row["series"] == name]


@pytest.mark.parametrize("name", [*OF_STUDY, *OF_SERIES, *OF_BOTH, "survival"])
def test_a_figure_is_drawn_on_given_axes_with_a_key_of_every_colour(run, name):
    axes = Figure().add_subplot()
    assert drawn(run, name, axes) is axes
    own = drawn(run, name)
    assert isinstance(own, Axes)
    assert own.get_figure().get_figwidth() == ONE_COLUMN
    if name == "conserved_energy":
        return
    handles = axes.get_legend_handles_labels()[0]
    known = {to_rgb(color(h)) for h in handles}
    for line in axes.lines:
        shade = to_rgb(line.get_color())
        is_grey = max(shade) - min(shade) < 0.01
        assert is_grey or shade in known, line.get_label()
    assert axes.get_xlabel()
    assert axes.get_legend() is not None


def color(handle):
    for of in ("get_color", "get_facecolor"):
        if hasattr(handle, of):
            found = np.asarray(getattr(handle, of)(), object).ravel()
            return tuple(found[:3]) if len(found) >= 3 else found[0]
    return handle[0].get_color() if hasattr(handle[0], "get_color") else color(handle[0])


def test_a_figure_is_saved_in_three_formats_with_its_numbers(run, tmp_path):
    axes = drawn(run, "arrhenius")
    written = figures.save(axes, tmp_path / "one.png")
    assert [path.name for path in written] == ["one.png", "one.pdf", "one.svg", "one.csv"]
    png, pdf, svg = (path.read_bytes() for path in written[:3])
    assert png.startswith(b"\x89PNG")
    width = int.from_bytes(png[16:20], "big")
    assert width == round(300 * 3.37)
    assert pdf.startswith(b"%PDF")
    assert b"/Type3" not in pdf  # outlines that journals refuse
    assert b"/MediaBox [ 0 0 242.64" in pdf  # 3.37 in, in points
    assert b"D of the interstitial" in svg  # text, not outlines
    again = figures.save(axes, tmp_path / "a=4.08")
    assert again[0].name == "a=4.08.png"
    for old, new in zip(written, again, strict=True):
        assert old.read_bytes() == new.read_bytes()


def test_the_numbers_are_those_of_the_study(run):
    _, study = run
    axes = drawn(run, "arrhenius")
    seen = series_of(axes, "hops, 95 %")
    estimates = [row.headline_diffusivity for row in study.rows if row.hops]
    assert [float(r["y"]) for r in seen] == [e.value for e in estimates]
    bounds = [(float(r["y_low"]), float(r["y_high"])) for r in seen]
    np.testing.assert_allclose(bounds, [e.interval for e in estimates], rtol=1e-12)
    band = series_of(axes, "fit, 95 % band")
    x = np.array([float(r["x"]) for r in band])
    _, low, high = study.diffusion_fit.predict(1000 / x)
    np.testing.assert_allclose([float(r["y_low"]) for r in band], low)
    np.testing.assert_allclose([float(r["y_high"]) for r in band], high)
    assert {row["panel"] for row in rows(axes)} == {
        "D of the interstitial  (cm²/s) over 1000 / T  (1/K)"
    }


def test_the_numbers_of_bars_and_steps(run):
    series, study = run
    names = {r["y"].split(",")[0] for r in rows(drawn(run, "classes"))}
    assert "collinear" in names
    total = sum(int(float(r["x"])) for r in rows(drawn(run, "classes")))
    assert total == study.total_hops == len(series.events.kind)
    curve = series_of(drawn(run, "survival"), "not hopped (Kaplan–Meier)")
    np.testing.assert_allclose(
        [float(r["y"]) for r in curve], study.rows[-1].survival.probability
    )
    hops = [r for r in rows(drawn(run, "hops")) if "(" in r["series"]]
    assert len(hops) == len(series.events.kind)


def test_an_interval_that_is_not_known_has_no_bar():
    from jaxdiff.report.figures.style import intervals

    axes = Figure().add_subplot()
    value = np.array([1.0, 2.0, 3.0])
    bound = np.array([[0.5, 2.0, 0.0], [2.0, 2.0, np.inf]])
    intervals(axes, np.arange(3.0), value, bound, "o", "k", "all")
    axes.set_yscale("log")
    one, two, three = series_of(axes, "all")
    assert (one["y_low"], one["y_high"]) == ("0.5", "2.0")
    for row in (two, three):
        assert (row["y_low"], row["y_high"]) == ("", "")
    assert np.isfinite(axes.get_ylim()).all()


def test_ticks_are_of_round_numbers():
    axes = Figure().add_subplot()
    axes.plot([1, 2], [2e-5, 9e-5])
    logarithmic(axes)
    assert 3 <= len([t for t in axes.get_yticks() if 2e-5 <= t <= 9e-5]) <= 9
    assert (power(2e-5), power(1e-3), power(0.05), power(20.0)) == (
        *("2×10⁻⁵", "10⁻³", "0.05", "20"),
    )


def test_counts_have_whole_ticks(run):
    for name, which in (("classes", "x"), ("dispersion", "y")):
        axis = getattr(drawn(run, name), f"{which}axis")
        assert isinstance(axis.get_major_locator(), MaxNLocator)
        ticks = axis.get_majorticklocs()
        np.testing.assert_array_equal(ticks, np.round(ticks))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_temperatures_can_be_told_apart_on_paper(n):
    """Also in grey: brighter with temperature, and the brightest is dark enough."""

    def luminance(style):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in style["color"][:3]
        ]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    styles = temperature_styles(n)
    brightness = np.array([luminance(style) for style in styles])
    assert (np.diff(brightness) > 0.02).all()
    assert 1.05 / (brightness[-1] + 0.05) > 2  # contrast with white
    assert len({str(style["ls"]) for style in styles[:5]}) == min(n, 5)


def entry(x, energy):
    return {
        "forward_ev": max(energy),
        "path_length_angstrom": list(x),
        "band_energy_ev": list(energy),
    }


@pytest.mark.parametrize("n", [7, 8])
def test_a_symmetric_jump_is_drawn_symmetric(n):
    """Also where images lie unevenly, as those of a loosely relaxed band."""
    rng = np.random.default_rng(0)
    part = np.linspace(0, 1, n)
    part[1:-1] += 0.02 * rng.normal(size=n - 2)
    part[n // 2] = 0.5  # the image that climbed
    energy = 0.4 * np.sin(np.pi * part) ** 2
    energy[-1] = 0.0
    found = {"vacancy": entry(3 * part, energy)}
    curve = series_of(figures.barriers(found), "vacancy, curve")
    x, y = (np.array([float(r[k]) for r in curve]) for k in "xy")
    np.testing.assert_allclose(x, -x[::-1], atol=1e-12)
    np.testing.assert_allclose(y, y[::-1], atol=1e-12)
    assert y.max() == pytest.approx(0.4, abs=1e-6)
    exact = 0.4 * np.cos(np.pi * x / 3) ** 2
    np.testing.assert_allclose(y, exact, atol=0.03)
    images = series_of(figures.barriers(found), "vacancy, images")
    np.testing.assert_allclose([float(r["y"]) for r in images], energy)


def test_an_asymmetric_jump_stays_so():
    x, energy = np.array([0, 1, 2, 3, 4.0]), np.array([0, 0.3, 0.5, 0.4, 0.2])
    length, curve = smooth(x - 2, energy)
    np.testing.assert_allclose(np.interp(x - 2, length, curve), energy, atol=1e-3)


def test_a_path_that_failed_is_in_the_figure():
    found = {
        "collinear": entry([0, 1, 2, 3, 4], [0, 0.1, 0.2, 0.1, 0]),
        "direct": {"failed": "why"} | entry([0, 1, 2], [0, 0.5, 0.0]),
        "nowhere": {"failed": "both ends relax to the same minimum"},
    }
    del found["direct"]["forward_ev"]
    axes = figures.barriers(found)
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["collinear: 0.200 eV", "direct: failed", "nowhere: failed, no band"]
    assert [float(r["x"]) for r in series_of(axes, "direct: failed")] == [-1, 0, 1]
    assert as_bytes(axes).startswith(b"\x89PNG")
