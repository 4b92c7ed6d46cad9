"""A real Slurm of one node, this machine, with all of its files in one folder.

It needs slurmctld, slurmd, munged and sbatch (Debian: slurm-wlm, munge), and no root.
Processes of its jobs can be found, so that a test can end or freeze them.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
NAME = "here"

_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# a job that is requeued may begin again once its credential has expired
AuthInfo=socket={folder}/munge.socket,cred_expire=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=1
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
MaxArraySize={max_array_size}
KillWait=10
# a node that is silent for so long is gone
SlurmdTimeout=10
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000
PartitionName=main Nodes={name} Default=YES MaxTime=60 State=UP
"""


def missing() -> list[str]:
    """What has to be installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


@contextlib.contextmanager
def running(folder: Path, max_array_size: int = 1001) -> Iterator[dict[str, str]]:
    """The node while it is up: what its commands need in the environment."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "slurm.conf").write_text(
        _CONF.format(
            name=NAME, host=socket.gethostname().split(".")[0], user=getpass.getuser(),
            folder=folder, ports=_free_ports(2), max_array_size=max_array_size,
        )
    )  # fmt: skip
    own = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    munge = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    places = [f"--{option}={folder}/munge.{end}" for option, end in munge.items()]
    try:
        start = ["munged", "--force", f"--key-file={key}", *places]
        for command in (start, ["slurmctld", "-i"], ["slurmd", "-N", NAME]):
            subprocess.run(command, env=os.environ | own, check=True, timeout=60)
        _wait_until_idle(own)
        yield own
    finally:
        subprocess.run(["scancel", "--full", f"--user={getpass.getuser()}"],
                       env=os.environ | own, timeout=60)  # fmt: skip
        for name in ("slurmd", "slurmctld", "munge"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGTERM)


def lose(folder: Path, processes: Iterable[int]) -> None:
    """End the daemon of the node and processes of it, as a loss of power does."""
    for number in (int((folder / "slurmd.pid").read_text()), *processes):
        os.kill(number, signal.SIGKILL)


def come_back() -> None:
    """The node, once it was lost."""
    subprocess.run(["slurmd", "-N", NAME], check=True, timeout=60)


def parent_of(process: int) -> int:
    """By the system's table."""
    text = Path(f"/proc/{process}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1])


def processes_in(directory: Path) -> dict[int, list[str]]:
    """Processes whose current directory it is -> their arguments."""
    found: dict[int, list[str]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(place / "cwd") == str(directory):
                words = (place / "cmdline").read_text().split("\0")
                found[int(place.name)] = words[:-1]
    return found


def is_asked_to_stop(process: int) -> bool:
    """Whether a SIGTERM waits for it, since it is frozen."""
    text = Path(f"/proc/{process}/status").read_text()
    pending = [line.split()[1] for line in text.splitlines() if "Pnd:" in line]
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in pending)


def _wait_until_idle(own: dict[str, str], limit_s: float = 60) -> None:
    until = time.monotonic() + limit_s
    state = ""
    while time.monotonic() < until:
        asked = ["sinfo", "-h", "-o", "%t"]
        found = subprocess.run(asked, env=os.environ | own, capture_output=True, text=True)
        state = (found.stdout or found.stderr).strip()
        if state == "idle":
            return
        time.sleep(0.5)
    raise RuntimeError(f"the node of the tests is {state}, not idle, after {limit_s} s")


def _path() -> str:
    """Daemons are where the path of a user does not lead."""
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
