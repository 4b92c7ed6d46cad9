"""Parsl with workers on this machine, and a stub in place of a run."""

import importlib.util
import pickle
import signal
import subprocess
import sys

import pytest
from stub_simulate import STUB
from test_launchers import silent, starts, states, wait_for

from jaxdiff.runs.parsl_launcher import UnitDied, run_parsl

needs_parsl = pytest.mark.skipif(
    importlib.util.find_spec("parsl") is None, reason="Parsl is not installed"
)


@pytest.mark.skipif(
    importlib.util.find_spec("parsl") is not None, reason="Parsl is installed"
)
def test_without_parsl_it_is_told_what_to_install(planned):
    with pytest.raises(ValueError, match=r"pip install jaxdiff\[parsl\]"):
        run_parsl(planned[0], list(planned[0].units))


def test_what_a_worker_says_of_a_unit_survives_the_way_back():
    error = pickle.loads(pickle.dumps(UnitDied(3, 137)))
    assert (error.index, error.exit_code) == (3, 137)
    assert str(error) == "unit 3 ended with exit code 137"


@needs_parsl
@pytest.mark.long
def test_units_run_and_end_as_they_end(planned):
    planned, behave = planned
    behave(1, "killed")
    behave(2, "exit 2")
    behave(3, "exit 1")
    outcome = run_parsl(
        planned, list(planned.units), workers=2, retries=1, command=STUB, say=silent
    )
    assert outcome.exit_code == {0: 0, 1: 0, 2: 2, 3: 1}
    assert states(planned) == ["complete", "complete", "failed", "failed"]
    assert [starts(unit) for unit in planned.units] == [[0], [0, 4], [0], [0, 0]]


@needs_parsl
@pytest.mark.long
def test_a_killed_worker_is_replaced_and_its_unit_not_run_twice(planned):
    planned, behave = planned
    behave(0, "orphaned")
    outcome = run_parsl(planned, [planned.units[0]], retries=1, command=STUB, say=silent)
    assert outcome.exit_code == {0: 0}
    assert states(planned)[0] == "complete"
    assert starts(planned.units[0]) == [
        0
    ]  # the run outlived its worker, and was waited for


@needs_parsl
@pytest.mark.long
def test_a_worker_that_is_killed_too_often_is_told(planned):
    planned, behave = planned
    behave(0, "orphaned")
    said = []
    outcome = run_parsl(
        planned, [planned.units[0]], retries=0, command=STUB, say=said.append
    )
    assert outcome.exit_code == {0: -1}
    assert "unit 0 (replicas 0 to 0)" in said[-1]


@needs_parsl
@pytest.mark.long
def test_each_worker_has_its_accelerator(planned):
    planned, _ = planned
    run_parsl(
        planned,
        list(planned.units),
        workers=2,
        accelerators=("3", "5"),
        command=STUB,
        say=silent,
    )
    seen = {unit.log.read_text().split()[-1] for unit in planned.units}
    assert seen <= {"3", "5"}


LAUNCH = """
import sys
from jaxdiff.runs import campaign
from jaxdiff.runs.parsl_launcher import run_parsl
planned = campaign.load(sys.argv[1])
outcome = run_parsl(planned, planned.units, workers=2, command=tuple(sys.argv[2:]))
print(outcome.exit_code, outcome.signal)
"""


@needs_parsl
@pytest.mark.long
def test_a_signal_reaches_the_runs(planned):
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
    launcher.send_signal(signal.SIGTERM)
    said, _ = launcher.communicate(timeout=60)
    assert said.splitlines()[-1] == f"{{}} {int(signal.SIGTERM)}"
    assert states(planned) == ["waiting"] * 4  # none runs on
    assert not planned.units[2].directory.exists()


@needs_parsl
def test_a_config_of_the_user_is_used(planned, tmp_path):
    planned, _ = planned
    path = tmp_path / "mine.py"
    path.write_text(
        "import parsl\n"
        "from parsl.executors import ThreadPoolExecutor\n"
        f"config = parsl.Config(executors=[ThreadPoolExecutor(max_threads=2)],"
        f" run_dir={str(tmp_path / 'logs')!r})\n"
    )
    outcome = run_parsl(
        planned, list(planned.units), config_file=path, command=STUB, say=silent
    )
    assert outcome.exit_code == dict.fromkeys(range(4), 0)
    path.write_text("configuration = 3\n")
    with pytest.raises(ValueError, match="defines no `config`"):
        run_parsl(planned, [], config_file=path)
    with pytest.raises(ValueError, match="does not exist; give a Python file"):
        run_parsl(planned, [], config_file=tmp_path / "none.py")
