"""A run says what its time step does before it starts, and its report knows it."""

import json
import re
import tomllib

import h5py
import ionic_run
import numpy as np
import pytest

from jaxdiff import units
from jaxdiff.analysis.series import load_series
from jaxdiff.analysis.study import summarize
from jaxdiff.io import runfile
from jaxdiff.md.timestep import Spectrum
from jaxdiff.runs import records


def text(directory, thermostat):
    """A tenth as long as that of the restarts."""
    return (
        ionic_run.RUN.format(directory=directory)
        .replace("[production]", f'[production]\nthermostat = "{thermostat}"')
        .replace("duration_ps = 0.3", "duration_ps = 0.04")
    )


@pytest.mark.slow
def test_the_error_of_the_time_step_is_said_before_a_run(tmp_path):
    """Ions at their sites: the highest mode bounds the mean over all."""
    lines = []
    ionic_run.run(text(tmp_path / "run", "langevin"), lines.append)
    found = re.search(
        r"Time step 1 fs, highest frequency (\S+) THz: .* momenta (\S+)% colder",
        " ".join(lines),
    )
    highest, mean = float(found[1]), float(found[2]) / 100
    assert 5 < highest < 40
    bound = (2 * np.pi * highest * 1e-3) ** 2 / 4  # ω²h²/4, THz times fs
    assert 0 < mean < bound
    with h5py.File(tmp_path / "run" / "series.h5") as file:
        provenance = json.loads(file.attrs["provenance"])
    assert 0 < provenance["momentum_error"] < 0.05  # of the crystal in motion, at the end
    found = provenance["configurational_temperature"]
    assert [row["temperature_kelvin"] for row in found] == [900, 1500]
    for row in found:
        assert row["replicas"] == 2
        assert 0 < row["standard_error_kelvin"] < row["kelvin"] < 3000
        assert row["timestep_error"] == 0  # positions are right


def test_how_hot_positions_are_is_recorded_and_checked(tmp_path):
    ionic_run.run(text(tmp_path / "run", "csvr"))
    study = summarize(load_series(tmp_path / "run"))
    positions = [row.configurational_temperature for row in study.rows]
    assert all(0 < p.value < 3000 and p.n_effective == 2 for p in positions)
    (check,) = (c for c in study.checks if c.name == "configurational temperature")
    assert check.passed is not None
    assert "for the time step" in check.detail


def test_what_is_said_of_thermostats_that_hold_the_momenta():
    """ω²h²/4 = 0.01 of every mode: positions 1/0.99 - 1 too hot."""
    run = runfile.parse(tomllib.loads(text("nowhere", "csvr")))
    step = run.ensemble.timestep_fs * units.FEMTOSECOND
    square = np.full((1, 1), 0.04 / step**2)
    words = records.timestep_words(run, Spectrum(square, np.ones((1, 1))))
    assert "positions 1.01% hotter than the momenta" in words
    assert "highest frequency 31.8 THz" in words  # 0.2 / (2π 1 fs)
    assert "shortest period" not in words
    twice = np.full((1, 1), 0.5 / step**2)  # a period of 8.9 steps
    words = records.timestep_words(run, Spectrum(twice, np.ones((1, 1))))
    assert "a tenth of the shortest period (0.89 fs): set ensemble.timestep" in words
