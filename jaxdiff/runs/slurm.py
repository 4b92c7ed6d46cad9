"""Units as an array job of Slurm: the script, whether Slurm can ever run it, its queue."""

import contextlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxdiff.io import durable
from jaxdiff.runs.launchers import SIMULATE
from jaxdiff.runs.task import UNITS, Batch, Task

SCRIPT = "submit.sbatch"

_ARRAY_SIZE = 1001  # Slurm's own MaxArraySize, where there is none to ask
_TIME_MIN = 24 * 60
_PATIENCE_S = 20.0

_FOR_THE_LAST_S = 600  # as long as a file system may keep the lock of a node that is gone
WAIT = ("--wait", str(_FOR_THE_LAST_S))
"""What every command of a task is given: its last start may not have ended yet."""

_UNIT = (*SIMULATE, *WAIT)

_PERMANENT = re.compile(
    r"PartitionConfig|PartitionNodeLimit|PartitionTimeLimit|BadConstraints|JobHeld\w+"
    r"|Account\w*|Invalid\w+|DependencyNeverSatisfied|QOSNotAllowed|\w+PerJob\w*"
    r"|\w*requeued[ _]held"
)
"""Reasons to wait that do not pass by themselves."""


class NoSlurm(OSError):
    """There is no Slurm to ask here, or it does not answer."""


@dataclass(frozen=True)
class Partition:
    """What a partition allows: cores of its largest node, time in minutes (None: any)."""

    name: str
    is_default: bool
    cores: int
    time_min: float | None


@dataclass(frozen=True)
class Queued:
    """A task of an array job that Slurm has not run to its end.

    - `restarts`: how often Slurm has requeued it. `begins`: not before that, or N/A.
    """

    job: str
    state: str
    restarts: int
    begins: str
    reason: str

    @property
    def words(self) -> str:
        """One clause for people."""
        if self.state != "PENDING":
            return f"{self.state.lower()} as job {self.job}"
        if _PERMANENT.fullmatch(self.reason):
            return (
                f"will wait for ever in Slurm's queue ({self.reason}). End it by `scancel "
                f"{self.job}`, edit {SCRIPT} and submit it again"
            )
        when = "" if self.begins in ("N/A", "") else f", to begin at {self.begins}"
        what = "requeued by Slurm" if self.restarts else "in Slurm's queue"
        return f"{what} as job {self.job} ({self.reason}){when}"


def write_slurm(
    campaign: Batch, units: Sequence[Task], *, command: tuple[str, ...] = _UNIT
) -> Path:
    """Write an array job of units; the path of the script.

    A script that is there keeps what was edited in it, all but the array. One of another
    campaign or version is kept beside it as submit.sbatch.old.
    """
    path, size = campaign.directory / SCRIPT, array_size()
    array = f"#SBATCH --array={_ranges(sorted({unit.index % size for unit in units}))}"
    work = _WORK.format(
        directory=shlex.quote(str(campaign.directory)),
        command=shlex.join(command),
        n_units=len(campaign.units),
        size=size,
    )
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if before.endswith(work) and re.search("^#SBATCH --array=.*$", before, re.M):
        durable.write_text(path, re.sub("#SBATCH --array=.*", array, before, count=1))
        return path
    if before:
        path.replace(path.with_name(f"{SCRIPT}.old"))
    durable.write_text(path, _head(campaign, path, array) + work)
    return path


def refusal(script: Path) -> str | None:
    """Why Slurm would never run a script, in its words or ours; None where it would.

    Raises `NoSlurm` where that cannot be asked.
    """
    there = _partitions()
    tried = _run("sbatch", "--test-only", str(script))
    if tried.returncode != 0:
        lines = (tried.stderr or tried.stdout).strip().splitlines()
        return lines[-1].removeprefix("sbatch: error: ") if lines else "no reason given"
    asked = _option(script, "time", "t")
    names = (_option(script, "partition", "p") or "").split(",")
    allowed = [p for p in there if p.name in names or p.is_default and names == [""]]
    minutes = None if asked is None else _minutes(asked)
    longest = [p.time_min for p in allowed if p.time_min is not None]
    if minutes is None or not longest or len(longest) < len(allowed):
        return None
    if minutes <= max(longest):
        return None
    name = ",".join(p.name for p in allowed)
    return f"--time={asked}, and partition {name} allows {max(longest):g} minutes"


def queued(campaign: Batch) -> dict[int, Queued]:
    """Index of a unit -> where Slurm has it, of the user's jobs; none without Slurm."""
    fields = "ArrayTaskID,JobArrayID,State,RestartCnt,StartTime,Reason,WorkDir"
    shown = ",".join(f"{field}:|" for field in fields.split(","))
    try:
        lines = _answer("squeue", "-h", "-r", "--me", "-O", shown).splitlines()
    except NoSlurm:
        return {}
    found: dict[int, Queued] = {}
    size = array_size() if lines else _ARRAY_SIZE
    for line in lines:
        task, job, state, restarts, begins, reason, place = line.split("|", 6)
        if place.rstrip("|") == str(campaign.directory) and task.isdecimal():
            entry = Queued(job, state, int(restarts or 0), begins, reason)
            for unit in campaign.units[int(task) :: size]:
                found[unit.index] = entry
    return found


