"""Folders of an earlier version: `tests/data/make_folders.py` says how they were made."""

import json
import sys
import tarfile
import tomllib
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from jaxdiff.analysis import load_series
from jaxdiff.cli import app
from jaxdiff.finetune import loop
from jaxdiff.io import barrierfile, runfile
from jaxdiff.io.trainfile import read_train_file
from jaxdiff.runs import barriers, campaign, campaign_merge, simulation

DATA = Path(__file__).parents[1] / "data"
sys.path.append(str(DATA))

import make_folders  # noqa: E402


@pytest.fixture
def frozen(tmp_path, monkeypatch):
    """All of them, in the working directory, as when they were made."""
    with tarfile.open(DATA / "folders-v1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def go_on(text, said):
    run = runfile.parse(tomllib.loads(text))
    place = Path(run.output.directory)
    return simulation.simulate(
        run, place, lambda *_: None, said.append, make_folders.springs
    )


@pytest.mark.parametrize(
    ("name", "more"), [("simulate", ""), ("lattice", make_folders.BAROSTAT)]
)
@pytest.mark.slow
def test_a_run_of_dynamics_goes_on(frozen, name, more):
    """Half of it was run; what was measured then stays as it is."""
    parts = sorted((frozen / name / "parts").iterdir())
    energy = []
    for path in parts:
        with h5py.File(path) as file:
            energy.append(file["thermo/conserved_energy_ev"][...])
    before = np.concatenate(energy, axis=1)
    text, said = make_folders.RUN.format(directory=name) + more, []
    with pytest.raises(ValueError, match=r"ensemble.seed = 1, not 2"):
        go_on(text.replace("seed = 1", "seed = 2"), said)
    assert go_on(text.replace("chunk_ps = 0.02", "chunk_ps = 0.04"), said) == ()
    assert len(said) == 1
    assert said[0].startswith(f"Going on in {name} from 0.1 ps of production, after 0.0")
    with h5py.File(frozen / name / "series.h5") as file:
        assert file.attrs["status"] == "complete"
        np.testing.assert_allclose(file["thermo/time_ps"], 0.02 * np.arange(1, 11))
        after = file["thermo/conserved_energy_ev"][...]
    np.testing.assert_array_equal(after[:, : before.shape[1]], before)
    if not more:  # springs conserve their energy across the gap as within
        assert np.ptp(after, axis=1).max() < 3 * np.ptp(before, axis=1).max()


@pytest.mark.slow
def test_training_goes_on(frozen):
    """An epoch was done; a second is made from its state."""
    first = (frozen / "finetune/metrics.jsonl").read_text()
    (frozen / "finetune.toml").write_text(
        make_folders.TRAINING.format(directory="finetune", epochs=2)
    )
    with pytest.raises(ValueError, match="seed = 3, not 4"):
        loop.train(read_train_file(Path("finetune.toml"), overrides=["seed=4"]))
    loop.train(read_train_file(Path("finetune.toml")))
    lines = (frozen / "finetune/metrics.jsonl").read_text().splitlines(keepends=True)
    assert lines[0] == first
    one, two = map(json.loads, lines)
    assert (one["epoch"], two["epoch"]) == (1, 2)
    assert two["train_loss"] < one["train_loss"]


@pytest.mark.parametrize(
    ("change", "refused"),
    [("rates.temperatures_kelvin=[300]", "rates = unset, not given"),
     ("search.images=5", "search.images = 3, not 5"), (None, None)],
)  # fmt: skip
def test_barriers_that_are_there_are_not_searched_again(frozen, change, refused):
    run = barrierfile.load("barrier.toml", [change] if change else [])
    if refused:
        with pytest.raises(ValueError, match=refused):
            barriers.search_to_folder(run, lambda *_: None)
    else:
        found = barriers.search_to_folder(run, lambda *_: None)
        assert found == {"collinear": {"forward_ev": 0.15, "backward_ev": 0.15}}


def test_vibrations_are_what_rates_were_called(frozen):
    """In the identity of a search for prefactors too."""
    path = frozen / "barrier/barriers.json"
    content = json.loads(path.read_text())
    content["identity"]["vibrations"] = {"radius_angstrom": 3.0}
    path.write_text(json.dumps(content))
    own = "rates.temperatures_kelvin=[300]", "rates.radius_angstrom=3"
    barriers.search_to_folder(barrierfile.load("barrier.toml", own), lambda *_: None)
    other = barrierfile.load("barrier.toml", (own[0], "rates.radius_angstrom=4"))
    with pytest.raises(ValueError, match=r"rates.radius_angstrom = 3.0, not 4.0"):
        barriers.search_to_folder(other, print)


def test_a_campaign_is_the_same_and_is_joined(frozen):
    study = runfile.parse(tomllib.loads(make_folders.RUN.format(directory="campaign")))
    planned = campaign.plan(study, "campaign", n_units=2)
    assert planned == campaign.load("campaign")
    assert [s.state for s in campaign.status(planned)] == ["complete", "complete"]
    assert campaign.status(planned)[0].done_ps == 0.2
    campaign_merge.merge(planned)
    with h5py.File("campaign/series.h5") as file:
        np.testing.assert_array_equal(file["temperature_kelvin"], [300, 600])
        assert file["thermo/time_ps"].shape == (10,)


def test_an_analysed_trajectory_opens(frozen):
    series = load_series("analyze/series.h5")
    assert len(series.events.kind) == 1
    assert series.provenance.count('"sha256"') == 1
    assert series.run_file.startswith("{")  # JSON, as such options once were
    assert runfile.table_of(series.run_file)["analyze"]["mobile"] == "Li"
    arguments = ["export", "analyze", "out.extxyz", "--anion", "F"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert set(ase.io.read("out.extxyz").symbols) == {"Li", "F"}
