"""Launchers, with a stub in place of a run; what it does to itself is told by the test."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from stub_simulate import STUB

from jaxdiff.runs import campaign
from jaxdiff.runs.launchers import run_local, run_unit
from jaxdiff.runs.slurm import write_slurm


def states(planned):
    return [s.state for s in campaign.status(planned)]


def starts(unit):
    """The step at which each attempt began."""
    return [int(line) for line in (unit.directory / "starts").read_text().split()]


def silent(_):
    """Say nothing."""


def test_units_run_and_end_as_they_end(planned):
    planned, behave = planned
    behave(1, "diverged")
    behave(2, "exit 2")
    behave(3, "exit 1")
    said = []
    outcome = run_local(planned.units, workers=2, retries=2, command=STUB, say=said.append)
    assert outcome.exit_code == {0: 0, 1: 3, 2: 2, 3: 1}
    assert outcome.signal is None
    assert states(planned) == ["complete", "diverged", "failed", "failed"]
    # bad input once; what died, once and two times more
    assert [len(starts(unit)) for unit in planned.units] == [1, 1, 1, 3]
    assert sum("unit 3 (replicas 3 to 3): exit code 1" in line for line in said) == 3
    assert planned.units[0].log.read_text().startswith("== ")


def test_a_unit_that_diverged_altogether_has_failed(planned):
    planned, behave = planned
    behave(1, "exit 3")  # and no series
    said = []
    outcome = run_local(planned.units[1:2], command=STUB, say=said.append)
    assert outcome.exit_code == {1: 3}
    assert states(planned)[1] == "failed"
    assert len(starts(planned.units[1])) == 1  # it would diverge again
    assert said[-1].startswith("unit 1 (replicas 1 to 1): all its replicas diverged, see")


def test_a_killed_unit_goes_on_from_its_checkpoint(planned):
    planned, behave = planned
    behave(1, "killed")
    outcome = run_local(planned.units[:2], retries=1, command=STUB, say=silent)
    assert outcome.exit_code == {0: 0, 1: 0}
    assert [starts(unit) for unit in planned.units[:2]] == [[0], [0, 4]]


def test_a_killed_unit_without_a_retry_is_failed_and_runs_when_asked_again(planned):
    planned, behave = planned
    behave(0, "killed")
    unit = planned.units[:1]
    outcome = run_local(unit, retries=0, command=STUB, say=silent)
    assert outcome.exit_code == {0: 137}  # 128 + SIGKILL
    assert states(planned)[0] == "failed"
    run_local(unit, retries=0, command=STUB, say=silent)
    assert states(planned)[0] == "complete"


def test_a_complete_unit_is_not_run_again(planned):
    unit = planned[0].units[0]
    assert run_unit(STUB, unit) == 0
    assert run_unit(STUB, unit) == 0
    assert starts(unit) == [0]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_cores_are_divided_between_workers(planned):
    planned, _ = planned
    mine = os.sched_getaffinity(0)
    run_local(planned.units, workers=2, command=STUB, say=silent)
    used = []
    for unit in planned.units:
        found = re.search("cores (.*) accelerators", unit.log.read_text())
        assert found
        used.append(frozenset(map(int, found[1].split())))
    assert frozenset.union(*used) <= mine
    if len(mine) > 1:
        assert all(len(cores) < len(mine) for cores in used)
        assert all(a == b or not a & b for a in used for b in used)
    assert os.sched_getaffinity(0) == mine


def test_cores_that_are_only_counted_are_divided_by_their_number(planned, monkeypatch):
    """As where Slurm binds nobody to the cores that it counted."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    show = ("sh", "-c", "echo share $SLURM_CPUS_PER_TASK")
    run_local(planned[0].units, workers=2, command=show, say=silent)
    assert all("share 3" in unit.log.read_text() for unit in planned[0].units)


