"""What Slurm is asked and told, with stubs of its commands in place of a cluster."""

import os
import re
import subprocess
import sys

import pytest
from stub_simulate import STUB
from test_campaign_merge import invoke

from jaxdiff.devices import given_cores
from jaxdiff.runs import campaign, slurm

SINFO = "main*|2|1:00:00\nmain*|4|1:00:00\nlong|64|infinite\n"
COMMANDS = ("sbatch", "sinfo", "scontrol", "squeue")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Stubs of Slurm's commands, and a way to say what one of them answers."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def answers(name, text="", code=0):
        (folder / f"{name}.txt").write_text(text)
        stream = ">&2" if code else ""
        script = f"#!/bin/sh\ncat {folder}/{name}.txt {stream}\nexit {code}\n"
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)

    for name in COMMANDS:
        answers(name)
    answers("sinfo", SINFO)
    return answers


@pytest.fixture
def no_slurm(cluster):
    """Its commands are installed, and no cluster answers."""
    for name in COMMANDS:
        cluster(name, f"{name}: fatal: no configuration", 1)


def submit(planned):
    result = invoke("run", planned.directory, "--launcher", "slurm")
    return result.exit_code, " ".join(result.output.split())


def edit(planned, old, new):
    path = planned.directory / "submit.sbatch"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_script_has_cores_and_time_from_the_plan_and_the_cluster(
    tmp_path, study, cluster
):
    planned = campaign.plan(study(5), tmp_path / "c", replicas_per_unit=3)
    text = slurm.write_slurm(planned, planned.units).read_text()
    assert "--cpus-per-task=3\n" in text  # the replicas of the largest unit
    assert "--time=60\n" in text
    assert "up to 4 cores and allows 60 min" in text
    cluster("sinfo", "main*|2|infinite\n")
    (planned.directory / "submit.sbatch").unlink()
    text = slurm.write_slurm(planned, planned.units).read_text()
    assert "--cpus-per-task=2\n" in text
    assert "--time=1440\n" in text


def test_without_slurm_the_script_is_written_and_that_is_said(planned, no_slurm):
    code, said = submit(planned[0])
    assert code == 0
    assert "could not be asked whether it can run that (sinfo does not answer" in said
    text = (planned[0].directory / "submit.sbatch").read_text()
    # a unit that was requeued may meet the lock of its last start
    assert '-m jaxdiff simulate --wait 600 "$unit.toml"' in text


def test_what_slurm_refuses_is_said_and_edits_are_kept(planned, cluster):
    planned, _ = planned
    code, said = submit(planned)
    assert (code, "4 units in" in said, "Slurm can run it. Next: sbatch" in said) == (
        0,
        True,
        True,
    )
    edit(planned, "--cpus-per-task=1", "--cpus-per-task=99")
    cluster("sbatch", "allocation failure: Requested node configuration is ...", 1)
    code, said = submit(planned)
    assert code == 2
    assert "would never run" in said
    assert "(allocation failure: Requested node configuration is ...)" in said
    assert "--cpus-per-task=99" in (planned.directory / "submit.sbatch").read_text()


@pytest.mark.parametrize(
    ("time", "partition", "works"),
    [
        ("60", "", True), ("61", "", False), ("1-0", "", False), ("59:59", "", True),
        ("60:01", "", False), ("1:00:00", "", True), ("02:00:00", "", False),
        ("9-0", "long", True), ("9-0", "main,long", True), ("9-0", "main", False),
    ],
)  # fmt: skip
def test_a_time_that_the_partition_does_not_allow(planned, cluster, time, partition, works):
    planned, _ = planned
    path = slurm.write_slurm(planned, planned.units)
    edit(planned, "--time=60", f"--time={time}")
    if partition:
        edit(planned, "##SBATCH --partition=gpu", f"#SBATCH -p {partition}")
    why = slurm.refusal(path)
    assert (why is None) == works
    assert works or f"--time={time}, and partition main allows 60 minutes" in (why or "")


