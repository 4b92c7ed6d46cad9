"""Run the units of a campaign on this machine.

Each of them runs `COMMAND units/0000.toml` in the campaign's directory as a process of its
own, so a run that dies takes nothing with it.
"""

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from jaxdiff.devices import SLURM_CORES, given_cores
from jaxdiff.io import durable
from jaxdiff.runs.campaign import COMPLETE, DIVERGED, FINAL_CODES, STOPPED_CODES
from jaxdiff.runs.task import UNITS, Task
from jaxdiff.stop import BAD_INPUT

SIMULATE = (sys.executable, "-m", "jaxdiff", "simulate")

_POLL_S = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How launched units ended.

    - `exit_code`: by index of the unit, of those that ended. `signal`: what stopped the
      launcher, if anything did.
    """

    exit_code: dict[int, int]
    signal: int | None = None


@dataclass
class Running:
    """Processes of units, and the signal that stopped them all."""

    processes: set[subprocess.Popen] = field(default_factory=set)
    signal: int | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def stop(self, number: int) -> None:
        """Pass a signal on to all processes, and to those that are still to come."""
        with self.lock:  # reentrant: the main thread may be interrupted while it has it
            self.signal = self.signal or number
            for process in self.processes:
                process.send_signal(_passed_on(number))

    def add(self, process: subprocess.Popen) -> None:
        """Count a process that has been started."""
        with self.lock:
            self.processes.add(process)
            if self.signal is not None:
                process.send_signal(_passed_on(self.signal))

    def remove(self, process: subprocess.Popen) -> None:
        """Count one less."""
        with self.lock:
            self.processes.discard(process)


def run_local(
    units: Sequence[Task],
    *,
    workers: int = 1,
    accelerators: tuple[str, ...] = (),
    retries: int = 2,
    command: tuple[str, ...] = SIMULATE,
    say: Say = print,
) -> Outcome:
    """Run units on this machine, `workers` at a time, until all have ended.

    - `accelerators`: one for each worker, which sees no other; without them, the cores are
      divided between the workers.
    - `retries`: how often a unit is started again that died; it goes on from its
      checkpoint. Bad input (exit code 2) is not tried again.

    SIGTERM, SIGINT and SIGHUP are passed on, and the runs write their checkpoints.
    """
    check_workers(workers, accelerators, retries)
    queue, codes, running = collections.deque(units), {}, Running()
    cores, share = _bound_cores(), max(1, given_cores() // workers)

    def work(worker: int) -> None:
        if accelerators:
            environment = os.environ | {"CUDA_VISIBLE_DEVICES": accelerators[worker]}
        elif len(cores) == given_cores():
            environment = dict(os.environ)
            _pin_this_thread(cores, worker, workers)  # processes inherit it
        else:  # cores are counted here, and not bound
            environment = os.environ | {SLURM_CORES: str(share)}
        with contextlib.suppress(IndexError):
            while running.signal is None:
                unit = queue.popleft()
                code = _persist(unit, command, retries, environment, running, say)
                if code is not None:
                    codes[unit.index] = code

    with stop_signals(running.stop), ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, worker) for worker in range(workers)]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in done):
            running.stop(signal.SIGTERM)
    for future in futures:
        future.result()
    return Outcome(codes, running.signal)


def run_unit(
    command: tuple[str, ...],
    unit: Task,
    environment: dict[str, str] | None = None,
    running: Running | None = None,
) -> int | None:
    """Run one unit to its end; its exit code, None if it was stopped before it began.

    Waits while another process runs it: one whose launcher died may still be at work.
    With `running`, the process gets no signals but those.
    """
    while unit.is_locked():
        if running is not None and running.signal is not None:
            return None
        time.sleep(_POLL_S)
    done = unit.final_code()
    if done is not None:
        return done
    unit.exit_file.unlink(missing_ok=True)
    with unit.log.open("a", encoding="utf-8") as log:
        log.write(f"== {datetime.now(UTC).isoformat(timespec='seconds')}\n")
        log.flush()
        process = subprocess.Popen(
            [*command, f"{UNITS}/{unit.run_file.name}"],
            cwd=unit.directory.parent.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=running is not None,
        )
        if running is not None:
            running.add(process)
        code = process.wait()
        if running is not None:
            running.remove(process)
    code = 128 - code if code < 0 else code  # as a shell has it
    durable.write_text(unit.exit_file, f"{code}\n")
    return code


def ended(unit: Task, code: int) -> str:
    """One sentence on how a unit ended."""
    if code == 0:
        return f"{unit.name}: {COMPLETE}"
    if code == 3 and unit.final_code() != 3:
        return f"{unit.name}: all its replicas diverged, see {unit.log}"
    if code == 3:
        return f"{unit.name}: {DIVERGED}, some replica was frozen"
    if code in STOPPED_CODES:
        return f"{unit.name}: stopped, it can go on"
    why = "bad input" if code == BAD_INPUT else f"exit code {code}"
    return f"{unit.name}: {why}, see {unit.log}"


def _persist(
    unit: Task,
    command: tuple[str, ...],
    retries: int,
    environment: dict[str, str],
    running: Running,
    say: Say,
) -> int | None:
    """Run a unit until it has ended for good."""
    code = None
    for attempt in range(retries + 1):
        say(
            f"{unit.name}: started"
            + (f" again ({attempt} of {retries})" if attempt else "")
        )
        code = run_unit(command, unit, environment, running)
        if code is None:
            return None
        say(ended(unit, code))
        if code in (*FINAL_CODES, BAD_INPUT) or running.signal is not None:
            return code
    return code


def check_workers(workers: int, accelerators: tuple[str, ...], retries: int) -> None:
    """Refuse numbers that do not go together."""
    if workers < 1 or retries < 0:
        raise ValueError(
            f"workers={workers}, retries={retries}; give at least one worker and no "
            "negative number of retries."
        )
    if accelerators and workers != len(accelerators):
        raise ValueError(
            f"{workers} workers for {len(accelerators)} accelerators; a worker has one "
            f"accelerator of its own, so give {len(accelerators)} workers."
        )
    if len(set(accelerators)) != len(accelerators):
        raise ValueError(f"accelerators {', '.join(accelerators)}: give each one once.")


def _bound_cores() -> list[int]:
    """Those that this process may run on; none where the system cannot tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _pin_this_thread(cores: list[int], worker: int, workers: int) -> None:
    """Give a worker its share of the cores; there are none where the system cannot."""
    if cores:
        n = len(cores)
        share = cores[n * worker // workers : n * (worker + 1) // workers]
        os.sched_setaffinity(0, share or {cores[worker % n]})


@contextlib.contextmanager
def stop_signals(stop: Callable[[int], None]) -> Iterator[None]:
    """Call `stop` at signals that end a program, but those that are ignored (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old: dict[int, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            old[number] = signal.signal(number, lambda number, _: stop(number))
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _passed_on(number: int) -> int:
    return signal.SIGTERM if number == signal.SIGHUP else number
