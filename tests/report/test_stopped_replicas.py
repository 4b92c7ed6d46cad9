"""Reports of runs in which replicas diverged and were stopped; what is said of settings."""

import csv
import dataclasses
import json

import h5py
import numpy as np
import pytest

from jaxdiff.analysis import load_series, summarize
from jaxdiff.analysis.checks import energy_drift, mean_temperature
from jaxdiff.analysis.displacement import continuous_curves
from jaxdiff.report import write_report
from jaxdiff.report.settings import settings

KB = 8.617333262e-5
DURATION = 150.0


def read(folder):
    record = json.loads((folder / "report.json").read_text())
    return record, (folder / "report.md").read_text()


def true_diffusivity(temperature):
    """cm^2/s: Γ <l²> / 6 with the shares of the classes in conftest.py, written out."""
    mean_square = 0.75 * 12 + 0.15 * 8 + 0.10 * 4
    rate = 25 * np.exp(-0.22 / (KB * temperature))
    return rate * mean_square * (4.083428 / 4) ** 2 / 6 * 1e-4


def test_one_of_four_stopped_half_way(write_series):
    """At each of five temperatures: intervals of D and Ea cover what was put in."""
    stop = {4 * t + t % 4: DURATION / 2 for t in range(5)}
    folder = write_series(replicas=4, diverged=stop, positions=6)
    write_report(folder)
    record, text = read(folder)
    low, high = record["activation_energy"]["interval"]
    assert low < 0.22 < high
    for row in record["rows"]:
        assert (row["n_replicas"], row["n_stopped"]) == (4, 1)
        assert row["exposure_ps"] == pytest.approx(3.5 * DURATION)
        names = ["defect_diffusivity"]
        if row["temperature_kelvin"] > 400:  # paths of eight residences and more
            names.append("defect_diffusivity_gls")
        for name in names:
            low, high = row[name]["interval"]
            assert low < true_diffusivity(row["temperature_kelvin"]) < high
        # the three that went on, in the order of the fit
        index = record["rows"].index(row)
        assert row["slope"]["replica"] == [
            4 * index + k for k in range(4) if k != index % 4
        ]
    failed = {c["name"]: c for c in record["checks"] if c["passed"] is False}
    assert set(failed) == {"replicas"}
    assert failed["replicas"]["detail"] == (
        "5 of 20 diverged and were stopped: replica 0 (300 K) at 75 ps; replica 5 (350 K) "
        "at 75 ps; replica 10 (400 K) at 75 ps; replica 15 (450 K) at 75 ps; replica 16 "
        "(500 K) at 75 ps"
    )
    assert "| T (K) | replicas | stopped | observed (ps) |" in text
    assert "shorten timestep_fs" in text
    rows = list(csv.DictReader((folder / "temperatures.csv").open()))
    assert [(r["replicas"], r["stopped"]) for r in rows] == [("4", "1")] * 5


def test_time_after_the_stop_is_not_exposure(write_series):
    """Three of four stop after a sixth: D over all of the time would be 0.375 of itself.

    Γ = 0.355/ps at 600 K and 225 ps: 80 hops, so 4 standard errors are 0.45.
    """
    stop = {0: 25.0, 1: 25.0, 3: 25.0}
    folder = write_series(temperatures=(600.0,), replicas=4, diverged=stop)
    series = load_series(folder / "series.h5")
    np.testing.assert_allclose(series.exposure_ps, [25, 25, 150, 25])
    row = summarize(series).rows[0]
    defect = row.defect_diffusivity
    assert defect.standard_error < 0.13 * defect.value
    expected = true_diffusivity(600)
    assert defect.value == pytest.approx(expected, abs=4 * defect.standard_error)
    assert row.slope is not None
    assert row.slope.replica.tolist() == [2]


