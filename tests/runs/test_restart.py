"""A run that is cut off anywhere goes on as if nothing had happened, to the last bit."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import h5py
import ionic_run
import jax
import numpy as np
import pytest
from datasets import assert_same_series

from jaxdiff import md
from jaxdiff.analysis import load_series
from jaxdiff.io import durable
from jaxdiff.report import write_report
from jaxdiff.runs import checkpoint, folder, simulation
from jaxdiff.stop import Stopped


def text(directory, **changes):
    lines = ionic_run.RUN.format(directory=directory).splitlines()
    for key, value in changes.items():
        lines = [f"{key} = {value}" if x.startswith(f"{key} =") else x for x in lines]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The series of a run that nothing disturbed, with one checkpoint at the end."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    ionic_run.run(text(directory, checkpoint_minutes=60))
    with h5py.File(directory / "series.h5") as file:  # there is something to lose
        assert len(file["sites/change_frame"]) > 10
        assert len(file["crossings/position"]) > 10
    return directory / "series.h5"


class PulledOut(BaseException):
    """As if the process had ended here."""


def cut_off_at(monkeypatch, n_writes):
    """Stop dead at a write: before it, or half-way through it."""
    left, write = [n_writes], durable.write_bytes

    def cut(path, data):
        left[0] -= 1
        if left[0] < 0:
            half = Path(path).with_name(f".{Path(path).name}.partial")
            half.write_bytes(bytes(data)[: len(data) // 2])
            raise PulledOut
        write(path, data)

    monkeypatch.setattr(durable, "write_bytes", cut)


@pytest.mark.slow
@pytest.mark.parametrize("times", [8, 20])
def test_cut_off_at_random_writes(whole, tmp_path, monkeypatch, times):
    """Parts, checkpoints, progress: whichever file it is; several times in one run."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(simulation, "PART_SECONDS", 0.0)
    cuts, directory = 0, tmp_path / "run"
    for _ in range(40):
        with monkeypatch.context() as patch:
            cut_off_at(patch, int(rng.integers(1, 25)) if cuts < times else 10**6)
            try:
                ionic_run.run(text(directory, checkpoint_minutes=1e-9))
                break
            except PulledOut:
                cuts += 1
    assert cuts == times or (directory / "series.h5").exists()
    assert cuts >= times // 2
    assert_same_series(whole, directory / "series.h5")


@pytest.mark.slow
@pytest.mark.parametrize("chunk_ps", [0.005, 0.3])
def test_length_of_chunks_leaves_no_trace(whole, tmp_path, chunk_ps):
    ionic_run.run(text(tmp_path / "run", chunk_ps=chunk_ps))
    assert_same_series(whole, tmp_path / "run" / "series.h5")


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [(0, 1), (1, 3), (3, 4)])
def test_a_part_of_the_replicas_runs_as_in_the_whole(whole, tmp_path, replicas):
    """On one device or two, where the whole had four."""
    first, stop = replicas
    part = text(tmp_path / "run").replace(
        "seed = 5", f"seed = 5\nreplica_range = [{first}, {stop}]"
    )
    ionic_run.run(part)
    with h5py.File(whole) as every, h5py.File(tmp_path / "run/series.h5") as own:
        for name in ("thermo/conserved_energy_ev", "thermo/pressure_gpa", "sites/initial"):
            np.testing.assert_array_equal(own[name], every[name][first:stop], err_msg=name)
        np.testing.assert_array_equal(
            own["positions/position"], every["positions/position"][first:stop]
        )


def spawn(directory, tmp_path, programs):
    (tmp_path / "in.toml").write_text(text(directory))
    here = Path(__file__).parent
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": f"{here.parents[1]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    command = [
        sys.executable,
        str(here / "ionic_run.py"),
        str(tmp_path / "in.toml"),
        programs,
    ]
    with (tmp_path / "log").open("a") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def kill_at_random(tmp_path, programs, n_kills, seed):
    """Kill a run n times once it has begun to compute, then let it end; its folder."""
    rng, directory = np.random.default_rng(seed), tmp_path / "run"
    for _ in range(n_kills):
        process = spawn(directory, tmp_path, programs)
        before = (directory / folder.PROGRESS).stat().st_mtime if directory.exists() else 0
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            progress = directory / folder.PROGRESS
            if progress.exists() and progress.stat().st_mtime > before:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        process.wait()
    process = spawn(directory, tmp_path, programs)
    assert process.wait(timeout=300) == 0, (tmp_path / "log").read_text()
    return directory


@pytest.mark.slow
def test_kill_once(whole, programs, tmp_path):
    assert_same_series(whole, kill_at_random(tmp_path, programs, 1, seed=1) / "series.h5")


@pytest.mark.long
def test_kill_twenty_times(whole, programs, tmp_path):
    assert_same_series(whole, kill_at_random(tmp_path, programs, 20, seed=2) / "series.h5")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_signal_saves_and_ends(whole, tmp_path, monkeypatch, number):
    monkeypatch.setattr(simulation, "PART_SECONDS", 0.0)
    asked = []

    def ask(phase, fraction, *_):
        if phase == "production" and fraction > 0.4 and not asked:
            asked.append(fraction)
            signal.raise_signal(number)

    run = text(tmp_path / "run", checkpoint_minutes=60)
    monkeypatch.setattr(simulation.md, "advance", simulation.md.advance)
    before = signal.getsignal(number)
    with pytest.raises(
        Stopped, match=r"ps of production, and saved; the same comm"
    ) as stop:
        start(run, ask)
    assert stop.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    assert_report_of_what_there_is(tmp_path / "run")
    said = []
    ionic_run.run(run, said.append)
    assert "from 0.125 ps of production" in said[0]
    assert_same_series(whole, tmp_path / "run" / "series.h5")


def start(run_text, progress):
    import tomllib

    run = ionic_run.runfile.parse(tomllib.loads(run_text))
    simulation.simulate(
        run, Path(run.output.directory), progress, lambda _: None, ionic_run.load
    )


def assert_report_of_what_there_is(directory):
    with pytest.raises(ValueError, match="status='running', not 'complete'"):
        load_series(directory / "series.h5")
    assert write_report(directory, allow_incomplete=True).exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_leaves_the_one_before(whole, tmp_path, monkeypatch):
    stop_half_way(tmp_path / "run", monkeypatch)
    path = tmp_path / "run" / checkpoint.LATEST
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\0" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    ionic_run.run(text(tmp_path / "run"))
    assert_same_series(whole, tmp_path / "run" / "series.h5")


def stop_half_way(directory, monkeypatch):
    def ask(phase, fraction, *_):
        if phase == "production" and fraction > 0.4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(simulation, "PART_SECONDS", 0.0)
        with pytest.raises(Stopped):
            start(text(directory), ask)


def test_an_end_whose_checkpoint_is_damaged_is_not_run_twice(whole, tmp_path):
    """From the one before, the last part would stand in the series twice."""
    ionic_run.run(text(tmp_path / "run"))
    (tmp_path / "run" / checkpoint.LATEST).write_bytes(b"nonsense")
    longer = text(tmp_path / "run").replace("duration_ps = 0.3", "duration_ps = 0.4")
    with pytest.raises(ValueError, match="checkpoint of its end is damaged"):
        ionic_run.run(longer)
    assert_same_series(whole, tmp_path / "run" / "series.h5")


def test_checkpoints_that_cannot_be_used_are_a_sentence(tmp_path, monkeypatch):
    stop_half_way(tmp_path / "run", monkeypatch)
    for name in (checkpoint.LATEST, checkpoint.PREVIOUS):
        (tmp_path / "run" / name).write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="none can be used"):
        ionic_run.run(text(tmp_path / "run"))


