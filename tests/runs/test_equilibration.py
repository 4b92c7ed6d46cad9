"""Each replica is equilibrated until its energy has settled, whatever runs beside it."""

import h5py
import ionic_run
import numpy as np
import pytest
from datasets import assert_same_series
from test_restart import PulledOut, cut_off_at

from jaxdiff.analysis import load_series
from jaxdiff.runs import simulation

BEFORE = "duration_ps = 0.05\n"
LONGER = "duration_ps = 0.05\nlongest_ps = 0.2\n"


def text(directory, longer=LONGER, **changes):
    found = ionic_run.RUN.format(directory=directory).replace(BEFORE, longer, 1)
    for key, value in changes.items():
        found = found.replace("seed = 5", f"seed = 5\n{key} = {value}")
    return found.replace("duration_ps = 0.3", "duration_ps = 0.03")


def judged(monkeypatch, until):
    """Replicas settle after as many blocks as their number says, of 0.05 ps."""

    def settling(time, kinetic, potential, n_atoms):
        record = np.isfinite(kinetic).sum(axis=1) * 0.005
        assert n_atoms == 65
        assert np.all(np.isfinite(kinetic[:, 0]))
        done = record > 0.05 * np.asarray(until) - 1e-9
        return type("Found", (), {"has_settled": done})

    monkeypatch.setattr(simulation, "settling", settling)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four replicas that need one to five blocks, of which the longest are four."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        judged(patch, [2, 1, 5, 3])
        ionic_run.run(text(directory))
    return directory / "series.h5"


def test_each_goes_on_until_it_has_settled(whole):
    with h5py.File(whole) as file:
        kelvin = file["equilibration/temperature_kelvin"][...]
        np.testing.assert_allclose(file["equilibration/time_ps"][-1], 0.2)
        assert np.isfinite(file["thermo/temperature_kelvin"]).all()
    assert np.isfinite(kelvin).sum(axis=1).tolist() == [20, 10, 40, 30]
    series = load_series(whole)
    assert not series.stopped.any()
    np.testing.assert_allclose(series.settling.record_ps, [0.1, 0.05, 0.2, 0.15])


@pytest.mark.parametrize("replica", [1, 2])
def test_alone_a_replica_is_that_of_the_whole(whole, tmp_path, monkeypatch, replica):
    judged(monkeypatch, [[2, 1, 5, 3][replica]])
    ionic_run.run(text(tmp_path / "run", replica_range=[replica, replica + 1]))
    with h5py.File(whole) as every, h5py.File(tmp_path / "run/series.h5") as own:
        for group in ("thermo", "equilibration"):
            name = f"{group}/conserved_energy_ev"
            n = own[name].shape[1]
            np.testing.assert_array_equal(own[name][0], every[name][replica, :n])
            assert not np.isfinite(every[name][replica, n:]).any()


def test_without_being_asked_nothing_goes_on(tmp_path, monkeypatch):
    judged(monkeypatch, [9, 9, 9, 9])
    ionic_run.run(text(tmp_path / "run", longer=BEFORE))
    with h5py.File(tmp_path / "run/series.h5") as file:
        assert file["equilibration/time_ps"].shape == (10,)


@pytest.mark.slow
def test_cut_off_while_some_wait(whole, tmp_path, monkeypatch):
    """Anywhere: those that wait wait on, and the end of a block is judged once more."""
    monkeypatch.setattr(simulation, "PART_SECONDS", 0.0)
    judged(monkeypatch, [2, 1, 5, 3])
    rng, cuts = np.random.default_rng(1), 0
    run = text(tmp_path / "run").replace(
        "checkpoint_minutes = 0", "checkpoint_minutes = 1e-9"
    )
    for _ in range(30):
        with monkeypatch.context() as patch:
            cut_off_at(patch, int(rng.integers(1, 30)))
            try:
                ionic_run.run(run)
                break
            except PulledOut:
                cuts += 1
    assert cuts > 4
    assert_same_series(whole, tmp_path / "run/series.h5")


@pytest.mark.parametrize(("first", "longest"), [(0.0, 1.0), (0.5, 0.2)])
def test_a_longest_that_is_none_is_refused(tmp_path, first, longest):
    longer = f"duration_ps = {first}\nlongest_ps = {longest}\n"
    with pytest.raises(ValueError, match=r"equilibration\.longest_ps"):
        ionic_run.run(text(tmp_path / "run", longer=longer))
