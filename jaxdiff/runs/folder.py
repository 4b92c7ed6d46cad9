"""The folder of a run of dynamics: what lies in it, and whether it holds the same run."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxdiff.io import durable, runfile
from jaxdiff.io.folder import LOCK, PROGRESS, RunFolder
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.series import PARTS, SERIES
from jaxdiff.runs import checkpoint

__all__ = ["FINAL", "LOCK", "PROGRESS", "RUN_FILE", "claimed", "prepare", "run_folder"]

RUN_FILE, FINAL = "run.toml", "final.extxyz"

FREE = (  # no trace but, in groups, of rounding
    "production.duration_ps",
    "output.directory",
    "output.checkpoint_minutes",
    "output.chunk_ps",
    "ensemble.group_size",
    "model.if_evaluator_differs",
)


def run_folder(directory: Path) -> RunFolder:
    """The folder, with the keys that may change."""
    return RunFolder(directory, free=FREE)


@contextmanager
def claimed(directory: Path, patience_s: float | None = None) -> Iterator[None]:
    """Keep other processes out of the folder; one with files of no run is refused.

    - `patience_s`: how long another process that has it is waited for; None: a moment.
    """
    if not _has_begun(directory):  # or was cut off before its first checkpoint
        ours = (RUN_FILE, PROGRESS, PARTS, f"{checkpoint.LATEST}.new")
        run_folder(directory).require_empty(ours)
    with run_folder(directory).claimed(patience_s):
        yield


def prepare(run: RunFile, directory: Path) -> bool:
    """Write the run file into a fresh folder; True where the same run has begun already.

    Raises `ValueError` where the folder holds something else; nothing is changed then.
    """
    path, begun = directory / RUN_FILE, _has_begun(directory)
    text = runfile.to_toml(run)
    if begun:
        before = runfile.to_toml(runfile.load(path))  # with the defaults of this version
        run_folder(directory).require_same(tomllib.loads(before), tomllib.loads(text))
    durable.write_text(path, text)
    return begun


def _has_begun(directory: Path) -> bool:
    left = checkpoint.exists(directory) or (directory / SERIES).exists()
    return left and (directory / RUN_FILE).is_file()