def test_thermodynamics_are_those_until_the_stop(write_series):
    """Against numpy on rows put in by hand, and against the run without the replica."""
    folder = write_series(
        temperatures=(400.0,), replicas=4, duration_ps=40.0, diverged={1: 20.0}
    )
    whole = load_series(folder / "series.h5")
    everyone = np.ones(4, bool)
    assert np.isfinite(whole.kinetic_temperature).sum() == 80 * 3 + 40
    mean = mean_temperature(whole, everyone)
    assert mean.value == pytest.approx(np.nanmean(whole.kinetic_temperature), rel=1e-12)
    # 280 independent rows of s.d. 400 √(2/3/1001) = 10.3 K; 20 blocks: the error to 16 %
    assert mean.standard_error == pytest.approx(10.3 / 280**0.5, rel=0.5)
    slope = np.array([1.0, 7.0, 1.0, 1.0]) * 1e-6 * (501 + 500)  # eV/ps: 1 and 7 meV/ns
    energy = np.where(
        np.isnan(whole.conserved_energy), np.nan, slope[:, None] * whole.time_ps + 5.0
    )
    series = dataclasses.replace(whole, conserved_energy=energy)
    # weights are Σ(t - <t>)² ~ n³ - n of 80 and 40 evenly spaced rows
    n = np.array([80.0, 40.0, 80.0, 80.0])
    weight = n**3 - n
    drift = energy_drift(series, everyone)
    assert drift.value == pytest.approx(weight @ [1, 7, 1, 1] / weight.sum(), rel=1e-9)
    others = np.array([True, False, True, True])
    assert energy_drift(series, others).value == pytest.approx(1.0, rel=1e-9)


def test_equal_replicas_have_the_error_of_a_plain_mean(write_series):
    folder = write_series(temperatures=(400.0,), replicas=3, duration_ps=40.0)
    series = load_series(folder / "series.h5")
    blocks = series.kinetic_temperature.reshape(15, 16).mean(axis=1)
    mean = mean_temperature(series, np.ones(3, bool))
    assert mean.n_effective == 15
    assert mean.standard_error == pytest.approx(blocks.std(ddof=1) / 15**0.5, rel=1e-9)


def test_frames_of_a_replica_that_stands_still_are_not_used(write_series):
    """Curves over the others alone; of all that stopped, over those that went furthest."""
    folder = write_series(
        temperatures=(400.0,),
        replicas=4,
        duration_ps=40.0,
        positions=20,
        diverged={2: 22.0},
    )
    series = load_series(folder / "series.h5")
    np.testing.assert_array_equal(series.n_kept, [20, 20, 10, 20])
    seen = continuous_curves(series, np.ones(4, bool))
    others = continuous_curves(series, np.array([True, True, False, True]))
    assert seen is not None
    assert others is not None
    np.testing.assert_array_equal(seen[0].msd, others[0].msd)
    alone = continuous_curves(series, np.array([False, False, True, False]))
    assert alone is not None
    assert len(alone[0].time_ps) == 9  # lags of the 10 frames before it stopped
    # noise of 0.1 Å per axis at every lag; frozen frames would lower it to 0 at long ones
    np.testing.assert_allclose(alone[0].msd, 0.06, rtol=0.1)


def test_a_temperature_that_no_replica_survived(write_series):
    """Stopped in equilibration: no row, but the check says it; the other fits stand."""
    stop = {0: 0.0, 1: 0.0, 3: 0.0}
    folder = write_series(
        temperatures=(350.0, 450.0, 500.0, 550.0), replicas=2, diverged=stop, positions=4
    )
    write_report(folder)
    record, text = read(folder)
    assert [row["temperature_kelvin"] for row in record["rows"]] == [450, 500, 550]
    assert [row["n_stopped"] for row in record["rows"]] == [1, 0, 0]
    low, high = record["activation_energy"]["interval"]
    assert low < 0.22 < high
    assert "replica 0 (350 K) in equilibration" in text
    names = {c["name"]: c["passed"] for c in record["checks"]}
    assert names["temperature 350 K"] is None
    assert names["run complete"] is True