def test_each_worker_has_its_accelerator(planned):
    planned, _ = planned
    run_local(planned.units, workers=2, accelerators=("3", "5"), command=STUB, say=silent)
    seen = {unit.log.read_text().split()[-1] for unit in planned.units}
    assert seen <= {"3", "5"}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_numbers_that_do_not_go_together_are_refused(planned):
    units = planned[0].units
    with pytest.raises(ValueError, match="2 workers for 3 accelerators"):
        run_local(units, workers=2, accelerators=("0", "1", "2"), command=STUB)
    with pytest.raises(ValueError, match="give each one once"):
        run_local(units, workers=2, accelerators=("0", "0"), command=STUB)
    with pytest.raises(ValueError, match="workers=0"):
        run_local(units, workers=0, command=STUB)


def test_a_command_that_is_not_there_is_an_error(planned):
    with pytest.raises(FileNotFoundError):
        run_local(planned[0].units, workers=2, command=("/no/such/command",), say=silent)


LAUNCH = """
import signal, sys
from jaxdiff.runs import campaign
from jaxdiff.runs.launchers import run_local
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run under nohup
signal.signal(signal.SIGHUP, signal.SIG_DFL)
planned = campaign.load(sys.argv[1])
outcome = run_local(planned.units, workers=2, command=tuple(sys.argv[2:]))
print(sorted(outcome.exit_code.items()), outcome.signal)
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143)]
)
def test_signals_are_passed_on_and_checkpoints_waited_for(planned, number, code):
    planned, behave = planned
    for index in range(4):
        behave(index, "slow")
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, planned.directory, *STUB],
        stdout=subprocess.PIPE,
        text=True,
    )
    checkpoints = [unit.directory / "checkpoint" for unit in planned.units[:2]]
    wait_for(lambda: all(path.exists() for path in checkpoints))
    launcher.send_signal(number)
    said, _ = launcher.communicate(timeout=30)
    assert said.splitlines()[-1] == f"[(0, {code}), (1, {code})] {int(number)}"
    # the last two never began; all can go on, and do so from where they were
    assert states(planned) == ["waiting"] * 4
    assert not planned.units[2].directory.exists()
    for index in range(4):
        behave(index, "")
    run_local(planned.units, workers=2, command=STUB, say=silent)
    assert states(planned) == ["complete"] * 4
    assert starts(planned.units[0])[1] > 0


def wait_for(condition, limit_s=30):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_another_run_of_the_unit_is_waited_for(planned):
    planned, behave = planned
    behave(0, "slow")
    unit = planned.units[0]
    other = subprocess.Popen([*STUB, "units/0000.toml"], cwd=planned.directory)
    wait_for(lambda: unit.is_locked())
    assert run_unit(STUB, unit) == 0
    assert starts(unit) == [0]
    assert other.wait() == 0


def bash(script, unit):
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(unit.index)}
    return subprocess.Popen(["bash", script], env=environment)


def test_the_slurm_script_runs_its_unit(planned):
    planned, behave = planned
    behave(3, "diverged")
    script = write_slurm(planned, [planned.units[i] for i in (0, 1, 3)], command=STUB)
    assert re.findall("^#SBATCH --array=(.*)$", script.read_text(), re.M) == ["0-1,3"]
    codes = [bash(script, planned.units[i]).wait() for i in (0, 3)]
    assert codes == [0, 3]
    assert states(planned) == ["complete", "waiting", "waiting", "diverged"]
    assert [planned.units[i].exit_file.read_text() for i in (0, 3)] == ["0\n", "3\n"]


def test_the_slurm_script_waits_for_the_checkpoint_before_its_time_is_over(planned):
    planned, behave = planned
    behave(0, "slow")
    unit = planned.units[0]
    script = write_slurm(planned, [unit], command=STUB)
    job = bash(script, unit)
    wait_for((unit.directory / "checkpoint").exists)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 143
    assert unit.exit_file.read_text() == "143\n"
    assert not unit.is_locked()
    behave(0, "")
    assert bash(script, unit).wait() == 0
    assert starts(unit)[1] > 0


def test_the_slurm_script_can_lie_in_a_folder_with_a_space(tmp_path, study):
    planned = campaign.plan(study(), tmp_path / "a b", n_units=1)
    script = write_slurm(planned, list(planned.units), command=STUB)
    assert bash(script, planned.units[0]).wait() == 0
