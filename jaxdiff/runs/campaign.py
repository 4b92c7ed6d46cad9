"""A campaign: one study split into units, each a run of some of its replicas.

    DIR/campaign.json     the plan, written last
    DIR/study.toml        the study, resolved
    DIR/units/0000.toml   the run file of a unit; its paths start at DIR
    DIR/units/0000/       its run directory; 0000.log and 0000.exit are the launcher's

A unit can be run anywhere, again and again, by `cd DIR; jaxdiff simulate units/0000.toml`:
it goes on from its checkpoint, and once complete it stays as it is.
"""

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdiff.io import durable, hdf5, runfile
from jaxdiff.io.folder import RunFolder, differences
from jaxdiff.io.provenance import sha256
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.shown import shown
from jaxdiff.runs.task import UNITS, Batch, Task

FORMAT, FORMAT_VERSION = "jaxdiff-campaign", 1

PLAN, STUDY = "campaign.json", "study.toml"
SERIES, FINAL_STATE = "series.h5", "final.extxyz"
FREE = ("output.directory",)

_DAMAGED = (
    AttributeError, LookupError, RecursionError, TypeError, json.JSONDecodeError,
    UnicodeDecodeError,
)  # fmt: skip
MAX_UNITS = 10_000  # four digits

WAITING, RUNNING, FAILED = "waiting", "running", "failed"
COMPLETE, DIVERGED = "complete", "diverged"
FINAL = (COMPLETE, DIVERGED)
FINAL_CODES = {0: COMPLETE, 3: DIVERGED}
STOPPED_CODES = (129, 130, 143)
"""Exit codes of a run that was stopped by a signal and can go on: HUP, INT, TERM."""


@dataclass(frozen=True)
class Unit(Task):
    """The replicas [first, stop) of a study as a run of their own.

    - `run_file_sha256`: of the text of its run file.
    """

    first: int
    stop: int
    run_file_sha256: str

    @property
    def name(self) -> str:
        """The unit in messages."""
        return f"unit {self.index} (replicas {self.first} to {self.stop - 1})"

    @property
    def cores(self) -> int:
        """One for each of its replicas."""
        return self.stop - self.first

    def final_code(self) -> int | None:
        """That of a run whose series is there."""
        found = {text: code for code, text in FINAL_CODES.items()}
        return found.get(series_status(self) or "")


@dataclass(frozen=True)
class Campaign(Batch):
    """A study and its units, in the order of their replicas."""

    units: tuple[Unit, ...]
    run_file_sha256: str

    @property
    def study_text(self) -> str:
        """The run file of the study."""
        return (self.directory / STUDY).read_text(encoding="utf-8")

    @property
    def cores_words(self) -> str:
        """One for each replica of the largest unit."""
        most = max(unit.cores for unit in self.units)
        return f"one for each of its replicas\n# (the largest unit has {most})"


