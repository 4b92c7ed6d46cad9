"""The folder of a run: one process at a time writes into it, and always the same run."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from jaxdiff.io import durable

LOCK, PROGRESS = "lock", "progress.json"

PATIENCE_S = 3.0
"""A moment: a lock that is only probed is free again at once."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run writes.

    - `key`: what of the run file names the folder.
    - `free`: keys of the run file that may change before the run goes on; the name of a
      section stands for all that is in it.
    """

    directory: Path
    key: str = "output.directory"
    free: Collection[str] = ()

    @contextmanager
    def claimed(self, patience_s: float | None = None) -> Iterator[None]:
        """Keep other processes out of the folder, which is made if need be.

        - `patience_s`: how long another process that has it is waited for; None: a moment.

        Raises `ValueError` where another process still has it, and `OSError` where it
        cannot be written.
        """
        patience_s = PATIENCE_S if patience_s is None else patience_s
        lock = filelock.FileLock(self.directory / LOCK, timeout=patience_s)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise ValueError(
                f"another process is running in {self.directory}, after a wait of "
                f"{patience_s:g} s; wait for it or stop it, or give another folder "
                f"({self._another})."
            ) from None
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise OSError(
                f"{self.key} = {self.directory} cannot be written ({error.strerror}); give "
                f"another one ({self._another})."
            ) from error
        try:
            durable.remove_partial(self.directory)
            yield
        finally:
            lock.release()

    def is_claimed(self) -> bool:
        """Whether a process runs in it now; only asked where a run has left its lock."""
        path = self.directory / LOCK
        if not path.exists():
            return False
        try:
            with filelock.FileLock(path, timeout=0):
                return False
        except filelock.Timeout:
            return True

    def require_empty(self, ours: Collection[str] = ()) -> None:
        """Refuse a folder with files other than `ours`, before anything is written."""
        files = self.directory.iterdir() if self.directory.is_dir() else ()
        foreign = sorted(
            p.name for p in files if durable.whole_name(p) not in {LOCK, *ours}
        )
        if foreign:
            raise ValueError(
                f"{self.key} = {self.directory} is not empty, and a run overwrites nothing "
                f"(it has {foreign[0]}); give another one ({self._another}) or move it "
                "away."
            )

    def require_same(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Refuse a run that differs in more than `free` from that in the folder."""
        differ = differences(before, now, self.free)
        if not differ:
            return
        (name, (one, other)), *rest = differ.items()
        more = f", and {len(rest)} more differ" if rest else ""
        raise ValueError(
            f"{self.directory} holds a run with {name} = {one}, not {other}{more}; give "
            f"another folder ({self._another}), or the run file as it was. Only "
            f"{', '.join(self.free)} may change."
        )

    def write_progress(self, record: Mapping[str, Any]) -> None:
        """How far the run is, for those who look at it from outside."""
        durable.write_text(self.directory / PROGRESS, json.dumps(record) + "\n")

    def progress(self) -> dict[str, Any]:
        """What was written of it last; nothing where nothing was."""
        try:
            found = json.loads((self.directory / PROGRESS).read_text(encoding="utf-8"))
        except (OSError, RecursionError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def _another(self) -> str:
        return f"{self.key} DIR" if self.key[0] == "-" else f"--set {self.key}=..."


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """What differs between two run files, by the dotted names of keys that are not free."""
    one, other = _flat(before), _flat(now)
    return {
        name: (one.get(name, "unset"), other.get(name, "unset"))
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
        and not any(name == key or name.startswith(f"{key}.") for key in free)
    }


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names; what is None is as if it were not there."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= ({name: "given"} if value else {}) | _flat(value, f"{name}.")
        elif value is not None:
            found[name] = value
    return found
