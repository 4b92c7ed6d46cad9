import csv
import json
import re

import browsing
import h5py
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jaxdiff.analysis import load_series, summarize
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.report import write_report

FIGURES = (
    *("arrhenius", "displacements", "hops", "classes", "survival", "convergence"),
    *("dispersion", "thermo", "exponents", "tracer", "frames"),
)


# The walk of conftest.py, written out again
KB = 8.617333262e-5
SHARES = np.array([0.75, 0.15, 0.05, 0.05])
SQUARED = np.array([12, 8, 4, 4])


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
    assert write_report(folder) == folder / "report.html"
    record, text = read(folder)
    plain = record["activation_energy_without_memory"]
    assert plain["standard_error"] < 0.02
    assert plain["value"] == pytest.approx(0.22, abs=4 * plain["standard_error"])
    energy = record["activation_energy"]  # f is measured too, where there are 10 pairs
    assert record["headline_carries_correlation"]
    assert energy["standard_error"] < 0.03
    assert energy["value"] == pytest.approx(0.22, abs=4 * energy["standard_error"])
    assert energy["unit"] == "eV"
    fit = record
    fitted = np.exp(fit["log_prefactor"]["value"] - energy["value"] / (KB * 450))
    assert fitted == pytest.approx(true_diffusivity(450), rel=0.25)
    assert record["total_hops"] == sum(row["hops"] for row in record["rows"])
    made = {check["name"]: check["passed"] for check in record["checks"]}
    assert [name for name in made if not made[name]] == ["equilibration"]  # not recorded
    gls = record["activation_energy_gls"]
    assert gls["value"] == pytest.approx(0.22, abs=4 * gls["standard_error"])
    assert text.index("Ea = ") < text.index("## By temperature")
    assert "point values without error bars" in text
    assert "0.24 eV (DeePMD)" in text
    for name in FIGURES:
        assert (folder / f"figures/{name}.png").stat().st_size > 10_000


def test_the_page_is_complete_in_itself(write_series):
    """Nothing is loaded from elsewhere, nothing runs, every figure is inside."""
    folder = write_series(replicas=2, positions=6)
    page = write_report(folder).read_text()
    assert page.count("data:image/png;base64,") == len(FIGURES) + 1  # and the region
    for outside in ('src="http', "href=", "<script", "@import", "url("):
        assert outside not in page
    text = browsing.words(page)
    assert "Ea = " in text
    assert "0.24 eV (DeePMD)" in text
    first, *folded = page.split("<details>")
    assert first.count("<img") == 2
    assert "Ea = " in first
    assert "<table" not in first
    names = [re.search("<h2>(.*?)</h2>", section)[1] for section in folded]
    assert names[:3] == ["Checks", "By temperature", "Arrhenius line"]


def test_the_tables_have_a_row_for_each_thing(write_series):
    folder = write_series(replicas=3)
    write_report(folder)
    series, (record, _) = load_series(folder), read(folder)
    table = {
        name: list(csv.DictReader((folder / f"{name}.csv").open()))
        for name in ("temperatures", "events", "residences")
    }
    assert len(table["temperatures"]) == 5
    assert len(table["events"]) == len(series.events.kind) == record["total_hops"]
    # every hop ends one residence and begins another; each replica has one more
    assert len(table["residences"]) == record["total_hops"] + 15
    assert sum(int(r["ended_by_hop"]) for r in table["residences"]) == record["total_hops"]
    length = sum(float(r["length_ps"]) for r in table["residences"])
    assert length == pytest.approx(record["exposure_ps"])
    first = table["events"][0]
    jump = [
        float(first[f"to_{x}_angstrom"]) - float(first[f"from_{x}_angstrom"]) for x in "xyz"
    ]
    np.testing.assert_allclose(jump, series.events.jump[0] * 4.083428 / 4, atol=1e-5)
    rate = record["rows"][-1]["rate"]["value"]
    assert float(table["temperatures"][-1]["rate_per_ps"]) == rate


