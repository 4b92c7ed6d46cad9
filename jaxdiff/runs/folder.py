"""The folder of a run: who may write into it, and whether it holds the same run."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxdiff.io import atomic, runfile
from jaxdiff.io.lock import LOCK, locked
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.series import PARTS, SERIES
from jaxdiff.runs import checkpoint

RUN_FILE, PROGRESS, FINAL = "run.toml", "progress.json", "final.extxyz"

FREE = {  # may change before a run goes on: no trace but, in groups, of rounding
    ("production", "duration_ps"),
    ("output", "directory"),
    ("output", "checkpoint_minutes"),
    ("output", "chunk_ps"),
    ("ensemble", "group_size"),
}


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Keep other processes out of the folder, which is made if need be."""
    _check_free(directory)
    with locked(directory, "output.directory"):
        yield


def prepare(run: RunFile, directory: Path) -> bool:
    """Write the run file into a fresh folder; True where the same run has begun already.

    Raises `ValueError` where the folder holds something else; nothing is changed then.
    """
    path, begun = directory / RUN_FILE, _has_begun(directory)
    if begun:
        _check_same(run, path)
    atomic.write_text(path, runfile.to_toml(run))
    return begun


def _has_begun(directory: Path) -> bool:
    left = checkpoint.exists(directory) or (directory / SERIES).exists()
    return left and (directory / RUN_FILE).is_file()


def _check_free(directory: Path) -> None:
    """Refuse a folder with files that no run has left, before anything is written."""
    if not directory.is_dir() or _has_begun(directory):
        return
    ours = {LOCK, RUN_FILE, PROGRESS, PARTS, f"{checkpoint.LATEST}.new"}
    ours |= {f".{name}.partial" for name in ours}  # cut off before the first checkpoint
    foreign = sorted(p.name for p in directory.iterdir() if p.name not in ours)
    if foreign:
        raise ValueError(
            f"output.directory = {directory} is not empty, and a run overwrites nothing "
            f"(it has {foreign[0]}); give another one (--set output.directory=...) or move "
            "it away."
        )


def _check_same(run: RunFile, path: Path) -> None:
    before = _flat(runfile.to_toml(runfile.load(path)))
    now = _flat(runfile.to_toml(run))
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in FREE
    ]
    if changed:
        section, key = changed[0]
        more = f", and {len(changed) - 1} more differ" if len(changed) > 1 else ""
        raise ValueError(
            f"{path.parent} holds a run with {section}.{key} = "
            f"{before.get(changed[0], 'unset')}, not {now.get(changed[0], 'unset')}{more}; "
            "give another folder (--set output.directory=...), or the run file as it was. "
            "Only production.duration_ps and checkpoint_minutes may change."
        )


def _flat(text: str) -> dict[tuple[str, str], Any]:
    return {
        (section, key): value
        for section, keys in tomllib.loads(text).items()
        for key, value in keys.items()
    }
