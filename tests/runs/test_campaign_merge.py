import gzip
import json
import tomllib
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from datasets import assert_same_series
from stub_simulate import STUB
from typer.testing import CliRunner

from jaxdiff.analysis import load_series
from jaxdiff.cli import app
from jaxdiff.io import runfile
from jaxdiff.io.series import renew
from jaxdiff.runs import campaign, launchers
from jaxdiff.runs.campaign_merge import merge


def write_series(path, run, first, stop, *, status="complete", **more):
    """Replicas [first, stop) of a study whose every number tells where it belongs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replica = np.arange(first, stop)
    n = len(replica)

    def field(*shape):  # [R, ...]: the replica, and the place in its array
        place = np.arange(int(np.prod(shape))).reshape(shape)
        return replica.reshape(-1, *[1] * len(shape)) * 1e6 + place

    # replica r was equilibrated for 3 + r % 3 rows: units have records of unequal lengths
    own = 3 + replica % 3
    warm = np.where(np.arange(own.max()) < own[:, None], field(own.max()), np.nan)
    # replica r has r % 4 changes of site, which are so many rows
    rows = np.concatenate([np.full(r % 4, r) for r in replica]).astype("i4")
    with h5py.File(path, "w") as file:
        attributes = {"run_file": runfile.to_toml(run), "status": status, "frame_ps": 0.02}
        provenance = {"model_sha256": "0" * 64, "device": f"of replica {first}"}
        attributes |= {
            "provenance": json.dumps(provenance),
            "supercell": np.eye(3, dtype=int),
        }
        for name, value in (attributes | more).items():
            file.attrs[name] = value
        file["temperature_kelvin"] = replica * 10.0
        file["thermo/time_ps"] = np.arange(7) * 0.02
        file["equilibration/time_ps"] = np.arange(own.max()) * 0.02
        file["positions/is_mobile"] = np.array([True, False, True])
        energy = field(7)
        energy[replica % 5 == 3, 4:] = np.nan  # frozen
        for name, data, chunks in (
            ("thermo/pressure", energy, (n, 4)),
            ("equilibration/pressure", warm, (n, 4)),
            ("positions/position", field(6, 3, 3).astype("f4"), (n, 2, 3, 3)),
            ("positions/none", np.zeros((n, 0, 3)), (n, 1, 3)),
            ("sites/change_replica", rows - first, (4,)),
            ("sites/change_site", rows[:, None] + np.arange(3), (4, 3)),
            ("crossings/replica", rows[:0], (4,)),
        ):
            limit = tuple(None if i < 2 else m for i, m in enumerate(data.shape))
            dataset = file.create_dataset(
                name, data=data, chunks=chunks, maxshape=limit, fletcher32=True
            )
            dataset.attrs["unit"] = f"unit of {name}"
        file["thermo"].attrs["note"] = "of the group"


def write_final(path, first, stop):
    """Last states whose positions tell where they belong."""
    frames = []
    for replica in range(first, stop):
        atoms = ase.Atoms("LiF", positions=np.full((2, 3), replica + 1 / 3))
        atoms.info["replica"] = replica
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")


@pytest.fixture
def finished(tmp_path, study):
    """A campaign of 12 replicas in unequal units, all complete."""

    def finished(*overrides, **split):
        planned = campaign.plan(study(6, *overrides), tmp_path / "c", **split)
        for unit in planned.units:
            run = runfile.load(unit.run_file)
            write_series(unit.directory / "series.h5", run, unit.first, unit.stop)
            write_final(unit.directory / "final.extxyz", unit.first, unit.stop)
        return planned

    return finished


@pytest.mark.parametrize(
    "split", [{"replicas_per_unit": 5}, {"n_units": 12}, {"n_units": 1}]
)
def test_joined_units_are_the_single_run_byte_for_byte(tmp_path, study, finished, split):
    planned = finished(**split)
    write_series(tmp_path / "whole.h5", study(6), 0, 12)
    path = merge(planned)
    assert path == planned.directory / "series.h5"
    assert_same_series(path, tmp_path / "whole.h5")
    with h5py.File(path) as file:
        assert file.attrs["run_file"] == (planned.directory / "study.toml").read_text()
        assert file.attrs["status"] == "complete"
        units = json.loads(file.attrs["provenance"])
        assert [row["replicas"] for row in units] == [
            [u.first, u.stop] for u in planned.units
        ]
        assert units[-1]["device"] == f"of replica {planned.units[-1].first}"
        assert file["thermo/pressure"].fletcher32
    assert merge(planned) == path  # again is the same
    assert not list(planned.directory.glob(".*"))


def test_units_may_be_of_format_2_and_of_today(tmp_path, study):
    """One unit finished then, one today: the first is rewritten, and they are joined."""
    planned = campaign.plan(study(4), tmp_path / "c", n_units=2)
    frozen = Path(__file__).parents[1] / "data/series-v2.h5.gz"
    paths = [unit.directory / "series.h5" for unit in planned.units]
    for unit, path in zip(planned.units, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.decompress(frozen.read_bytes()))
        with h5py.File(path, "r+") as file:
            file.attrs["run_file"] = unit.run_file.read_text(encoding="utf-8")
        write_final(unit.directory / "final.extxyz", unit.first, unit.stop)
    one = load_series(paths[0])
    renew(paths[1])
    joined = load_series(merge(planned))
    np.testing.assert_array_equal(joined.events.frame, np.tile(one.events.frame, 2))
    np.testing.assert_array_equal(joined.events.jump, np.tile(one.events.jump, (2, 1)))


def test_replicas_of_a_study_of_some_replicas_count_from_its_first(
    tmp_path, study, finished
):
    some = "ensemble.replica_range=[4, 11]"
    write_series(tmp_path / "whole.h5", study(6, some), 4, 11)
    path = merge(finished(some, n_units=3))
    assert_same_series(path, tmp_path / "whole.h5")


def test_a_frozen_replica_makes_the_study_diverged(finished):
    planned = finished(n_units=2)
    with h5py.File(planned.units[1].directory / "series.h5", "a") as file:
        file.attrs["status"] = "diverged"
    with h5py.File(merge(planned)) as file:
        assert file.attrs["status"] == "diverged"


def test_units_that_are_not_complete_are_named(finished):
    planned = finished(n_units=3)
    (planned.units[1].directory / "series.h5").unlink()
    planned.units[1].exit_file.write_text("1")
    told = r"1 of 3 units are not complete \(unit 1 \(replicas 4 to 7\): failed\). Run them"
    with pytest.raises(ValueError, match=told):
        merge(planned)
    assert not (planned.directory / "series.h5").exists()


def test_last_states_are_in_the_order_of_replicas(tmp_path, finished):
    planned = finished(replicas_per_unit=5)
    write_final(tmp_path / "whole.extxyz", 0, 12)
    merge(planned)
    joined = planned.directory / "final.extxyz"
    assert joined.read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
    assert [atoms.info["replica"] for atoms in ase.io.iread(joined)] == [*range(12)]

    path = planned.units[1].directory / "final.extxyz"
    write_final(path, 0, 5)  # as if numbered from 0
    with pytest.raises(ValueError, match=r"0001/final.extxyz has replicas \[0, 1, 2, 3, 4"):
        merge(planned)
    path.unlink()
    with pytest.raises(ValueError, match=r"0001/final.extxyz is missing; copy it"):
        merge(planned)


def spoil(planned, index, **changes):
    unit = planned.units[index]
    run = changes.pop("run", runfile.load(unit.run_file))
    write_series(unit.directory / "series.h5", run, unit.first, unit.stop, **changes)
    return unit.directory / "series.h5"


def test_what_does_not_belong_together_is_not_joined(finished, study):
    planned = finished(n_units=3)

    def refused(match):
        with pytest.raises(ValueError, match=match):
            merge(planned)
        assert not list(planned.directory.glob("*.h5*")) + list(
            planned.directory.glob(".*")
        )

    spoil(planned, 2, run=study(6))
    refused("0002/series.h5 is of another run file than .*0002.toml")
    spoil(planned, 2, provenance=json.dumps({"model_sha256": "1" * 64}))
    refused("their models are different files")
    spoil(planned, 2, frame_ps=0.04)
    refused("frame_ps is 0.04 and 0.02")
    spoil(planned, 2, extra=1)
    refused("extra is 1 and missing")
    for name, data, told in (
        ("thermo/time_ps", np.arange(7) * 0.03, "other values of /thermo/time_ps"),
        ("thermo/time_ps", np.arange(6) * 0.02, r"/thermo/time_ps has shapes \(6,\) and"),
        ("thermo/pressure", np.zeros((3, 7)), r"\(3, 7\), but the unit has 4 replicas"),
        ("thermo/pressure", np.zeros((4, 6)), r"/thermo/pressure has shapes \(4, 6\) and"),
        ("thermo/heat", np.zeros((4, 7)), "only one has thermo/heat"),
    ):
        with h5py.File(spoil(planned, 2), "a") as file:
            if name in file:
                del file[name]
            file[name] = data
        refused(told)


def test_a_unit_may_have_written_somewhere_else(finished):
    planned = finished(n_units=3)
    run = runfile.load(planned.units[1].run_file, ["output.directory=other"])
    spoil(planned, 1, run=run)
    assert merge(planned).exists()


def invoke(*arguments):
    return CliRunner().invoke(app, ["campaign", *map(str, arguments)])


def test_the_commands_from_plan_to_merge(tmp_path, study, monkeypatch):
    run_with(monkeypatch, STUB)
    (tmp_path / "study.toml").write_text(runfile.to_toml(study()))
    directory = tmp_path / "it's c"
    plan = ("plan", tmp_path / "study.toml", "--directory", directory)
    result = invoke(*plan, "--units", 2, "--set", "ensemble.seed=3")
    assert result.exit_code == 0, result.output
    assert "4 replicas in 2 units of 2, 0.00048 ns in all" in result.output
    assert tomllib.loads((directory / "study.toml").read_text())["ensemble"]["seed"] == 3
    assert invoke(*plan, "--units", 2).exit_code == 2  # another seed
    assert "--units or --replicas-per-unit" in invoke(*plan).output
    assert "2 waiting" in invoke("status", directory).output

    (directory / "0001.behaviour").write_text("exit 2")
    result = invoke("run", directory)
    assert result.exit_code == 1
    assert "1 unit did not complete: unit 1 (replicas 2 to 3)" in result.output
    assert "1 complete, 1 failed" in invoke("status", directory).output
    result = invoke("merge", directory)
    assert result.exit_code == 2
    assert "1 of 2 units are not complete" in result.output

    (directory / "0001.behaviour").unlink()
    result = invoke("run", directory, "--workers", 2)
    assert result.exit_code == 0, result.output
    assert "unit 0" not in result.output  # was complete
    assert "Next: jaxdiff campaign merge" in result.output
    assert "Nothing to submit" in invoke("run", directory, "--launcher", "slurm").output
    assert invoke("status", tmp_path).exit_code == 2


def test_a_plan_says_how_much_it_is_and_what_is_next(tmp_path, study):
    (tmp_path / "study.toml").write_text(runfile.to_toml(study(6)))
    result = invoke(
        "plan", tmp_path / "study.toml", "--directory", tmp_path / "a b",
        "--replicas-per-unit", 5, "--set", "production.duration_ps=40",
    )  # fmt: skip
    text = " ".join(result.output.split())
    # 12 replicas x 40 ps, 12 x 0.04 ps before
    assert "12 replicas in 3 units of 2 or 5, 0.48 ns in all, after 0.00048 ns" in text
    assert f"jaxdiff campaign run '{tmp_path / 'a b'}'" in text


def test_a_cell_that_varies_is_refused_when_planned(tmp_path, study):
    varying = study(2, "barostat.pressure_gpa=0")
    (tmp_path / "study.toml").write_text(runfile.to_toml(varying))
    result = invoke(
        "plan", tmp_path / "study.toml", "--directory", tmp_path / "c", "--units", 2
    )
    assert result.exit_code == 2
    assert "has a section [barostat]" in " ".join(result.output.split())
    assert not (tmp_path / "c").exists()


def run_with(monkeypatch, command):
    monkeypatch.setattr(launchers, "SIMULATE", command)


def test_run_tells_by_its_exit_code_that_a_replica_was_frozen(planned, monkeypatch):
    run_with(monkeypatch, STUB)
    planned, behave = planned
    behave(2, "diverged")
    assert invoke("run", planned.directory).exit_code == 3
