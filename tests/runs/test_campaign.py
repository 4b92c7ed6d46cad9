import json
import shutil
from pathlib import Path

import filelock
import h5py
import pytest

from jaxdiff.io import runfile
from jaxdiff.runs import campaign

SIMULATE = (Path(__file__).parents[2] / "simulate").glob("*.toml")
OTHERS = (
    "lif_barriers.toml",
    "lif_evidence.toml",
)  # no dynamics; a block of a series of runs
RECIPES = sorted(path for path in SIMULATE if path.name not in OTHERS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_can_be_planned(tmp_path, path):
    run = runfile.load(path)
    units = campaign.plan(run, tmp_path / "c", replicas_per_unit=1).units
    assert len(units) == run.n_replicas >= 6


def bounds(planned):
    return [(unit.first, unit.stop) for unit in planned.units]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"n_units": 1}, [(0, 10)]),
        ({"n_units": 3}, [(0, 4), (4, 7), (7, 10)]),
        ({"n_units": 4}, [(0, 3), (3, 5), (5, 8), (8, 10)]),
        ({"n_units": 10}, [(i, i + 1) for i in range(10)]),
        ({"replicas_per_unit": 4}, [(0, 4), (4, 8), (8, 10)]),
        ({"replicas_per_unit": 10}, [(0, 10)]),
    ],
)
def test_units_cover_all_replicas_in_their_order(tmp_path, study, split, expected):
    assert bounds(campaign.plan(study(5), tmp_path / "c", **split)) == expected


def test_a_study_of_some_replicas_is_split_within_them(tmp_path, study):
    run = study(5, "ensemble.replica_range=[3, 7]")
    assert bounds(campaign.plan(run, tmp_path / "c", n_units=2)) == [(3, 5), (5, 7)]


def test_run_files_of_units_are_the_study_but_for_replicas_and_place(tmp_path, study):
    run = study(2)
    planned = campaign.plan(run, tmp_path / "c", replicas_per_unit=3)
    assert runfile.load(planned.directory / "study.toml") == run
    for unit, (first, stop) in zip(planned.units, [(0, 3), (3, 4)], strict=True):
        table = runfile.load(unit.run_file).model_dump()
        assert table["ensemble"].pop("replica_range") == (first, stop)
        assert table["output"].pop("directory") == f"units/{unit.index:04d}"
        whole = run.model_dump()
        del whole["ensemble"]["replica_range"], whole["output"]["directory"]
        assert table == whole


def test_input_files_are_found_from_anywhere(tmp_path, study, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("start.extxyz", "lattice.json"):
        (tmp_path / name).touch()
    run = study(
        1, "model.name_or_path=mine.safetensors", "system.lattice_file=lattice.json"
    )
    run = runfile.parse(
        run.model_dump()
        | {"system": run.system.model_dump() | {"structure_files": ["start.extxyz"]}}
    )
    (tmp_path / "mine.safetensors").touch()
    (unit,) = campaign.plan(run, "c", n_units=1).units
    table = runfile.load(unit.run_file)
    assert table.model.name_or_path == str(tmp_path / "mine.safetensors")
    assert table.system.lattice_file == str(tmp_path / "lattice.json")
    assert table.system.structure_files == (str(tmp_path / "start.extxyz"),)


def test_the_same_plan_again_changes_nothing(tmp_path, study):
    planned = campaign.plan(study(), tmp_path / "c", n_units=2)
    (planned.directory / "series.h5").touch()
    before = {path: path.stat().st_mtime_ns for path in planned.directory.rglob("*")}
    again = campaign.plan(
        study(2, "output.directory=elsewhere"), tmp_path / "c", replicas_per_unit=2
    )
    assert again == planned == campaign.load(tmp_path / "c")
    after = {path: path.stat().st_mtime_ns for path in planned.directory.rglob("*")}
    assert after == before


def test_another_plan_in_the_same_place_is_refused(tmp_path, study):
    campaign.plan(study(), tmp_path / "c", n_units=2)
    with pytest.raises(
        ValueError, match=r"holds a run with .* not .*Only output.directory may"
    ):
        campaign.plan(study(2, "ensemble.seed=8"), tmp_path / "c", n_units=2)
    with pytest.raises(ValueError, match="planned as 2 units of 2 replicas, not as 4"):
        campaign.plan(study(), tmp_path / "c", n_units=4)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "series.h5").touch()
    with pytest.raises(ValueError, match="not empty and not a campaign"):
        campaign.plan(study(), tmp_path / "run", n_units=4)


def test_a_plan_that_was_cut_off_is_made_again(tmp_path, study):
    planned = campaign.plan(study(), tmp_path / "c", n_units=2)
    (planned.directory / "campaign.json").unlink()
    assert campaign.plan(study(), tmp_path / "c", n_units=4).units[3].run_file.exists()


@pytest.mark.parametrize(
    "split", [{"n_units": 0}, {"n_units": 5}, {"replicas_per_unit": 5}]
)
def test_a_split_that_cannot_be_is_refused(tmp_path, study, split):
    with pytest.raises(ValueError, match=r"study of 4 replicas; give 1 to 4"):
        campaign.plan(study(), tmp_path / "c", **split)
    assert not (tmp_path / "c").exists()


