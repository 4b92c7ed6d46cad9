"""One frame through a DFT program: its input is there, its label is written at the end."""

import fcntl
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from jaxdiff.dft import Code, CutOff, Failed, Label, code
from jaxdiff.dft.contract import checked
from jaxdiff.io import config, durable
from jaxdiff.io.ase_frames import read_atoms
from jaxdiff.io.folder import RunFolder
from jaxdiff.runs.labels import FRAME, LABEL
from jaxdiff.stop import Stopped, StopRequest

LABEL_UNIT = (sys.executable, "-m", "jaxdiff", "label-unit")

RUNNING = "running"
"""A file that the program holds locked while it lives, also without us."""

_POLL_S, _PATIENCE_S = 0.1, 30.0
_ERRORS = "errors.txt"
_KEPT_LINES = 5


class Died(RuntimeError):
    """The program ended without a result; started again it may get there."""


class _Dft(config.Section):
    code: str = Field(min_length=1)
    command: str = Field(min_length=1)


class _UnitFile(config.Section):
    dft: _Dft


def label_unit(run_file: Path, patience_s: float | None = None) -> dict[str, Any]:
    """Label one frame, or find it labelled; the content of its label.json.

    - `patience_s`: how long another process in its folder is waited for; None: a moment.

    What an earlier start had calculated when it was killed is taken where it is whole; the
    program itself, where it still runs, is waited for. Raises `Died` where the program
    ended without a result, `Stopped` after a signal.
    """
    run = config.checked(_UnitFile, config.read_table(run_file))
    directory = run_file.with_suffix("").absolute()
    program, path = code(run.dft.code), directory / LABEL
    with RunFolder(directory).claimed(patience_s), StopRequest() as stop:
        started = time.monotonic()
        with _alone(directory, stop) as held:
            if not path.is_file():
                content = _earlier(program, directory)
                if content is None:
                    words = shlex.split(run.dft.command)
                    _run(program, directory, words, held, stop)
                    content = _result(program, directory)
                seconds = {"seconds": round(time.monotonic() - started, 1)}
                durable.write_json(path, content | seconds)
                shutil.rmtree(directory / "scratch", ignore_errors=True)
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def _alone(directory: Path, stop: StopRequest) -> Iterator[int]:
    """Wait for a program that an earlier start left; the file that ours will hold."""
    with (directory / RUNNING).open("a") as file:
        said = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    logging.getLogger(__name__).warning(
                        "The program of an earlier start still runs in %s; waiting for it.",
                        directory,
                    )
                said = True
            if stop.signal is not None:
                _stopped(directory, stop.signal)
            time.sleep(_POLL_S)
        yield file.fileno()


def _run(
    program: Code, directory: Path, words: list[str], held: int, stop: StopRequest
) -> None:
    """Run the program to its end; a signal is passed on to it."""
    command, name = program.arguments(words)
    if shutil.which(command[0]) is None:
        raise ValueError(
            f"dft.command: {command[0]} is not installed here or not on the path; install "
            "it, or give its path."
        )
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    with (directory / name).open("wb") as out, (directory / _ERRORS).open("wb") as errors:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            pass_fds=[held],
            start_new_session=True,
        )
        while (exit_code := process.poll()) is None:
            if stop.signal is not None:
                _end(process)
                _stopped(directory, stop.signal)
            time.sleep(_POLL_S)
    with (directory / _ERRORS).open("a", encoding="utf-8") as errors:
        errors.write(f"exit code {exit_code}\n")


def _end(process: subprocess.Popen) -> None:
    """The program and all that it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _earlier(program: Code, directory: Path) -> dict[str, Any] | None:
    """What a start that was killed had calculated, where it is whole."""
    try:
        return _result(program, directory)
    except Died:
        return None


def _result(program: Code, directory: Path) -> dict[str, Any]:
    atoms = read_atoms(directory / FRAME)[0]
    try:
        return _content(checked(program.read(directory), atoms))
    except Failed as error:
        return {"failed": str(error)}
    except CutOff as error:
        raise Died(f"{error}; the program said: {_last_words(directory)}") from None


def _content(label: Label) -> dict[str, Any]:
    return {
        "energy_ev": label.energy,
        "forces_ev_per_angstrom": label.forces.tolist(),
        "stress_ev_per_angstrom3": None if label.stress is None else label.stress.tolist(),
        "facts": dict(label.facts),
    }


def _last_words(directory: Path) -> str:
    path = directory / _ERRORS
    text = path.read_text("utf-8", "replace") if path.is_file() else ""
    return " / ".join(text.strip().splitlines()[-_KEPT_LINES:]) or "nothing"


def _stopped(directory: Path, number: int) -> None:
    raise Stopped(
        f"stopped by signal {number}; {directory.name} is begun anew next time.", number
    )
