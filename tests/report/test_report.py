import json

import h5py
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jaxdiff.analysis import load_series
from jaxdiff.report import write_report

FIGURES = ("arrhenius.png", "hops.png", "thermo.png")


# The walk of conftest.py, written out again
KB = 8.617333262e-5
SHARES = np.array([0.75, 0.15, 0.04, 0.05, 0.01])
SQUARED = np.array([12, 8, 4, 4, 20])


def true_diffusivity(temperature):
    """cm^2/s, from Γ <l²> / 6 in Å^2/ps."""
    rate = 25 * np.exp(-0.22 / (KB * temperature))
    return rate * (SHARES @ SQUARED) * (4.083428 / 4) ** 2 / 6 * 1e-4


def read(folder):
    record = json.loads((folder / "report.json").read_text())
    return record, (folder / "report.md").read_text()


def test_the_activation_energy_put_in_is_recovered(write_series):
    """0.22 eV; the reported error must be right, too: within four of them."""
    folder = write_series()
    assert write_report(folder) == folder / "report.md"
    record, text = read(folder)
    energy = record["activation_energy"]
    assert energy["standard_error"] < 0.02
    assert energy["value"] == pytest.approx(0.22, abs=4 * energy["standard_error"])
    assert energy["unit"] == "eV"
    fit = record["diffusion_fit"]
    fitted = np.exp(fit["log_prefactor"]["value"] - energy["value"] / (KB * 450))
    assert fitted == pytest.approx(true_diffusivity(450), rel=0.25)
    assert record["total_hops"] == sum(row["hops"] for row in record["rows"])
    assert all(check["passed"] for check in record["checks"])
    assert text.index("Ea = ") < text.index("## By temperature")
    assert "point values without error bars" in text
    assert "0.24 eV (DeePMD)" in text
    for name in FIGURES:
        assert (folder / name).stat().st_size > 10_000


def test_diffusivities_are_those_of_the_walk(write_series):
    """D_def = Γ <l²>/6 with the shares of the walk; D* from the steps of the cations."""
    folder = write_series(temperatures=(500.0,), replicas=16)
    write_report(folder)
    record, text = read(folder)
    row = record["rows"][0]
    defect = row["defect_diffusivity"]
    expected = true_diffusivity(500)
    assert defect["value"] == pytest.approx(expected, abs=4 * defect["standard_error"])
    steps = SHARES * np.array([2 / 3, 32 / 33, 0.9643, 1, 1]) @ [6, 6, 6, 4, 9]
    tracer = row["tracer_diffusivity"]
    expected *= steps / (SHARES @ SQUARED) / 501
    assert tracer["value"] == pytest.approx(expected, abs=4 * tracer["standard_error"])
    factor = record["correlation_factor"]
    assert factor["value"] == pytest.approx(1, abs=4 * factor["standard_error"])
    assert record["activation_energy"] is None
    assert "Ea is not identifiable" in text
    assert "at least two temperatures" in text


def test_a_run_without_hops_is_reported(write_series):
    folder = write_series(rate=lambda t: 1e-9, replicas=2, duration_ps=20.0)
    write_report(folder)
    record, text = read(folder)
    assert record["total_hops"] == 0
    assert "No hop at any of 5 temperatures" in text
    assert record["rows"][0]["defect_diffusivity"]["standard_error"] is None
    assert record["rows"][0]["defect_diffusivity"]["interval"][1] > 0
    for name in FIGURES:
        assert (folder / name).exists()


def test_a_run_that_never_had_a_defect_is_reported(write_series):
    """A perfect crystal, cut off before the first row of thermodynamics."""
    folder = write_series(rate=lambda t: 1e-9, replicas=2, duration_ps=20.0)
    with h5py.File(folder / "series.h5", "r+") as file:
        file["hops/exposure_frames"][...] = 0
        file["hops/undefined_frames"][...] = file["hops/frames"][...]
        for name, data in list(file["thermo"].items()):
            empty = np.asarray(data)[..., :0]
            del file[f"thermo/{name}"]
            file[f"thermo/{name}"] = empty
    write_report(folder)
    record, text = read(folder)
    assert record["rows"] == []
    assert "at least two temperatures with a known defect, got 0" in text
    assert "undefined frames" in text.split("##")[0]


