"""A campaign under a real Slurm of one node, which these tests start: the same bits.

    pytest -n 0 -m long tests/runs/test_slurm_real.py

Slurm comes with `apt-get install slurm-wlm munge`, or as your system has it.
"""

import os
import re
import signal
import subprocess
import time

import pytest
import slurm_node
from datasets import assert_same_series
from stub_simulate import STUB
from test_campaign_merge import invoke

from jaxdiff.runs import campaign, slurm
from jaxdiff.runs.campaign_merge import merge
from jaxdiff.runs.launchers import run_local
from jaxdiff.runs.parsl_launcher import run_parsl

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(slurm_node.missing()),
        reason=f"no Slurm here: {', '.join(slurm_node.missing())} are not installed",
    ),
]

STUDY = (
    "production.duration_ps=0.4",
    "output.chunk_ps=0.02",
    "output.checkpoint_minutes=0",
)
LIMIT_S = 900


@pytest.fixture
def node(tmp_path, monkeypatch, compiled_once):
    """The folder of the node; its commands are those that this process and its own see."""
    folder = tmp_path / "slurm"
    with slurm_node.running(folder) as own:
        for name, text in own.items():
            monkeypatch.setenv(name, text)
        yield folder


def ask(*command):
    """What a command of Slurm says."""
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def wait_for(condition, what, every_s=0.5):
    until = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < until, f"{what} did not happen in {LIMIT_S} s"
        time.sleep(every_s)
    return found


def is_requeued(planned, index, restarts):
    """As Slurm says it to `jaxdiff campaign status`."""
    entry = slurm.queued(planned).get(index)
    return entry and entry.state == "PENDING" and entry.restarts == restarts


def log(planned, index):
    path = planned.units[index].log
    return path.read_text() if path.exists() else ""


def process_of(planned, index):
    """Number of the process of a unit, None where there is none."""
    file = f"units/{index:04d}.toml"
    found = slurm_node.processes_in(planned.directory).items()
    return next((number for number, words in found if words[-1:] == [file]), None)


def frozen(planned, ready):
    """Processes of both units, each frozen as soon as it is `ready`: neither can end."""
    found = {}

    def both():
        for index in {0, 1} - found.keys():
            if ready(planned, index):
                found[index] = process_of(planned, index)
                assert found[index], f"unit {index} has ended:\n{log(planned, index)}"
                os.kill(found[index], signal.SIGSTOP)
        return len(found) == 2

    wait_for(both, f"what is {ready.__name__}", every_s=0.02)
    return [found[0], found[1]]


def in_production(planned, index):
    found = campaign.unit_status(planned.units[index])
    return found.phase == "production" and (found.done_ps or 0) > 0


def goes_on(planned, index):
    return "Going on in" in log(planned, index)


def minutes_of(job, task):
    """Whole minutes that a task has run; Slurm warns it two minutes before its limit."""
    *_, minutes, _ = ask("squeue", "-h", "-j", f"{job}_{task}", "-o", "%M").split(":")
    return int(minutes)


def status(planned):
    return " ".join(invoke("status", planned.directory).output.split())


def submit(planned, **options):
    """Through the command, with options edited as a user does; the number of the job."""
    script = planned.directory / slurm.SCRIPT
    for _ in range(2):  # the second time it keeps what was edited
        result = invoke("run", planned.directory, "--launcher", "slurm")
        assert result.exit_code == 0, result.output
        assert "Slurm can run it" in " ".join(result.output.split())
        text = script.read_text()
        for option, value in options.items():
            text = re.sub(f"#SBATCH --{option}=.*", f"#SBATCH --{option}={value}", text)
        script.write_text(text)
    return ask("sbatch", "--parsable", "--hold", str(script))


def check_each_has_a_core(planned):
    """The node has two and binds nobody."""
    assert all("in all on 1 core(s)" in log(planned, index) for index in (0, 1))
    outputs = [p.read_text() for p in sorted(planned.directory.glob("units/slurm-*.out"))]
    cores = [re.findall("new affinity list: (.*)", text) for text in outputs]
    assert sorted(cores) == [["0"], ["1"]]


