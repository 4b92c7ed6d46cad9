"""`jaxdiff label` with a stub in place of pw.x: each label once, whatever is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from fake_pw import DATA, RUN_FILE, FakePw
from typer.testing import CliRunner

from jaxdiff.cli import app
from jaxdiff.dft import code
from jaxdiff.io.frames import read_frames

CELL = [[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]]


def pair(seed):
    """A cell of two atoms, with labels of something else and a constraint."""
    atoms = ase.Atoms("LiF", [[0, 0, 0], [2, 2, 2]], cell=CELL, pbc=True)
    atoms.rattle(0.05, seed=seed)
    atoms.info |= {"config_type": "bulk", "select_rank": seed, "REF_energy": 7.0}
    atoms.arrays["REF_forces"] = np.ones((2, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=8.0, forces=np.zeros((2, 3)))
    return atoms


class Place:
    """A folder with a run file, frames and the stub."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.labels, self.pw = (
            folder,
            folder / "labels",
            FakePw(folder / "bin"),
        )
        (folder / "pw.in").write_text("&SYSTEM\n ecutwfc = 20\n/\n")
        for name in ("Li.upf", "F.upf"):
            (folder / name).write_text(name)
        self.write_run_file()
        self.write("pool.extxyz", [pair(0), pair(1)])

    @property
    def run_file(self):
        return self.folder / "label.toml"

    def write_run_file(self, command=None):
        text = RUN_FILE.format(command=command or self.pw.path, directory=self.labels)
        self.run_file.write_text(text)

    def write(self, name, frames):
        ase.io.write(self.folder / name, frames)

    def run(self, *given):
        """The command, in this process; the frames by the ones of its processes."""
        files = [str(self.folder / name) for name in given if not str(name).startswith("-")]
        options = [str(name) for name in given if str(name).startswith("-")]
        arguments = ["label", str(self.run_file), *files, *options]
        return CliRunner().invoke(app, arguments)

    def start(self, *arguments):
        """A command of ours in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "jaxdiff", *map(str, arguments)],
            cwd=self.labels if arguments[0] == "label-unit" else self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def read(self, name="labels.extxyz"):
        return ase.io.read(self.labels / name, ":")

    def starts(self):
        return [len(self.pw.starts(number)) for number in range(2)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    return Place(tmp_path)


def wait_for(true, seconds=30.0):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


def stored():
    """The label of the output that the stub prints."""
    folder = DATA.parent / "espresso"
    text = (folder / "converged.out").read_text()
    energy = float(re.search(r"!\s+total energy\s+=\s+(\S+) Ry", text)[1])
    return energy * 13.605693


def test_frames_become_training_data(place):
    result = place.run("pool.extxyz")
    assert result.exit_code == 0, result.output
    assert "2 labelled, 0 failed, 0 not finished" in result.output
    assert "whether cutoff and k-points are enough is for you to test" in result.output
    frames = read_frames([place.labels / "labels.extxyz"])
    assert len(frames) == 2
    for frame, seed in zip(frames, range(2), strict=True):
        assert frame.energy == pytest.approx(stored(), rel=1e-6)
        np.testing.assert_allclose(frame.position, pair(seed).positions, atol=1e-8)
        assert frame.stress is not None
        assert 0.1 < np.abs(frame.forces).max() < 10
        assert frame.config_type == "bulk"
    atoms = place.read()
    sources = [f"pool.extxyz, frame {n}" for n in range(2)]
    assert [a.info["label_source"] for a in atoms] == sources
    assert [a.info["select_rank"] for a in atoms] == [0, 1]
    digests = [{a.info[f"label{part}_sha256"] for a in atoms} for part in ("", "_settings")]
    assert [len(found) for found in digests] == [2, 1]
    assert atoms[0].info["label_version"].startswith("pw.x 6.7")
    assert atoms[0].calc is None or "energy" not in atoms[0].calc.results


def test_each_label_once(place):
    place.write("more.extxyz", [pair(1), pair(0), pair(2)])
    assert place.run("pool.extxyz").exit_code == 0
    assert place.run("pool.extxyz").exit_code == 0
    result = place.run("more.extxyz")
    assert "3 frames in" in result.output
    assert place.run().exit_code == 0
    assert [len(place.pw.starts(n)) for n in range(4)] == [1, 1, 1, 0]
    assert [a.info["select_rank"] for a in place.read()] == [0, 1, 2]


def test_frames_that_fail_are_kept_aside(place):
    place.write("one.extxyz", [pair(0)])
    assert place.run("one.extxyz").exit_code == 0
    place.pw.tell(1, "not_converged")
    result = place.run("pool.extxyz")
    assert result.exit_code == 1
    assert "1 labelled, 1 failed, 0 not finished" in result.output
    reason = "the SCF has not converged in 3 iterations"
    assert f"frame 1 (pool.extxyz, frame 1): {reason}" in result.output
    (failed,) = place.read("failed.extxyz")
    assert failed.info["label_failed"].startswith(reason)
    assert failed.info["label_source"] == "pool.extxyz, frame 1"
    assert "REF_energy" not in failed.info
    assert len(place.read()) == 1
    assert place.run().exit_code == 1
    assert place.starts() == [1, 1]  # it would fail again
    place.pw.tell(1, "converged")
    assert place.run("--again").exit_code == 0
    assert place.starts() == [1, 2]
    assert not (place.labels / "failed.extxyz").exists()
    assert len(place.read()) == 2


def test_a_program_that_dies_is_started_again(place):
    place.pw.tell(1, "die")
    result = place.run("pool.extxyz", "--retries=1")
    assert result.exit_code == 1
    assert "1 labelled, 0 failed, 1 not finished" in result.output
    log = (place.labels / "units/0001.log").read_text()
    assert log.count("the program said: no memory / exit code 9") == 2
    assert place.starts() == [1, 2]
    place.pw.tell(1, "converged")
    assert place.run().exit_code == 0
    assert place.starts() == [1, 3]


def test_nothing_is_started_to_collect(place):
    result = place.run("pool.extxyz", "--collect")
    assert result.exit_code == 1
    assert "0 labelled, 0 failed, 2 not finished" in result.output
    assert place.starts() == [0, 0]


def planned(place):
    place.run("pool.extxyz", "--collect")
    return place.labels / "units/0000.toml"


def held(place):
    """A frame whose program does not end by itself, and the process that started it."""
    unit = planned(place)
    place.pw.tell(0, "hold")
    process = place.start("label-unit", unit)
    wait_for(lambda: place.pw.starts(0))
    return unit, process


def test_killed_while_the_program_runs(place):
    """The program goes on by itself, and what it calculates is not thrown away."""
    unit, first = held(place)
    first.kill()
    first.communicate()
    assert place.pw.is_alive(0)
    second = place.start("label-unit", unit)
    said = second.stderr.readline()
    assert b"The program of an earlier start still runs" in said
    place.pw.tell(0, "converged")
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert len(place.pw.starts(0)) == 1
    label = json.loads((unit.with_suffix("") / "label.json").read_text())
    assert label["energy_ev"] == pytest.approx(stored(), rel=1e-6)


def test_killed_with_its_program(place):
    unit, first = held(place)
    first.kill()
    first.communicate()
    os.killpg(place.pw.starts(0)[0], signal.SIGKILL)  # the program leads its group
    place.pw.tell(0, "converged")
    second = place.start("label-unit", unit)
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert len(place.pw.starts(0)) == 2


def test_asked_to_stop_the_program_stops_too(place):
    unit, process = held(place)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"begun anew next time" in said
    wait_for(lambda: not place.pw.is_alive(0))
    assert not (unit.with_suffix("") / "label.json").exists()


def test_the_whole_command_killed(place):
    """kill -9 of `jaxdiff label`: its process of a frame lives on, and is waited for."""
    place.pw.tell(1, "hold")
    command = place.start("label", place.run_file, place.folder / "pool.extxyz")
    wait_for(lambda: place.pw.starts(1), 60)
    command.kill()
    command.communicate()
    again = place.start("label", place.run_file)
    time.sleep(1)
    place.pw.tell(1, "converged")
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert place.starts() == [1, 1]
    assert len(place.read()) == 2


def test_what_a_killed_plan_left_is_made_anew(place):
    planned(place)
    (place.labels / "frames.json").unlink()
    (place.labels / "units/0001/pw.in").write_text("cut")
    place.write("pool.extxyz", [pair(4), pair(5)])
    assert place.run("pool.extxyz").exit_code == 0
    assert [a.info["select_rank"] for a in place.read()] == [4, 5]
    assert "ATOMIC_POSITIONS" in (place.labels / "units/0001/pw.in").read_text()


def test_a_folder_has_labels_of_one_kind(place):
    assert place.run("pool.extxyz").exit_code == 0
    (place.folder / "pw.in").write_text("&SYSTEM\n ecutwfc = 30\n/\n")
    result = place.run()
    assert result.exit_code == 2
    assert "holds a run with namelists.system.ecutwfc = 20, not 30" in result.output
    assert place.starts() == [1, 1]


def test_a_folder_of_something_else_is_left_alone(place):
    place.labels.mkdir()
    (place.labels / "mine.txt").write_text("mine")
    result = place.run("pool.extxyz")
    assert result.exit_code == 2
    assert "is not empty" in result.output


def test_a_program_that_is_not_there(place):
    place.write_run_file("no-such-pw.x -nk 2")
    result = place.run("pool.extxyz")
    assert result.exit_code == 2
    said = "dft.command: no-such-pw.x is not installed here or not on the path"
    assert said in result.output


def test_a_frame_that_settings_are_not_meant_for(place):
    place.write("slab.extxyz", [pair(0), ase.Atoms("Li", cell=[4, 4, 4])])
    result = place.run("slab.extxyz")
    assert result.exit_code == 2
    assert "slab.extxyz, frame 1: pbc is [False, False, False]" in result.output
    assert place.starts() == [0, 0]


def test_no_frames(place):
    result = place.run()
    assert result.exit_code == 2
    assert "has no frames yet; give files with some" in result.output
    result = place.run("none.extxyz")
    assert "none.extxyz: no such file" in result.output


def test_a_script_for_slurm(place):
    place.write_run_file(f"mpirun -np 4 {place.pw.path}")
    result = place.run("pool.extxyz", "--launcher=slurm")
    assert result.exit_code == 0, result.output
    script = (place.labels / "submit.sbatch").read_text()
    assert "--array=0-1\n" in script
    assert "jaxdiff label-unit --wait 600 " in script
    assert "one for each process\n# of dft.command (4)" in script
    assert place.starts() == [0, 0]


def test_the_script_for_slurm_labels(place):
    """Run as Slurm would run each task of the array."""
    place.run("pool.extxyz", "--launcher=slurm")
    script = place.labels / "submit.sbatch"
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "1"}
    subprocess.run(["bash", script], env=environment, check=True, timeout=120)
    result = place.run("--collect")
    assert "1 labelled, 0 failed, 1 not finished" in result.output
    assert place.starts() == [0, 1]


@pytest.mark.slow
def test_parsl_labels(place):
    pytest.importorskip("parsl")
    result = place.run("pool.extxyz", "--launcher=parsl")
    assert result.exit_code == 0, result.output
    assert len(place.read()) == 2


def test_the_contract_is_small():
    """What another program has to bring."""
    fields = set(vars(code("espresso")))
    assert fields == {"name", "settings", "write", "arguments", "read"}