def test_many_that_stopped_are_not_all_named(write_series):
    stop = {k: 10.0 + k for k in range(8)}
    folder = write_series(
        temperatures=(500.0,), replicas=8, duration_ps=40.0, diverged=stop
    )
    checks = {c.name: c for c in summarize(load_series(folder / "series.h5")).checks}
    assert "8 of 8 diverged" in checks["replicas"].detail
    assert checks["replicas"].detail.endswith("replica 4 (500 K) at 14 ps; and 3 more")


def test_files_without_the_dataset_mean_none(write_series):
    folder = write_series(replicas=1, duration_ps=20.0)
    with h5py.File(folder / "series.h5", "r+") as file:
        del file["diverged_ps"]
    series = load_series(folder / "series.h5")
    assert not series.stopped.any()
    with h5py.File(folder / "series.h5", "r+") as file:
        file["diverged_ps"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"diverged_ps has shape \(3,\), expected \(5,\)"):
        load_series(folder / "series.h5")


RUN = {
    "thermostat": "csvr",
    "precision": "float32",
    "device": "NVIDIA A100 (gpu, x86_64)",
    "n_devices": 1,
    "xla_flags": "--xla_gpu_deterministic_ops=true",
    "group_size": 8,
    "replica_bytes": 3_460_000,
    "neighbor_capacity": 128,
}


@pytest.mark.parametrize(
    ("thermostat", "words"),
    [
        ("csvr", "CSVR, stochastic velocity rescaling (doi:10.1063/1.2408420)"),
        ("nose-hoover", "Nosé–Hoover chain"),
        ("langevin", "Langevin"),
    ],
)
def test_the_settings_are_those_of_the_run(write_series, thermostat, words):
    folder = write_series(
        replicas=1, duration_ps=20.0, provenance=RUN | {"thermostat": thermostat}
    )
    write_report(folder)
    record, text = read(folder)
    assert f"| thermostat of the production | {words} |" in text
    assert ("Hoover" in text.split("## Provenance")[0]) is (thermostat == "nose-hoover")
    for row in (
        "| precision of the model | float32 |",
        "| device | NVIDIA A100 (gpu, x86_64) |",
        "| XLA flags | --xla_gpu_deterministic_ops=true |",
        "| memory per replica (MB) | 3.46 |",
        "| replicas computed at once | 8 |",
    ):
        assert row in text
    assert record["settings"]["thermostat"] == thermostat
    assert record["settings"]["replica_bytes"] == 3_460_000
    assert record["settings"]["n_units"] == 1


def test_a_campaign_has_the_settings_of_its_first_unit(write_series):
    units = [{"unit": k, "replicas": [k, k + 1]} | RUN for k in range(3)]
    units[2]["device"] = "NVIDIA H100 (gpu, x86_64)"
    units[0]["xla_flags"] = ""
    folder = write_series(replicas=1, duration_ps=20.0)
    with h5py.File(folder / "series.h5", "r+") as file:
        file.attrs["provenance"] = json.dumps(units)  # as a merge of units does
    write_report(folder)
    record, text = read(folder)
    assert "A campaign of 3 units" in text
    first, other = "NVIDIA A100 (gpu, x86_64)", "NVIDIA H100 (gpu, x86_64)"
    assert f"| device | {first} (other units: {other}) |" in text
    assert "| XLA flags | none (other units: --xla_gpu_deterministic_ops=true) |" in text
    assert "| precision of the model | float32 |" in text
    assert record["provenance"] == units
    assert record["settings"]["n_units"] == 3
    assert text.count('"unit": ') == 1


def test_provenance_that_says_little_is_no_error(write_series):
    folder = write_series(replicas=1, duration_ps=20.0, provenance={"trajectories": []})
    series = load_series(folder / "series.h5")
    assert "thermostat" not in settings(series)
    write_report(folder)
    assert "## Settings" not in read(folder)[1]
    write_report(folder)