def test_another_script_is_kept_beside_the_one_written(planned, cluster):
    planned, _ = planned
    (planned.directory / "submit.sbatch").write_text("mine")
    slurm.write_slurm(planned, planned.units)
    assert (planned.directory / "submit.sbatch.old").read_text() == "mine"


def test_more_units_than_an_array_has_numbers(planned, cluster):
    """Tasks 0 and 1 of two: units 0 and 2, and 1 and 3, one after another."""
    planned, behave = planned
    cluster("scontrol", "MaxArraySize            = 2\n")
    behave(1, "exit 1")
    script = slurm.write_slurm(planned, planned.units, command=STUB)
    assert "#SBATCH --array=0-1\n" in script.read_text()
    codes = []
    for task in (0, 1):
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(task)}
        codes.append(subprocess.run(["bash", script], env=environment).returncode)
    assert codes == [0, 1]  # the unit after the one that failed has run
    states = [s.state for s in campaign.status(planned)]
    assert states == ["complete", "failed", "complete", "complete"]
    slurm.write_slurm(planned, planned.units[3:], command=STUB)
    assert "#SBATCH --array=1\n" in script.read_text()


def test_a_task_requeues_itself_and_not_the_whole_array(planned, cluster, tmp_path):
    """The number of one of its tasks is that of the array, too."""
    planned, behave = planned
    behave(0, "exit 143")
    cluster("scontrol")
    script = slurm.write_slurm(planned, planned.units, command=STUB)
    asked = tmp_path / "asked"
    (tmp_path / "bin/scontrol").write_text(f'#!/bin/sh\necho "$*" >> "{asked}"\n')
    numbers = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    assert subprocess.run(["bash", script], env=os.environ | numbers).returncode == 143
    assert asked.read_text() == "requeue 7_0\n"


def squeue(planned, task, state, restarts, begins, reason, place=None):
    fields = (task, f"7_{task}", state, restarts, begins, reason)
    return "|".join(map(str, (*fields, place or planned.directory))) + "|\n"


def test_status_says_what_slurm_has_and_run_leaves_it_alone(planned, cluster):
    planned, _ = planned
    when = "2026-01-02T03:04:05"
    rows = [
        squeue(planned, 0, "PENDING", 1, when, "BeginTime"),
        squeue(planned, 1, "PENDING", 0, "N/A", "PartitionTimeLimit"),
        squeue(planned, 2, "PENDING", 0, "N/A", "Resources"),
        squeue(planned, 3, "PENDING", 0, "N/A", "Resources", "/another/campaign"),
    ]
    cluster("squeue", "".join(rows))
    said = " ".join(invoke("status", planned.directory).output.split())
    assert f"0): requeued by Slurm as job 7_0 (BeginTime), to begin at {when}" in said
    assert "will wait for ever in Slurm's queue (PartitionTimeLimit)" in said
    assert "`scancel 7_1`" in said
    assert "unit 2 (replicas 2 to 2): in Slurm's queue as job 7_2 (Resources)" in said
    assert "unit 3" not in said
    code, said = submit(planned)
    assert code == 0
    assert "1 unit in" in said
    text = (planned.directory / "submit.sbatch").read_text()
    assert re.findall("--array=(.*)", text) == ["3"]


def test_cores_are_those_that_are_given(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 7}, raising=False)
    assert given_cores() == 3
    for text, expected in (("2", 2), ("64", 3), ("0", 3), ("", 3), ("x", 3)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", text)
        assert given_cores() == expected


def test_devices_and_threads_are_those_of_the_cores_that_slurm_counts():
    code = (
        "from jaxdiff.devices import use_every_core\n"
        "print(use_every_core())\n"
        "import os, jax; print(os.environ['NPROC'], jax.config.jax_num_cpu_devices)"
    )
    own = {k: v for k, v in os.environ.items() if k != "NPROC"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=own | {"SLURM_CPUS_PER_TASK": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == ["1", "1", "2"]  # two devices round as any number does