def test_cold_temperatures_without_hops_enter_the_fit(write_series):
    folder = write_series(temperatures=(200.0, 400.0, 450.0, 500.0), replicas=4)
    write_report(folder)
    record, _ = read(folder)
    assert record["rows"][0]["hops"] == 0
    energy = record["activation_energy"]
    assert energy["value"] == pytest.approx(0.22, abs=4 * energy["standard_error"])
    assert record["diffusion_fit"]["n_temperatures"] == 4


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ("hops/undefined_frames", "undefined frames"),
        ("hops/transit_frames", "hops are rare events"),
        ("hops/event_count", "event log"),
        ("thermo/temperature_kelvin", "temperature 300 K"),
        ("thermo/conserved_energy_ev", "conserved energy"),
        ("hops/anion_displaced_frames", "anion sublattice"),
        ("hops/hops_by_class", "hops are Poisson"),
    ],
)
def test_checks_fail_when_they_should(write_series, change, failed):
    folder = write_series()
    with h5py.File(folder / "series.h5", "r+") as file:
        data = file[change]
        if change.startswith("thermo/conserved"):
            data[...] += 0.5 * np.asarray(file["thermo/time_ps"])[None]
        elif change.startswith("thermo"):
            data[...] += 3.0
        elif change == "hops/hops_by_class":
            data[::2, 0] += 40  # collinear hops, and what belongs to them
            for name, square in (("defect_displacement", 12), ("atom_steps", 6)):
                squares = file[f"hops/squared_{name}"]
                squares[::2] += 40 * square
        elif change == "hops/transit_frames":
            data[...] += file["hops/frames"][...] // 5
        else:
            data[...] += 400
    write_report(folder)
    record, text = read(folder)
    names = [check["name"] for check in record["checks"] if check["passed"] is False]
    assert failed in names
    assert failed in text.split("##")[0]


def test_a_report_can_be_written_again(write_series):
    folder = write_series(replicas=2)
    write_report(folder)
    first = read(folder)
    write_report(folder)
    assert read(folder) == first


def test_unfinished_and_damaged_files_are_refused(write_series, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_series(tmp_path / "series.h5")
    folder = write_series(replicas=1, duration_ps=20.0, status="running")
    with pytest.raises(ValueError, match="status='running', not 'complete'"):
        write_report(folder)
    write_report(folder, allow_incomplete=True)
    assert "**failed**" in read(folder)[1]
    with h5py.File(folder / "series.h5", "r+") as file:
        del file["hops/exchanges"]
    with pytest.raises(ValueError, match="lacks the dataset /hops/exchanges"):
        load_series(folder / "series.h5", allow_incomplete=True)
    with h5py.File(folder / "series.h5", "r+") as file:
        file["hops/exchanges"] = np.zeros(3)
    with pytest.raises(ValueError, match="has 3 rows for 5 replicas"):
        load_series(folder / "series.h5", allow_incomplete=True)
    with h5py.File(folder / "series.h5", "r+") as file:
        file.attrs["format_version"] = 7
    with pytest.raises(ValueError, match="format_version=7"):
        load_series(folder / "series.h5")
    (folder / "series.h5").write_text("not HDF5")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        load_series(folder / "series.h5")


def test_the_command_writes_or_says_why_not(write_series, tmp_path):
    from jaxdiff.cli.report import report

    app = typer.Typer()
    app.command()(report)
    missing = CliRunner().invoke(app, [str(tmp_path / "nowhere")])
    assert missing.exit_code == 2
    assert missing.stderr.count("\n") == 1
    assert "is not a folder" in missing.stderr
    folder = write_series(replicas=2, duration_ps=50.0)
    done = CliRunner().invoke(app, [str(folder)])
    assert done.exit_code == 0, done.output
    assert "report.md" in done.stdout