def array_size() -> int:
    """Numbers of tasks of an array job are below this."""
    try:
        answer = _answer("scontrol", "show", "config")
    except NoSlurm:
        return _ARRAY_SIZE
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer, re.M)
    return max(1, int(found[1])) if found else _ARRAY_SIZE


def _partitions() -> list[Partition]:
    """Those that the user sees."""
    found: dict[str, Partition] = {}
    for line in _answer("sinfo", "-N", "-h", "-o", "%P|%c|%l").splitlines():
        shown, cores, time = line.strip().split("|")
        name = shown.removesuffix("*")
        most = max(int(cores), found[name].cores if name in found else 0)
        found[name] = Partition(name, shown.endswith("*"), most, _minutes(time))
    return list(found.values())


def _head(campaign: Batch, path: Path, array: str) -> str:
    """The options of the job, and where their numbers are from."""
    cores = max(unit.cores for unit in campaign.units)
    default: Partition | None = None
    with contextlib.suppress(NoSlurm):
        default = next((p for p in _partitions() if p.is_default), None)
    time_min, why = _TIME_MIN, ""
    if default is not None:
        cores = min(cores, default.cores)
        time_min = min(time_min, default.time_min or time_min)
        longest = "any time" if default.time_min is None else f"{default.time_min:g} min"
        why = (
            f"\n# partition {default.name}, where it goes unless you name another, has "
            f"nodes of up to {default.cores} cores and allows {longest}"
        )
    return _HEAD.format(
        path=shlex.quote(str(path)),
        array=array,
        directory=campaign.directory,
        time=int(time_min),
        wanted=campaign.cores_words,
        cores=cores,
        why=why,
        output=campaign.directory / UNITS / "slurm-%A_%a.out",
    )


def _answer(*command: str) -> str:
    """What a command of Slurm says, which has to succeed."""
    found = _run(*command)
    if found.returncode != 0:
        why = " ".join(found.stderr.split())
        raise NoSlurm(f"{command[0]} does not answer: {why}")
    return found.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise NoSlurm(f"there is no {command[0]} here")
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise NoSlurm(f"{command[0]} has not answered in {_PATIENCE_S:g} s") from None


def _option(script: Path, long: str, short: str) -> str | None:
    """The value of an option in a script, as Slurm reads it."""
    pattern = rf"^#SBATCH\s+(?:--{long}(?:=|\s+)|-{short}\s*)(\S+)"
    found = re.findall(pattern, script.read_text(encoding="utf-8"), re.M)
    return found[-1].strip("\"'") if found else None


def _minutes(time: str) -> float | None:
    """Of a time as Slurm writes it, such as 90, 1:30:00 or 2-12; None: any time."""
    days, dash, rest = time.rpartition("-")
    if not re.fullmatch(r"\d*", days) or not re.fullmatch(r"\d+(:\d+){0,2}", rest):
        return None
    parts = [int(part) for part in rest.split(":")]
    if dash or len(parts) == 3:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _ranges(indices: list[int]) -> str:
    """Numbers as ranges: 0-2,5."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs)


_HEAD = """\
#!/bin/bash
# The units that were not complete. Edit the options; the command that
# wrote this, given again, keeps them and asks Slurm whether it can run them. Then submit:
#   sbatch {path}
# A unit that needs more than the time given is requeued by itself, and goes on.
{array}
#SBATCH --job-name=jaxdiff
#SBATCH --chdir="{directory}"
# edit: time in minutes, and cores of a unit, which can use {wanted};
# with an accelerator, one or two are enough{why}
#SBATCH --time={time}
#SBATCH --cpus-per-task={cores}
# edit: as your site has it; one # less to use a line
##SBATCH --gpus=1
##SBATCH --partition=gpu
##SBATCH --account=project
# two minutes to write the last checkpoint
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output="{output}"

# edit: load modules here if Python needs them
"""

_WORK = """\
cd {directory} || exit 2
# SLURM_JOB_ID of one of the tasks is the number of the whole array
job="${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
# where Slurm counts cores and binds no task to its own, keep to those that it counted
if [ -n "$SLURM_CPUS_PER_TASK" ] && [ "$(nproc)" -gt "$SLURM_CPUS_PER_TASK" ]; then
  cores=$(scontrol show job -d "$job" | grep -om1 'CPU_IDs=[-,0-9]*')
  [ -n "$cores" ] && taskset -pc "${{cores#*=}}" $$
fi
child=; stopped=
trap 'stopped=yes; [ -n "$child" ] && kill -TERM "$child"' TERM INT
worst=0
for ((index = SLURM_ARRAY_TASK_ID; index < {n_units}; index += {size})); do
  unit=$(printf 'units/%04d' "$index")
  rm -f "$unit.exit"
  {command} "$unit.toml" >> "$unit.log" 2>&1 &
  child=$!
  [ -n "$stopped" ] && kill -TERM "$child"
  wait "$child"; code=$?
  while kill -0 "$child" 2> /dev/null; do wait "$child"; code=$?; done
  echo "$code" > "$unit.exit"
  if [ "$code" -eq 143 ]; then
    [ -n "$SLURM_ARRAY_JOB_ID" ] && scontrol requeue "$job"
    exit 143
  fi
  [ "$code" -gt "$worst" ] && worst=$code
done
exit "$worst"
"""