def test_requeued_ended_by_its_time_and_without_its_node_the_bits_are_the_same(
    tmp_path, study, node
):
    """A unit each; then both lose their node, and one leaves a process with its lock."""
    run = study(1, *STUDY)
    here = campaign.plan(run, tmp_path / "here", replicas_per_unit=1)  # first: it compiles
    assert run_local(here.units, workers=2).exit_code == {0: 0, 1: 0}

    planned = campaign.plan(run, tmp_path / "there", replicas_per_unit=1)
    job = submit(planned)
    ask("scontrol", "release", job)
    first = frozen(planned, in_production)
    check_each_has_a_core(planned)

    ask("scontrol", "requeue", f"{job}_0")  # which wakes it
    wait_for(lambda: is_requeued(planned, 0, 1), "the return of unit 0 to the queue")
    assert f"0): requeued by Slurm as job {job}_0" in status(planned)

    ask("scontrol", "update", f"JobId={job}_1", f"TimeLimit={minutes_of(job, 1) + 2}")
    wait_for(lambda: slurm_node.is_asked_to_stop(first[1]), "the warning of unit 1")
    os.kill(first[1], signal.SIGCONT)
    wait_for(lambda: is_requeued(planned, 1, 1), "the end of the time of unit 1")
    assert "Stopped by signal 15" in log(planned, 1)
    ask("scontrol", "update", f"JobId={job}_1", "TimeLimit=60")

    units = frozen(planned, goes_on)
    scripts = [slurm_node.parent_of(number) for number in units]
    slurms_own = [slurm_node.parent_of(number) for number in scripts]
    os.kill(units[1], signal.SIGCONT)  # Linux ends what is frozen and loses its parent
    slurm_node.lose(node, [*slurms_own, *scripts, units[0]])
    os.kill(units[1], signal.SIGSTOP)
    for index in (0, 1):
        wait_for(lambda i=index: is_requeued(planned, i, 2), f"the loss of unit {index}")
    assert status(planned).count("requeued by Slurm") == 2
    slurm_node.come_back()

    wait_for(lambda: "Another process is running" in log(planned, 1), "the wait of unit 1")
    os.kill(units[1], signal.SIGKILL)
    wait_for(lambda: not slurm.queued(planned), "the end of the job")
    found = campaign.status(planned)
    logs = [log(planned, index) for index in (0, 1)]
    assert [s.state for s in found] == ["complete"] * 2, "".join(logs)
    assert [text.count("Going on in") for text in logs] == [2, 2]
    assert all(s.ns_per_day for s in found)

    joined, whole = (merge(each).parent for each in (planned, here))
    assert_same_series(joined / "series.h5", whole / "series.h5")
    final = [(path / "final.extxyz").read_bytes() for path in (joined, whole)]
    assert final[0] == final[1]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"cpus-per-task": "8"}, "Requested node configuration is not available"),
        ({"time": "90"}, "--time=90, and partition main allows 60 minutes"),
    ],
)
def test_what_can_never_run_is_refused_and_named_in_the_queue(
    tmp_path, study, node, options, why
):
    planned = campaign.plan(study(1), tmp_path / "c", replicas_per_unit=1)
    script = slurm.write_slurm(planned, planned.units)
    text = script.read_text()
    for option, value in options.items():
        text = re.sub(f"#SBATCH --{option}=.*", f"#SBATCH --{option}={value}", text)
    script.write_text(text)
    result = invoke("run", planned.directory, "--launcher", "slurm")
    assert result.exit_code == 2
    assert why in " ".join(result.output.split())
    ask("sbatch", str(script))  # all the same
    wait_for(lambda: "will wait for ever" in status(planned), "a reason to wait")


PARSL = """
import sys
from pathlib import Path

import parsl
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SimpleLauncher
from parsl.providers import SlurmProvider

scripts = Path(sys.executable).parent
config = parsl.Config(
    executors=[
        HighThroughputExecutor(
            label="units",
            address="127.0.0.1",
            max_workers_per_node=1,
            interchange_launch_cmd=[str(scripts / "interchange.py")],
            provider=SlurmProvider(
                partition="main",
                cores_per_node=1,
                init_blocks=2,
                max_blocks=2,
                walltime="00:30:00",
                exclusive=False,
                launcher=SimpleLauncher(),
                worker_init=f'export PATH="{scripts}:$PATH"',
            ),
        )
    ],
    run_dir="DIRECTORY",
    retries=2,
    strategy="none",
)
"""


def test_parsl_through_its_slurm_provider(tmp_path, planned, node):
    """Two blocks of one core; units are stubs, one of which is killed and goes on."""
    pytest.importorskip("parsl", reason="Parsl is not installed")
    planned, behave = planned
    behave(1, "killed")
    config = tmp_path / "config.py"
    config.write_text(PARSL.replace("DIRECTORY", str(tmp_path / "parsl")))
    outcome = run_parsl(planned, planned.units, config_file=config, command=STUB)
    assert outcome.exit_code == dict.fromkeys(range(4), 0)
    assert [s.state for s in campaign.status(planned)] == ["complete"] * 4
    jobs = ask("scontrol", "show", "jobs", "--oneliner")
    assert len(re.findall(r"JobName=parsl\S*units", jobs)) == 2, jobs