def test_one_split_is_asked_for(tmp_path, study):
    for split in ({}, {"n_units": 1, "replicas_per_unit": 1}):
        with pytest.raises(ValueError, match="give either"):
            campaign.plan(study(), tmp_path / "c", **split)


def test_a_changed_run_file_is_noticed(planned):
    planned, _ = planned
    path = planned.units[1].run_file
    path.write_text(path.read_text().replace("seed = 7", "seed = 9"))
    with pytest.raises(ValueError, match=r"0001.toml is missing or was changed"):
        campaign.load(planned.directory)


def test_a_folder_without_a_plan_or_with_a_damaged_one_is_told(tmp_path, planned):
    with pytest.raises(ValueError, match=r"has no campaign.json"):
        campaign.load(tmp_path)
    path = planned[0].directory / "campaign.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"format_version": 9}))
    with pytest.raises(ValueError, match="format_version=9; this version reads"):
        campaign.load(path.parent)
    for text in (
        json.dumps({k: table[k] for k in ("format", "format_version")}),
        "{",
        "[]",
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match="is damaged"):
            campaign.load(path.parent)


def test_a_campaign_can_be_moved(tmp_path, planned):
    shutil.move(planned[0].directory, tmp_path / "moved")
    moved = campaign.load(tmp_path / "moved")
    assert moved.units[2].directory == tmp_path / "moved/units/0002"
    assert moved.run_file_sha256 == planned[0].run_file_sha256


def test_status_is_read_from_files(planned):
    planned, _ = planned
    waiting, done, frozen, failed = planned.units
    for unit, what in ((done, "complete"), (frozen, "diverged")):
        unit.directory.mkdir()
        with h5py.File(unit.directory / "series.h5", "w") as file:
            file.attrs["status"] = what
    failed.exit_file.write_text("1\n")

    def states():
        return [s.state for s in campaign.status(planned)]

    assert states() == ["waiting", "complete", "diverged", "failed"]
    failed.exit_file.write_text("143\n")  # stopped with a checkpoint
    assert states()[3] == "waiting"
    waiting.directory.mkdir()
    with filelock.FileLock(waiting.directory / "lock"):
        assert states()[0] == "running"
    assert states()[0] == "waiting"
    assert (waiting.directory / "lock").exists()


def test_a_series_that_is_cut_off_or_going_on_is_not_final(planned):
    unit = planned[0].units[0]
    unit.directory.mkdir()
    (unit.directory / "series.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert campaign.unit_status(unit).state == "waiting"
    with h5py.File(unit.directory / "series.h5", "w") as file:
        file.attrs["status"] = "running"
    assert campaign.unit_status(unit).state == "waiting"


def test_progress_is_what_the_run_wrote(planned):
    unit = planned[0].units[0]
    unit.directory.mkdir()
    path = unit.directory / "progress.json"
    table = {
        "phase": "production",
        "done_ps": 1.5,
        "total_ps": 40.0,
        "ns_per_day": 3.2,
        "updated": "2026-01-02T03:04:05+00:00",
    }
    path.write_text(json.dumps(table))
    found = campaign.unit_status(unit)
    assert {key: getattr(found, key) for key in table} == table
    path.write_text(json.dumps(table | {"ns_per_day": 0.0}))  # of an earlier version
    assert campaign.unit_status(unit).ns_per_day is None
    path.write_text('{"phase": "prod')
    assert campaign.unit_status(unit).done_ps is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("directory", "../../evil"),
        ("directory", "/tmp/evil"),
        ("index", 7),
        ("index", "0"),
        ("first", -1),
        ("stop", 10**9),
        ("stop", 0),
        ("stop", 2.0),
        ("run_file_sha256", None),
    ],
)
def test_a_plan_that_no_campaign_writes_is_refused(tmp_path, study, key, value):
    planned = campaign.plan(study(5), tmp_path / "c", n_units=3)
    path = planned.directory / campaign.PLAN
    table = json.loads(path.read_text(encoding="utf-8"))
    table["units"][0][key] = value
    path.write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(ValueError, match=r"campaign.json is damaged|was changed after"):
        campaign.load(planned.directory)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", '{"units": []}', "\x00"])
def test_a_plan_of_nonsense_is_a_sentence(tmp_path, study, text):
    planned = campaign.plan(study(5), tmp_path / "c", n_units=3)
    (planned.directory / campaign.PLAN).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"campaign.json"):
        campaign.load(planned.directory)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"done_ps": "x", "phase": 5, "updated": ["a"]}', "[]"]
)
def test_progress_of_nonsense_is_none(tmp_path, study, text):
    planned = campaign.plan(study(5), tmp_path / "c", n_units=3)
    planned.units[0].directory.mkdir(parents=True, exist_ok=True)
    (planned.units[0].directory / "progress.json").write_text(text, encoding="utf-8")
    (planned.units[0].directory / campaign.SERIES).write_bytes(b"nonsense")
    found = campaign.status(planned)[0]
    assert (found.state, found.done_ps, found.phase) == ("waiting", None, None)