def test_whole_frames_give_continuous_curves(write_series):
    """Noise of 0.1 Å per axis: 6 x 0.01 Å^2 for a cation, and no slope."""
    folder = write_series(replicas=2, positions=20)
    write_report(folder)
    record, _ = read(folder)
    tracer, collective = record["rows"][0]["continuous"]
    # less the mean of 500 anions; relative s.d. of 501 x 10 x 2 squares is below 1 %
    np.testing.assert_allclose(tracer["msd"][:10], 0.06 * (1 + 1 / 500), rtol=0.03)
    ratio = np.mean(collective["msd"][:10]) / (501 * 0.06 * (1 + 501 / 500))
    assert 0.3 < ratio < 3  # two replicas, three axes, some ten origins


def test_diffusivities_are_those_of_the_walk(write_series):
    """D_def = Γ <l²>/6 with the shares of the walk; D* from the steps of the cations."""
    folder = write_series(temperatures=(500.0,), replicas=16)
    write_report(folder)
    record, text = read(folder)
    row = record["rows"][0]
    defect = row["defect_diffusivity"]
    expected = true_diffusivity(500)
    assert defect["value"] == pytest.approx(expected, abs=4 * defect["standard_error"])
    steps = SHARES * np.array([2 / 3, 32 / 33, 0.9643, 1]) @ [6, 6, 6, 4]
    tracer = row["tracer_diffusivity"]
    expected *= steps / (SHARES @ SQUARED) / 501
    assert tracer["value"] == pytest.approx(expected, abs=4 * tracer["standard_error"])
    factor = record["correlation_factor"]
    assert factor["value"] == pytest.approx(1, abs=4 * factor["standard_error"])
    assert record["activation_energy"] is None
    assert re.search(r"\*\*D of the interstitial at 500 K = \d.\d\de-\d+ \[", text)
    assert "at least two temperatures" in text
    assert not (folder / "figures" / "arrhenius.png").exists()


def test_trust_comes_first(write_series):
    """Few hops, a failed check and what more would take, before any number."""
    folder = write_series(replicas=2, duration_ps=40.0, provenance={"wall_s": 3600.0})
    write_report(folder)
    record, text = read(folder)
    first, *_ = record["answer"]
    assert first.startswith("Too few hops for an activation energy: the 95 % interval")
    factor = float(re.search(r"([\d.e+]+) times as long", first)[1])
    hours = float(re.search(r"([\d.e+]+) hours on the machine", first)[1])
    assert hours == pytest.approx(factor, rel=0.01)  # it ran for one
    assert text.index("Too few hops") < text.index("Ea = ")
    write_report(write_series(folder=folder / "b", diverged={0: 20.0}))
    record, _ = read(folder / "b")
    assert record["answer"][0] == (
        "Do not trust this result as it stands: 1 check failed; see Checks for what to do."
    )
    assert record["answer"][1].startswith("Ea = ")


def test_a_run_without_hops_is_reported(write_series):
    folder = write_series(rate=lambda t: 1e-9, replicas=2, duration_ps=20.0)
    write_report(folder)
    record, text = read(folder)
    assert record["total_hops"] == 0
    assert "No hop at any of 5 temperatures" in text
    assert record["rows"][0]["defect_diffusivity"]["standard_error"] is None
    assert record["rows"][0]["defect_diffusivity"]["interval"][1] > 0
    assert not re.search(r"\b(nan|inf)\b|∞", text.split("## Methods")[0])
    # Garwood: no more than 3.689 hops in 2 x 20 ps, 92.2 per ns
    assert "| < 92.2 | > 10.8 |" in text  # the columns of p are left out
    assert "nan" not in (folder / "temperatures.csv").read_text()
    # no displacement bounds D as no hop does: the paths lack one frame of 1000
    for one, other in (("defect", "gls"), ("tracer", "msd")):
        high = [record["rows"][0][f"{one}_diffusivity{x}"] for x in ("", f"_{other}")]
        assert high[1]["interval"][1] == pytest.approx(high[0]["interval"][1], rel=2e-3)
    for name in FIGURES:
        assert (folder / f"figures/{name}.png").exists()


def test_a_run_that_never_had_a_defect_is_reported(write_series):
    """A perfect crystal, cut off before the first row of thermodynamics."""
    folder = write_series(
        rate=lambda t: 1e-9, replicas=2, duration_ps=20.0, with_thermo=False
    )
    with h5py.File(folder / "series.h5", "r+") as file:
        file["sites/initial"][:, 0] = file["sites/initial"][:, 1]  # two on one site
    write_report(folder)
    record, text = read(folder)
    assert record["rows"] == []
    assert "at least two temperatures with a known defect, and there is none" in text
    assert "undefined frames" in text.split("##")[0]