def test_another_model_is_refused(tmp_path, monkeypatch):
    stop_half_way(tmp_path / "run", monkeypatch)
    path = tmp_path / "run" / checkpoint.LATEST
    with h5py.File(path, "r+") as file:
        file.attrs["model_sha256"] = "f" * 64
    with pytest.raises(ValueError, match=r"another model \(SHA-256 ffffffffffff"):
        ionic_run.run(text(tmp_path / "run"))


def test_two_processes_do_not_share_a_folder(tmp_path):
    (tmp_path / "run").mkdir()
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with filelock.FileLock(tmp_path / "run" / folder.LOCK):
            held.set()
            let_go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with pytest.raises(ValueError, match="another process is running in"):
            ionic_run.run(text(tmp_path / "run"))
    finally:
        let_go.set()
        thread.join()
    assert [p.name for p in (tmp_path / "run").iterdir()] == [folder.LOCK]


@pytest.mark.slow
def test_a_full_disk_is_a_sentence_and_what_there_was_goes_on(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "PART_SECONDS", 0.0)
    writes, real = [0], os.fsync

    def full(descriptor):
        writes[0] += 1
        if writes[0] > 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="cannot be written .No space left.*make room"):
            ionic_run.run(text(tmp_path / "run"))
    ionic_run.run(text(tmp_path / "run"))
    assert_same_series(whole, tmp_path / "run" / "series.h5")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        ionic_run.run(text(tmp_path / "file" / "run"))


def test_the_checkpoint_holds_the_whole_state(tmp_path, monkeypatch):
    """Chain, lists, tracker and counters; lists of another capacity too."""
    stop_half_way(tmp_path / "run", monkeypatch)
    with h5py.File(tmp_path / "run" / checkpoint.LATEST) as file:
        names = set()
        file.visit(names.add)
        assert {
            "state/integrators/csvr/heat", "state/integrators/langevin/heat",
            "state/info/max_temperature", "state/motion/cell",
            "state/neighbors/sender", "state/neighbors/overflow", "state/hops/dwell",
            "state/hops/crossings/recent_position", "state/bad_step", "counters/changes",
        } <= names  # fmt: skip
        assert file.attrs["phase"] == "production"


@pytest.mark.slow
def test_a_checkpoint_of_version_1_goes_on(whole, tmp_path, monkeypatch):
    """The layout of version 1, made from today's: to the last bit as if never stopped."""
    stop_half_way(tmp_path / "run", monkeypatch)
    with h5py.File(tmp_path / "run" / checkpoint.LATEST, "r+") as file:
        file.attrs["format_version"] = 1
        file.move("state/integrators/csvr/heat", "state/motion/heat")
        file.move("state/info/max_temperature", "state/max_temperature")
        del file["state/integrators"], file["state/info"]
    ionic_run.run(text(tmp_path / "run"))
    assert_same_series(whole, tmp_path / "run" / "series.h5")


def test_every_leaf_comes_back(tmp_path):
    import tomllib

    run = ionic_run.runfile.parse(tomllib.loads(text(tmp_path)))
    state = simulation.build(run, ionic_run.load).first_state()
    more = md.run.with_capacity(state, 1.5)
    saved = checkpoint.Checkpoint("production", more, {"lost": np.arange(4)}, 7, 1.5, "ab")
    checkpoint.save(tmp_path, saved)
    found = checkpoint.load(tmp_path, state)
    assert (found.phase, found.n_parts, found.wall_s) == ("production", 7, 1.5)
    np.testing.assert_array_equal(found.counters["lost"], np.arange(4))
    for leaf, expected in zip(*map(jax.tree.leaves, (found.state, more)), strict=True):
        np.testing.assert_array_equal(leaf, expected)
    assert checkpoint.load(tmp_path / "nowhere", state) is None
