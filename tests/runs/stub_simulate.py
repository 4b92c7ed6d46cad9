"""A run in ten steps, without physics: `python stub_simulate.py units/0000.toml`.

It keeps the contract of `jaxdiff simulate`: a lock while it runs, a checkpoint from which
it goes on, exit codes, a series with a status when it is complete, a checkpoint and 143 at
SIGTERM. `starts` lists the step at which each attempt began. What a test wants of it stands
in `0000.behaviour` of the current directory.
"""

import os
import signal
import sys
import time
import tomllib
from pathlib import Path

import filelock
import h5py

STUB = (sys.executable, str(Path(__file__)))

N_STEPS = 10


def simulate(unit: Path) -> int:
    run = Path(tomllib.loads(unit.read_text())["output"]["directory"])
    run.mkdir(parents=True, exist_ok=True)
    behaviour = Path(f"{unit.stem}.behaviour")
    wanted = behaviour.read_text().split() if behaviour.exists() else []
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(143))
    signal.signal(signal.SIGINT, lambda *_: stopped.append(130))
    with filelock.FileLock(run / "lock", timeout=0):
        checkpoint = run / "checkpoint"
        step = int(checkpoint.read_text()) if checkpoint.exists() else 0
        with (run / "starts").open("a") as starts:
            starts.write(f"{step}\n")
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else []
        print("cores", *cores, "accelerators", os.environ.get("CUDA_VISIBLE_DEVICES"))
        if "exit" in wanted:
            return int(wanted[1])
        first_time = step == 0
        while step < N_STEPS:
            step += 1
            checkpoint.write_text(str(step))
            time.sleep(0.5 if "slow" in wanted else 0)
            if "killed" in wanted and step == 4 and first_time:
                os.kill(os.getpid(), signal.SIGKILL)
            if "orphaned" in wanted and step == 4 and first_time:
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(2)  # a new worker is there meanwhile
            if stopped:
                return stopped[0]
        with h5py.File(run / "series.h5", "w") as file:
            file.attrs["status"] = "diverged" if "diverged" in wanted else "complete"
    return 3 if "diverged" in wanted else 0


if __name__ == "__main__":
    sys.exit(simulate(Path(sys.argv[1])))