def test_cold_temperatures_without_hops_enter_the_fit(write_series):
    folder = write_series(temperatures=(200.0, 400.0, 450.0, 500.0), replicas=4)
    write_report(folder)
    record, _ = read(folder)
    assert record["rows"][0]["hops"] == 0
    energy = record["activation_energy"]
    assert energy["value"] == pytest.approx(0.22, abs=4 * energy["standard_error"])
    assert record["activation"]["diffusion"]["n_temperatures"] == 4


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ("thermo/temperature_kelvin", "temperature 300 K"),
        ("thermo/conserved_energy_ev", "conserved energy"),
        ("sites/anion_displaced_frames", "host sublattice"),
        ("sites/lost_frame", "changes of site"),
        ("vacate", "hops are rare events"),
        ("double", "undefined frames"),
    ],
)
def test_checks_fail_when_they_should(write_series, change, failed):
    folder = write_series(replicas=2)
    with h5py.File(folder / "series.h5", "r+") as file:
        if change == "thermo/conserved_energy_ev":
            file[change][...] += 0.5 * np.asarray(file["thermo/time_ps"])[None]
        elif change == "thermo/temperature_kelvin":
            file[change][...] += 3.0
        elif change.startswith("sites"):
            file[change][...] = 400
        else:
            leave(file, [1, 1, 1] if change == "vacate" else [2, 2, 0])
    write_report(folder)
    record, text = read(folder)
    names = [check["name"] for check in record["checks"] if check["passed"] is False]
    assert failed in names
    assert failed in text.split("##")[0]
    advice = next(c["advice"] for c in record["checks"] if c["name"] == failed)
    assert len(advice) > 20
    assert advice in text


def leave(file, step):
    """A cation far from the defect leaves its site for the last fifth of each replica."""
    n_replicas, cation = len(file["sites/frames"]), 300
    there = np.asarray(file["sites/change_cation"]) == cation
    assert not there.any()
    site = file["sites/initial"][:, cation].tolist()
    place = np.array([ROCK_SALT.position(tuple(s)) for s in site], int)
    rows = {
        "replica": np.arange(n_replicas),
        "frame": np.full(n_replicas, 6000),
        "cation": np.full(n_replicas, cation),
        "site": ROCK_SALT.sites(place + np.array(step)),
    }
    old = {name: np.asarray(file[f"sites/change_{name}"]) for name in rows}
    joined = {name: np.concatenate([old[name], rows[name]]) for name in rows}
    order = np.argsort(joined["frame"], kind="stable")
    for name, values in joined.items():
        del file[f"sites/change_{name}"]
        file[f"sites/change_{name}"] = values[order]


def test_replicas_that_differ_fail_the_check(write_series):
    """Every second replica without its hops: more scatter than Poisson's."""
    folder = write_series()
    with h5py.File(folder / "series.h5", "r+") as file:
        keep = np.asarray(file["sites/change_replica"]) % 2 == 0
        for name in ("replica", "frame", "cation", "site"):
            values = np.asarray(file[f"sites/change_{name}"])[keep]
            del file[f"sites/change_{name}"]
            file[f"sites/change_{name}"] = values
    study = summarize(load_series(folder / "series.h5"))
    failed = {check.name for check in study.checks if check.passed is False}
    assert study.dispersion.index > 3
    assert "hops are Poisson" in failed


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
    assert "✗ **failed**" in read(folder)[1]
    with h5py.File(folder / "series.h5", "r+") as file:
        del file["sites/anion_displaced_frames"]
    with pytest.raises(ValueError, match="lacks the dataset /sites/anion_displaced_frames"):
        load_series(folder / "series.h5", allow_incomplete=True)
    with h5py.File(folder / "series.h5", "r+") as file:
        file["sites/anion_displaced_frames"] = np.zeros(3)
    with pytest.raises(ValueError, match="have 3 rows for 5 replicas"):
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
    assert "report.html" in done.stdout
