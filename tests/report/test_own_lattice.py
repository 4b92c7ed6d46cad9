"""Runs where each temperature, or each replica, has a lattice constant of its own."""

import csv
import dataclasses
import json

import h5py
import numpy as np
import pytest

from jaxdiff.analysis import load_series, summarize
from jaxdiff.analysis.activation import jump_scale
from jaxdiff.analysis.exports import site_path
from jaxdiff.analysis.walkers import follow
from jaxdiff.report import write_report

KB = 8.617333262e-5
SHARES = np.array([0.75, 0.15, 0.05, 0.05])  # of conftest.py
SQUARED = np.array([12, 8, 4, 4])
COLD, HOT = 4.0, 4.4  # Å: a/4 is 1 Å and 1.1 Å
PER_TEMPERATURE = 4


def own(folder, constant):
    """Write the two datasets of a run in which replicas differ."""
    with h5py.File(folder / "series.h5", "r+") as file:
        file["lattice_constant_angstrom"][...] = constant
        file["cell_angstrom"][...] = 5 * constant[:, None, None] * np.eye(3)
    return folder


@pytest.fixture
def folder(write_series):
    """400 K at one constant, 500 K at another; the attributes say a third, for all."""
    folder = write_series(
        temperatures=(400.0, 500.0), replicas=PER_TEMPERATURE, duration_ps=250.0
    )  # ten residences at 400 K, for a line through the displacements
    return own(folder, np.repeat([COLD, HOT], PER_TEMPERATURE))


def uniform(series, constant):
    """The same hops in one lattice."""
    n = len(series.temperature)
    return dataclasses.replace(
        series,
        lattice_constant=np.full(n, constant),
        cell=np.tile(5 * constant * np.eye(3), (n, 1, 1)),
    )


def test_diffusivities_are_in_the_angstrom_of_each_temperature(folder):
    """Σ l²/6t of the hops counted, by hand; and that of the walk within its error."""
    study = summarize(load_series(folder / "series.h5"))
    for row, a in zip(study.rows, (COLD, HOT), strict=True):
        hops = np.array(list(row.events_by_class.values())[:4])
        assert hops.sum() == row.hops > 10
        exact = hops @ SQUARED * (a / 4) ** 2 / (6 * row.exposure_ps) * 1e-4
        assert row.defect_diffusivity.value == pytest.approx(exact, rel=1e-12)
        rate = 25 * np.exp(-0.22 / (KB * row.temperature_kelvin))
        walk = rate * (SHARES @ SQUARED) * (a / 4) ** 2 / 6 * 1e-4
        error = row.defect_diffusivity.standard_error
        assert row.defect_diffusivity.value == pytest.approx(walk, abs=4 * error)
        assert row.lattice_constant_angstrom == a


def test_the_activation_energy_is_that_of_diffusivities_in_true_angstrom(folder):
    """Two temperatures determine the line: Ea is the logarithm of the ratio of D."""
    study = summarize(load_series(folder / "series.h5"))
    cold, hot = (row.defect_diffusivity.value for row in study.rows)
    exact = np.log(hot / cold) * KB / (1 / 400 - 1 / 500)
    energy = study.activation.diffusion.activation_energy.value
    assert energy == pytest.approx(exact, rel=1e-6)  # Newton's method stops there
    rates = study.activation.rate.activation_energy.value
    # a² of 1.21 adds ln 1.21 / Δ(1/kT), 33 meV, to the Ea of rates; what is left is the
    # difference of <l²> between the temperatures
    squares = [np.array(list(r.events_by_class.values())[:4]) for r in study.rows]
    mean = [n @ SQUARED / n.sum() for n in squares]
    extra = np.log(1.21 * mean[1] / mean[0]) * KB / (1 / 400 - 1 / 500)
    assert energy - rates == pytest.approx(extra, abs=1e-6)


def test_every_diffusivity_scales_with_the_square_of_its_own_constant(folder):
    """Against the same hops at 4 Å throughout: 1 at the cold one, 1.1² at the hot one."""
    series = load_series(folder / "series.h5")
    mixed, same = (summarize(s) for s in (series, uniform(series, COLD)))
    for a, b, factor in zip(mixed.rows, same.rows, (1, 1.21), strict=True):
        for name in (
            *("defect_diffusivity", "defect_diffusivity_replicas"),
            *("defect_diffusivity_gls", "tracer_diffusivity"),
            *("tracer_diffusivity_uncorrelated", "tracer_diffusivity_msd"),
        ):
            one, other = getattr(a, name), getattr(b, name)
            assert one.value == pytest.approx(factor * other.value, rel=1e-6), name
            np.testing.assert_allclose(
                one.interval, factor * np.array(other.interval), rtol=1e-6
            )
        assert a.haven_ratio.value == pytest.approx(b.haven_ratio.value)
        assert a.rate == b.rate
    assert mixed.correlation_factor.value == pytest.approx(same.correlation_factor.value)