@dataclass(frozen=True)
class UnitStatus:
    """Where a unit is; the numbers are of its present phase, None where not known.

    - `state`: waiting, running, complete, diverged (complete, but some replica was frozen)
      or failed. `updated`: when the numbers were written, ISO 8601.
    """

    unit: Unit
    state: str
    phase: str | None = None
    done_ps: float | None = None
    total_ps: float | None = None
    ns_per_day: float | None = None
    updated: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether there is nothing left to run."""
        return self.state in FINAL


def plan(
    run: RunFile,
    directory: str | Path,
    *,
    n_units: int | None = None,
    replicas_per_unit: int | None = None,
) -> Campaign:
    """Split a study and write its plan; the same plan again changes nothing.

    Replicas keep their numbers through all temperatures, so a unit may have several
    temperatures. `n_units` are as even as can be; of `replicas_per_unit`, the last may
    have fewer.
    """
    directory = Path(directory).absolute()
    ranges = _split(*run.replica_range, n_units, replicas_per_unit)
    if (directory / PLAN).exists():
        return _same_plan(load(directory), run, ranges)
    _check_empty(directory)
    (directory / UNITS).mkdir(parents=True, exist_ok=True)
    durable.write_text(directory / STUDY, runfile.to_toml(run))
    units = tuple(
        _write_unit(run, directory, index, *bounds) for index, bounds in enumerate(ranges)
    )
    campaign = Campaign(directory, units, sha256(directory / STUDY))
    durable.write_json(directory / PLAN, _as_json(campaign))
    return campaign


def load(directory: str | Path) -> Campaign:
    """Read the plan of a campaign, and check that its run files are the planned ones."""
    directory = Path(directory).absolute()
    path = directory / PLAN
    if not path.is_file():
        raise ValueError(
            f"{directory} has no {PLAN}; give the directory of a campaign, or plan one "
            "with `jaxdiff campaign plan`."
        )
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        campaign = _from_json(table, directory)
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is damaged ({shown(repr(error), quote='')}); plan the study again in "
            "another directory."
        ) from None
    _check_text(directory / STUDY, campaign.run_file_sha256)
    for unit in campaign.units:
        _check_text(unit.run_file, unit.run_file_sha256)
    return campaign


def status(campaign: Campaign) -> list[UnitStatus]:
    """Where each unit is, from its files alone."""
    return [unit_status(unit) for unit in campaign.units]


def unit_status(unit: Unit) -> UnitStatus:
    """Where one unit is."""
    final = series_status(unit)
    if final in FINAL:
        state = final
    elif unit.is_locked():
        state = RUNNING
    else:
        # 3 without a series: every replica of the unit has diverged
        state = WAITING if exit_code(unit) in (None, 0, *STOPPED_CODES) else FAILED
    return UnitStatus(unit, state, **_progress(unit))


def series_status(unit: Unit) -> str | None:
    """What its series says of the run; None where there is none, or it is being written."""
    path = unit.directory / SERIES
    if not path.is_file():
        return None
    try:
        with hdf5.opened(path) as file:
            return str(file.attrs.get("status"))
    except hdf5.UNREADABLE:
        return None


def exit_code(unit: Unit) -> int | None:
    """The exit code of its last run that ended, as a shell has it."""
    try:
        return int(unit.exit_file.read_text())
    except (OSError, ValueError):
        return None


def same_run_file(one: str, other: str) -> bool:
    """Whether two run files say the same to this version, but where they write."""
    return not differences(_table(one), _table(other), FREE)


def _table(text: str) -> dict[str, Any]:
    """With the defaults of this version."""
    return runfile.parse(tomllib.loads(text)).model_dump(mode="json")


def _split(
    first: int, stop: int, n_units: int | None, replicas_per_unit: int | None
) -> list[tuple[int, int]]:
    n = stop - first
    if (n_units is None) == (replicas_per_unit is None):
        raise ValueError("give either n_units or replicas_per_unit.")
    asked = n_units if n_units is not None else replicas_per_unit
    if asked is None or not 1 <= asked <= n:
        what = "units" if n_units is not None else "replicas per unit"
        raise ValueError(
            f"{asked} {what} are asked for a study of {n} replicas; give 1 to {n}."
        )
    if n_units is None:
        edges = [*range(first, stop, asked), stop]
    else:
        edges = [first - (-n * k // n_units) for k in range(n_units + 1)]
    if len(edges) - 1 > MAX_UNITS:
        raise ValueError(
            f"{len(edges) - 1} units are more than {MAX_UNITS}; give more replicas to each."
        )
    return list(zip(edges[:-1], edges[1:], strict=True))


def _write_unit(run: RunFile, directory: Path, index: int, first: int, stop: int) -> Unit:
    place = f"{UNITS}/{index:04d}"
    table = run.model_dump(mode="json")
    table["ensemble"]["replica_range"] = [first, stop]
    table["output"]["directory"] = place
    table["model"]["name_or_path"] = _from_anywhere(table["model"]["name_or_path"])
    system = table["system"]
    system["structure_files"] = [_from_anywhere(name) for name in system["structure_files"]]
    if system["lattice_file"] is not None:
        system["lattice_file"] = _from_anywhere(system["lattice_file"])
    table["hops"]["network"] = _from_anywhere(table["hops"]["network"])
    path = directory / f"{place}.toml"
    durable.write_text(path, runfile.to_toml(runfile.parse(table)))
    return Unit(index, directory / place, first, stop, sha256(path))


def _from_anywhere(name: str) -> str:
    """A path as an absolute one; the name of a model as it is."""
    return os.path.abspath(name) if os.path.isfile(name) else name


def _same_plan(old: Campaign, run: RunFile, ranges: list[tuple[int, int]]) -> Campaign:
    now = run.model_dump(mode="json")
    RunFolder(old.directory, free=FREE).require_same(_table(old.study_text), now)
    if [(unit.first, unit.stop) for unit in old.units] != ranges:
        sizes = sorted({unit.stop - unit.first for unit in old.units})
        raise ValueError(
            f"{old.directory} is planned as {len(old.units)} units of "
            f"{' or '.join(map(str, sizes))} replicas, not as {len(ranges)} units; give "
            "the same split, or another directory."
        )
    return old


def _check_empty(directory: Path) -> None:
    """Nothing, or what a plan that was cut off left."""
    if not directory.exists():
        return
    found = map(durable.whole_name, directory.iterdir())
    if not directory.is_dir() or {*found} - {STUDY, UNITS, PLAN}:
        raise ValueError(
            f"{directory} is not empty and not a campaign, and nothing is overwritten; "
            "give another directory or move it away."
        )


def _check_text(path: Path, planned: str) -> None:
    if not path.is_file() or sha256(path) != planned:
        raise ValueError(
            f"{path} is missing or was changed after the campaign was planned; restore it, "
            "or plan the changed study in another directory."
        )


def _as_json(campaign: Campaign) -> dict[str, Any]:
    units = [
        {
            "index": unit.index,
            "first": unit.first,
            "stop": unit.stop,
            "directory": unit.directory.relative_to(campaign.directory).as_posix(),
            "run_file_sha256": unit.run_file_sha256,
        }
        for unit in campaign.units
    ]
    head = {"format": FORMAT, "format_version": FORMAT_VERSION}
    return head | {"run_file_sha256": campaign.run_file_sha256, "units": units}


def _from_json(table: dict[str, Any], directory: Path) -> Campaign:
    found = table.get("format"), table.get("format_version")
    if found != (FORMAT, FORMAT_VERSION):
        raise ValueError(
            f"{directory / PLAN} has format={found[0]!r}, format_version={found[1]}; this "
            f"version reads {FORMAT!r}, {FORMAT_VERSION}. Use the version that planned it."
        )
    units = tuple(
        Unit(
            row["index"],
            directory / row["directory"],
            row["first"],
            row["stop"],
            row["run_file_sha256"],
        )
        for row in table["units"]
    )
    _check_units(units, directory)
    return Campaign(directory, units, table["run_file_sha256"])


def _check_units(units: tuple[Unit, ...], directory: Path) -> None:
    """An error unless they are numbered, in a row, and in folders of the campaign."""
    stops = [units[0].first if units else 0, *(unit.stop for unit in units)]
    for index, unit in enumerate(units):
        numbers = (unit.index, unit.first, unit.stop)
        if (
            any(type(number) is not int for number in numbers)
            or unit.index != index
            or not 0 <= unit.first < unit.stop
            or unit.first != stops[index]
            or unit.directory != directory / UNITS / f"{index:04d}"
        ):
            raise TypeError(f"unit {index} is not one that was planned")
    if not units:
        raise TypeError("it has no units")


def _progress(unit: Unit) -> dict[str, Any]:
    table = RunFolder(unit.directory).progress()
    kinds = {"phase": str, "updated": str}
    kinds |= dict.fromkeys(("done_ps", "total_ps", "ns_per_day"), int | float)
    found = {
        k: v if isinstance(v := table.get(k), kind) else None for k, kind in kinds.items()
    }
    return found | {
        "ns_per_day": found["ns_per_day"] or None
    }  # earlier versions end with 0
