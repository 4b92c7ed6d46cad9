"""Campaigns of real runs, some of which are killed: the joined units are the single run."""

import contextlib
import importlib.util
import os
import signal
import sys
import threading
import time
import tomllib
from pathlib import Path

import filelock
import h5py
import ionic_run
import pytest
from datasets import assert_same_series
from test_campaign_merge import invoke

from jaxdiff.analysis import load_series
from jaxdiff.io import runfile
from jaxdiff.runs import campaign, checkpoint, folder
from jaxdiff.runs.campaign_merge import merge
from jaxdiff.runs.launchers import run_local
from jaxdiff.runs.parsl_launcher import run_parsl


def run_and_merge(planned):
    """Through the commands, as a user does."""
    for action in ("run", "merge"):
        result = invoke(action, planned.directory)
        assert result.exit_code == 0, result.output + logs(planned)
    assert (planned.directory / "report.html").exists()
    return planned.directory


def logs(planned):
    return "\n".join(unit.log.read_text() for unit in planned.units if unit.log.exists())


def single(planned):
    """The folder of a campaign's only unit, after it has run."""
    outcome = run_local(list(planned.units), say=lambda _: None)
    assert outcome.exit_code == {0: 0}, logs(planned)
    return planned.units[0].directory


def assert_same(joined, whole):
    assert_same_series(joined / "series.h5", whole / "series.h5")
    final = [(path / "final.extxyz").read_bytes() for path in (joined, whole)]
    assert final[0] == final[1]


@pytest.mark.slow
def test_units_of_cheap_ions_join_to_the_single_run(tmp_path):
    """Real dynamics, sites and checkpoints, in this process."""
    text = ionic_run.RUN.format(directory=tmp_path / "whole")
    # two replicas and one have the same program: devices are filled up to two
    text = text.replace("replicas_per_temperature = 2", "replicas_per_temperature = 1")
    ionic_run.run(text)
    run = runfile.parse(tomllib.loads(text))
    parts = campaign.plan(run, tmp_path / "parts", n_units=2)
    for unit in parts.units:
        own = runfile.load(unit.run_file, [f"output.directory={unit.directory}"])
        ionic_run.run(runfile.to_toml(own))
    assert_same(merge(parts).parent, tmp_path / "whole")
    with h5py.File(tmp_path / "whole/series.h5") as file:  # there is something to join
        assert len(set(file["sites/change_replica"])) == 2
        assert len(set(file["crossings/replica"])) == 2


@pytest.mark.long
def test_real_units_join_to_the_real_single_run(tmp_path, study, compiled_once):
    whole = single(campaign.plan(study(), tmp_path / "whole", n_units=1))
    parts = campaign.plan(study(), tmp_path / "parts", replicas_per_unit=3)
    joined = run_and_merge(parts)
    assert_same(joined, whole)
    series = load_series(joined / "series.h5")
    assert series.temperature.tolist() == [600, 600, 900, 900]


def test_a_probe_of_the_lock_does_not_stop_a_run_that_begins(tmp_path):
    """`jaxdiff campaign status` holds it for a moment."""
    held = threading.Event()

    def probe():
        with filelock.FileLock(tmp_path / folder.LOCK):
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=probe)
    thread.start()
    held.wait()
    second = filelock.FileLock(tmp_path / folder.LOCK, timeout=0)
    with folder.claimed(tmp_path), pytest.raises(filelock.Timeout):
        second.acquire()  # it is really held
    thread.join()


@pytest.mark.parametrize(
    "left",
    [
        f".{folder.RUN_FILE}.partial",
        f".{folder.PROGRESS}.partial",
        f".{checkpoint.LATEST}.new.partial",
        f"{checkpoint.LATEST}.new",
        folder.PARTS,
    ],
)
def test_cut_off_before_its_first_checkpoint_a_run_begins_again(tmp_path, study, left):
    """Only the way into the folder is tried."""
    run = study(2, f"output.directory={tmp_path / 'run'}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / left).touch()
    with folder.claimed(tmp_path / "run"):
        assert not folder.prepare(run, tmp_path / "run")


COMMAND = (
    "sh",
    "-c",
    f'echo "$$ $PPID" >> "$0.pids"; exec {sys.executable} -m jaxdiff simulate "$0"',
)
"""The real command, by a process whose number and whose parent's are written down."""

LONG = (
    "equilibration.duration_ps=0.2",
    "production.duration_ps=1.2",  # 600 steps
    "output.chunk_ps=0.02",
    "output.checkpoint_minutes=0",
)


def kill_in_production(unit, done_ps, *, parent):
    """Wait until the unit's first process is so far, then SIGKILL it (and its worker)."""
    until = time.monotonic() + 900
    while time.monotonic() < until:
        found = campaign.unit_status(unit)
        if found.phase == "production" and (found.done_ps or 0) >= done_ps:
            break
        time.sleep(0.005)
    own, launcher = map(int, pids(unit)[0].split())
    with contextlib.suppress(ProcessLookupError):  # the worker first: it tells nobody
        for pid in (launcher, own) if parent else (own,):
            os.kill(pid, signal.SIGKILL)


def pids(unit):
    path = Path(f"{unit.run_file}.pids")
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["local", "parsl"])
def test_killed_units_go_on_and_join_to_the_single_run(
    tmp_path, study, compiled_once, launcher
):
    """Under Parsl the worker dies with its unit, as when a node is lost."""
    if launcher == "parsl" and importlib.util.find_spec("parsl") is None:
        pytest.skip("Parsl is not installed")
    run = study(2, *LONG)
    whole = single(campaign.plan(run, tmp_path / "whole", n_units=1))
    planned = campaign.plan(run, tmp_path / "c", n_units=2)
    killers = [
        threading.Thread(
            target=kill_in_production,
            args=(unit, done_ps),
            kwargs={"parent": launcher == "parsl"},
        )
        for unit, done_ps in zip(planned.units, (0.5, 0.2), strict=True)
    ]
    for killer in killers:
        killer.start()
    if launcher == "local":
        outcome = run_local(list(planned.units), retries=1, command=COMMAND)
    else:
        outcome = run_parsl(planned, list(planned.units), retries=1, command=COMMAND)
    for killer in killers:
        killer.join()
    assert outcome.exit_code == {0: 0, 1: 0}, logs(planned)
    for unit in planned.units:
        assert len(pids(unit)) == 2
        assert "ps of production, after" in unit.log.read_text()  # from its checkpoint
    assert_same(run_and_merge(planned), whole)
    with h5py.File(whole / "series.h5") as file:
        assert len(file["sites/change_frame"]) > 10  # there is something to lose