def test_a_temperature_without_hops_is_bounded_in_its_own_lattice(write_series):
    """As if at 4 Å, times 1.1²: bounds by hops and by displacements, and <l²>/6."""
    folder = write_series(
        temperatures=(200.0, 450.0), replicas=2, rate=lambda t: 1e-9 if t < 300 else 0.1
    )
    series = load_series(own(folder, np.repeat([HOT, COLD], 2)) / "series.h5")
    same = uniform(series, COLD)
    row, other = (summarize(s).rows[0] for s in (series, same))
    assert row.hops == 0
    for name in ("defect_diffusivity", "defect_diffusivity_gls", "tracer_diffusivity"):
        high, reference = (getattr(r, name).interval[1] for r in (row, other))
        assert high == pytest.approx(1.21 * reference, rel=1e-9)
    ratio = jump_scale(series) / jump_scale(same)
    np.testing.assert_allclose(ratio, [1.21, 1.21, 1, 1], rtol=1e-12)


def test_replicas_of_one_temperature_may_differ(write_series):
    """Squared Å of each event; the mean a² by exposure, 2 to 1, where there is none."""
    folder = write_series(temperatures=(450.0,), replicas=2)
    with h5py.File(folder / "series.h5", "r+") as file:
        file["sites/lost_frame"][1] = 3751  # of 7500
    series = load_series(own(folder, np.array([COLD, HOT])) / "series.h5")
    row = summarize(series).rows[0]
    squared = series.events.squared_jump
    by_replica = np.bincount(series.events.replica, squared, 2)
    exact = by_replica @ [1, 1.21] / (6 * row.exposure_ps) * 1e-4
    assert row.defect_diffusivity.value == pytest.approx(exact, rel=1e-12)
    assert row.lattice_constant_angstrom == pytest.approx(((2 * 16 + 19.36) / 3) ** 0.5)


@pytest.mark.slow
def test_walkers_paths_and_tables_are_in_angstrom(folder):
    series = load_series(folder / "series.h5")
    walkers, quarter = follow(series), np.where(series.temperature < 450, 1.0, 1.1)
    np.testing.assert_allclose(
        walkers.jump, series.events.jump * quarter[series.events.replica][:, None]
    )
    for replica in (0, PER_TEMPERATURE):
        mine = series.events.replica[series.events.move_event] == replica
        sites = series.events.move_step[mine].sum(axis=0) * quarter[replica]
        np.testing.assert_allclose(
            site_path(series, replica)[-1].sum(axis=0), sites, atol=1e-9
        )
    write_report(folder)
    events = list(csv.DictReader((folder / "events.csv").open()))
    x = [float(e["to_x_angstrom"]) - float(e["from_x_angstrom"]) for e in events]
    np.testing.assert_allclose(x, walkers.jump[:, 0], atol=2e-6)
    rows = list(csv.DictReader((folder / "temperatures.csv").open()))
    assert [float(r["lattice_constant_angstrom"]) for r in rows] == [COLD, HOT]


@pytest.mark.slow
def test_the_report_says_the_constants_where_they_differ(folder, write_series, tmp_path):
    write_report(folder)
    record = json.loads((folder / "report.json").read_text())
    assert record["settings"]["lattice_constant_angstrom"] is None
    assert [r["lattice_constant_angstrom"] for r in record["rows"]] == [COLD, HOT]
    text = (folder / "report.md").read_text()
    assert "| T (K) | a (Å) |" in text
    assert "| 500 | 4.4000 |" in text
    assert "a = 4.0000 to 4.4000 Å" in text
    same = write_series(temperatures=(450.0,), replicas=2, folder=tmp_path / "same")
    write_report(same)
    record = json.loads((same / "report.json").read_text())
    assert record["settings"]["lattice_constant_angstrom"] == 4.083428
    assert "a (Å)" not in (same / "report.md").read_text()


def test_a_universe_has_the_box_of_its_replica(write_series):
    pytest.importorskip("MDAnalysis")
    from jaxdiff.analysis.exports import to_mdanalysis

    folder = write_series(temperatures=(400.0,), replicas=2, duration_ps=20.0, positions=3)
    series = load_series(own(folder, np.array([COLD, HOT])) / "series.h5")
    for replica, a in enumerate((COLD, HOT)):
        box = to_mdanalysis(series, replica).dimensions
        np.testing.assert_allclose(box, [5 * a] * 3 + [90] * 3, rtol=1e-6)


def test_constants_for_another_number_of_replicas_are_refused(folder):
    with h5py.File(folder / "series.h5", "r+") as file:
        del file["lattice_constant_angstrom"]
        file["lattice_constant_angstrom"] = np.full(3, COLD)
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(8,\)"):
        load_series(folder / "series.h5")
