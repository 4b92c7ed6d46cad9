"""The units of a campaign as Parsl tasks: on this machine, or as a user's config has it.

Parsl is imported here alone, when a launcher is asked for. Its workers need nothing but
this package and the campaign's directory.
"""

import importlib
import os
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxdiff.runs.campaign import FINAL_CODES
from jaxdiff.runs.launchers import (
    SIMULATE,
    Outcome,
    Running,
    Say,
    check_workers,
    ended,
    run_unit,
    stop_signals,
)
from jaxdiff.runs.task import Batch, Task
from jaxdiff.stop import BAD_INPUT

_POLL_S, _CHECKPOINT_S = 0.2, 600.0


class UnitDied(RuntimeError):
    """A unit ended without a result; Parsl starts it again."""

    def __init__(self, index: int, exit_code: int) -> None:
        """Both are kept when the error is sent from a worker."""
        super().__init__(index, exit_code)
        self.index, self.exit_code = index, exit_code

    def __str__(self) -> str:
        """In Parsl's log."""
        return f"unit {self.index} ended with exit code {self.exit_code}"


def run_parsl(
    campaign: Batch,
    units: Sequence[Task],
    *,
    workers: int = 1,
    accelerators: tuple[str, ...] = (),
    retries: int = 2,
    config_file: Path | None = None,
    command: tuple[str, ...] = SIMULATE,
    say: Say = print,
) -> Outcome:
    """Run units as Parsl tasks until all have ended.

    - `workers`, `accelerators`, `retries`: as for `run_local`, on this machine.
    - `config_file`: a Python file that defines `config`, a `parsl.Config`, in their place.

    A signal ends the workers; the runs are told so and write their checkpoints.
    """
    parsl = _parsl()
    if config_file is None:
        check_workers(workers, accelerators, retries)
        config = _local_config(parsl, campaign, workers, accelerators, retries)
    else:
        config = _read_config(parsl, config_file)
    running = Running()
    with stop_signals(running.stop):
        kernel = parsl.DataFlowKernel(config)
        try:
            task = parsl.python_app(run_in_worker, data_flow_kernel=kernel)
            futures = {unit: task(command, unit) for unit in units}
            codes = _collect(futures, running, say)
        finally:
            kernel.cleanup()
        if running.signal is not None:
            _wait_for_checkpoints(units, say)
    return Outcome(codes, running.signal)


def run_in_worker(command: tuple[str, ...], unit: Task) -> int:
    """Run one unit to its end, in a worker; its exit code if there is no use in a retry."""
    code = run_unit(command, unit)
    if code is None or code not in (*FINAL_CODES, BAD_INPUT):
        raise UnitDied(unit.index, -1 if code is None else code)
    return code


def _collect(futures: dict[Task, Any], running: Running, say: Say) -> dict[int, int]:
    """Exit codes as they come; a worker that was lost too often has -1."""
    codes: dict[int, int] = {}
    while len(codes) < len(futures) and running.signal is None:
        time.sleep(_POLL_S)
        for unit, future in futures.items():
            if unit.index in codes or not future.done():
                continue
            error = future.exception()
            if error is None:
                codes[unit.index] = future.result()
                say(ended(unit, codes[unit.index]))
            else:
                codes[unit.index] = getattr(error, "exit_code", -1)
                say(f"{unit.name}: {error}; see {unit.log}")
    return codes


def _wait_for_checkpoints(units: Sequence[Task], say: Say) -> None:
    limit = time.monotonic() + _CHECKPOINT_S
    while (
        left := [unit for unit in units if unit.is_locked()]
    ) and time.monotonic() < limit:
        time.sleep(_POLL_S)
    for unit in left:
        say(f"{unit.name}: still running; `jaxdiff campaign status` tells when it ends")


def _parsl() -> ModuleType:
    try:
        return importlib.import_module("parsl")
    except ModuleNotFoundError as error:
        if error.name != "parsl":
            raise
        raise ValueError(
            "--launcher parsl needs Parsl, which is not installed; install it with "
            "`pip install jaxdiff[parsl]`, or use --launcher local."
        ) from None


def _local_config(
    parsl: ModuleType,
    campaign: Batch,
    workers: int,
    accelerators: tuple[str, ...],
    retries: int,
) -> Any:
    """Workers on this machine that divide its cores, or have an accelerator each."""
    executors = importlib.import_module("parsl.executors")
    providers = importlib.import_module("parsl.providers")
    scripts, logs = Path(sys.executable).parent, campaign.directory / "parsl"
    interchange = scripts / "interchange.py"
    can_tell = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1
    executor = executors.HighThroughputExecutor(
        label="units",
        address="127.0.0.1",
        max_workers_per_node=workers,
        cores_per_worker=cores / workers,
        cpu_affinity="none" if accelerators or workers > cores else "block",
        available_accelerators=accelerators,
        heartbeat_period=5,  # seconds until a lost worker is noticed
        worker_logdir_root=str(logs),
        # an environment that is not activated has them, but not on the path
        interchange_launch_cmd=[str(interchange)] if interchange.exists() else None,
        provider=providers.LocalProvider(
            init_blocks=1,
            max_blocks=1,
            worker_init=f'export PATH="{scripts}:$PATH"',
        ),
    )
    return parsl.Config(
        executors=[executor], retries=retries, run_dir=str(logs), strategy="none"
    )


def _read_config(parsl: ModuleType, path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"--parsl-config {path} does not exist; give a Python file.")
    config = runpy.run_path(str(path)).get("config")
    if not isinstance(config, parsl.Config):
        raise ValueError(
            f"--parsl-config {path} defines no `config`, a parsl.Config; add one, such as "
            "`config = parsl.Config(executors=[...], retries=2)`."
        )
    return config
