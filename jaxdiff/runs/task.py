"""What a launcher runs: tasks of a folder, each a process of its own that can go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxdiff.io.folder import RunFolder

UNITS = "units"
"""Folder of the tasks, within that of the batch."""


@dataclass(frozen=True)
class Task:
    """One part of a batch: `COMMAND units/0000.toml`, in the folder of the batch.

    - `directory`: where it writes.
    """

    index: int
    directory: Path

    @property
    def run_file(self) -> Path:
        """Its run file."""
        return self.directory.with_suffix(".toml")

    @property
    def log(self) -> Path:
        """What its run printed."""
        return self.directory.with_suffix(".log")

    @property
    def exit_file(self) -> Path:
        """The exit code of its last run that ended."""
        return self.directory.with_suffix(".exit")

    @property
    def name(self) -> str:
        """The task in messages."""
        return f"task {self.index}"

    @property
    def cores(self) -> int:
        """How many it can use."""
        return 1

    def is_locked(self) -> bool:
        """Whether a process runs it now."""
        return RunFolder(self.directory).is_claimed()

    def final_code(self) -> int | None:
        """The exit code that it ended with for good, from its files; None: not yet."""
        raise NotImplementedError


@dataclass(frozen=True)
class Batch:
    """Tasks in the order of their numbers, and the folder that they share."""

    directory: Path
    units: Sequence[Task]

    @property
    def cores_words(self) -> str:
        """How many cores its largest task can use, in a clause."""
        return f"up to {max(unit.cores for unit in self.units)}"
