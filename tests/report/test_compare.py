"""Runs with equal and with different activation energies, side by side."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jaxdiff.cli.compare import compare

KB = 8.617333262e-5


def rate(energy):
    """Equal at 400 K, so that only the slopes differ."""
    return lambda t: 0.042 * np.exp(-energy / KB * (1 / t - 1 / 400))


@pytest.fixture
def invoke(tmp_path):
    app = typer.Typer()
    app.command()(compare)

    def invoke(*arguments):
        out = tmp_path / "compared"
        words = [str(a) for a in (*arguments, "--out", out)]
        return CliRunner().invoke(app, words), out

    return invoke


@pytest.mark.slow
def test_a_difference_is_found(write_series, invoke, tmp_path):
    """0.16 and 0.36 eV with some 100 hops at the higher temperatures."""
    runs = [
        write_series(seed=k, rate=rate(energy), folder=tmp_path / name)
        for k, (name, energy) in enumerate((("flat", 0.16), ("steep", 0.36)))
    ]
    result, out = invoke(*runs)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "compare.json").read_text())["comparison"]
    (pair,) = record["pairs"]
    assert (pair["first"], pair["second"]) == ("flat", "steep")
    energy = pair["activation_energy"]
    assert energy["value"] == pytest.approx(0.2, abs=4 * energy["standard_error"])
    assert energy["standard_error"] < 0.04
    assert pair["verdict"] == "different"
    text = (out / "compare.md").read_text()
    assert "steep − flat" in text
    page = (out / "compare.html").read_text()
    assert page.count("data:image/png;base64,") == 2


@pytest.mark.slow
def test_equal_runs_are_undecided_or_equivalent_by_the_margin(
    write_series, invoke, tmp_path
):
    """Never "equal": with a margin wide enough they are equivalent, else undecided."""
    runs = [write_series(seed=k, folder=tmp_path / f"run{k}") for k in (3, 4)]
    for margin, verdict in ((0.005, "undecided"), (0.2, "equivalent within margin")):
        result, out = invoke(*runs, "--margin-ev", margin)
        assert result.exit_code == 0, result.output
        (pair,) = json.loads((out / "compare.json").read_text())["comparison"]["pairs"]
        assert pair["verdict"] == verdict
        assert pair["margin_ev"] == margin


@pytest.mark.slow
def test_what_differs_besides_is_said(write_series, invoke, tmp_path):
    runs = [
        write_series(seed=k, folder=tmp_path / f"run{k}", lattice_constant_angstrom=a)
        for k, a in ((5, 4.083428), (6, 4.03))
    ]
    result, out = invoke(*runs)
    assert result.exit_code == 0, result.output
    assert "The lattice constants differ" in (out / "compare.md").read_text()


def test_bad_input_is_exit_2_and_one_line(write_series, invoke, tmp_path):
    run = write_series(replicas=1, duration_ps=20.0, folder=tmp_path / "one")
    for arguments, message in (
        ((run,), "needs two or more"),
        ((run, run), "given twice"),
        ((run, tmp_path / "none"), "does not exist"),
        ((run, run, "--margin-ev", 0), "must be positive"),
    ):
        result, _ = invoke(*arguments)
        assert result.exit_code == 2
        assert message in result.output
        assert len(result.output.strip().splitlines()) == 1
