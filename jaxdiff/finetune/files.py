"""What a training run keeps on disk, so that it can be cut off at any moment."""

import hashlib
import json
import math
import shutil
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxdiff.finetune import optimizer
from jaxdiff.io import digest, durable
from jaxdiff.io.shown import shown

Record = dict[str, Any]
"""What one epoch says: losses, errors, learning rate, seconds, compilations."""

Tree = TypeVar("Tree")


_UNREADABLE = (OSError, LookupError, RuntimeError, TypeError, ValueError)
"""What orbax and what it is made of raise for a state that is damaged."""


class RunFiles:
    """What a run keeps in its folder: the last two states, the best weights, metrics."""

    def __init__(self, directory: Path) -> None:
        """Of this folder; it is made where there is none."""
        self.metrics = directory / "metrics.jsonl"
        for unfinished in directory.glob("*/*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        self._digests = directory / "digests.json"
        self._latest = _manager(directory / "checkpoints", keep=2)
        self._best = _manager(directory / "best", keep=1)
        self.note = ""
        """What was wrong with the states that were found."""

    def latest(self, start: optimizer.TrainState) -> optimizer.TrainState:
        """The last state that is whole, or `start` where there has been none.

        One that is damaged is removed, so that it is made again; `note` says so.
        """
        faults = []
        for number in sorted(self._latest.all_steps(), reverse=True):
            try:
                self._require_digest(self._latest, number)
                found = _restored(self._latest, number, start)
            except _UNREADABLE as error:
                reason = shown(str(error), quote="")
                faults.append(f"{self._latest.directory}/{number} is damaged ({reason})")
                continue
            for bad in (n for n in self._latest.all_steps() if n > number):
                self._latest.delete(bad)
            self.note = "; ".join(faults)
            return found
        if faults:
            raise ValueError(
                f"no state of this training can be gone on from: {'; '.join(faults)}. Give "
                "another folder (--set directory=...) to train anew."
            )
        return start

    def best(self, like: optimizer.Weights) -> optimizer.Weights:
        """The averaged weights of the best epoch."""
        number = self._best.latest_step()
        if number is None:
            raise ValueError(
                f"{self.metrics.parent} has no epoch with a validation loss; train for one "
                "epoch at least, with labels in the validation set."
            )
        try:
            self._require_digest(self._best, number)
            return _restored(self._best, number, like)
        except _UNREADABLE as error:
            raise ValueError(
                f"{self._best.directory}/{number}, the best weights, is damaged "
                f"({shown(str(error), quote='')}). Give another folder (--set "
                "directory=...) to train anew."
            ) from None

    def save(self, state: optimizer.TrainState, best: bool = False) -> None:
        """Keep a state, unless it is kept; its average first where it is the best."""
        # within an epoch and after its last update are two states of one count
        number = 2 * int(state.updates) + (int(state.batch) == 0)
        if best and self._best.latest_step() != number:
            self._keep(self._best, number, state.average)
        if self._latest.latest_step() != number:
            self._keep(self._latest, number, state)

    def _keep(self, manager: ocp.CheckpointManager, number: int, tree: Any) -> None:
        try:
            manager.save(number, args=ocp.args.StandardSave(_plain(tree)))
            manager.wait_until_finished()
        except _UNREADABLE as error:
            raise OSError(
                f"{manager.directory} cannot be written ({shown(str(error), quote='')}); "
                "make room and run the command again. What was saved before is kept."
            ) from error
        digests = self._known_digests() | {_name(manager, number): _digest(manager, number)}
        there = {_name(m, n) for m in (self._latest, self._best) for n in m.all_steps()}
        kept = {name: sha256 for name, sha256 in digests.items() if name in there}
        durable.write_json(self._digests, kept)

    def _known_digests(self) -> dict[str, str]:
        """SHA-256 by name of what is kept; none in folders from before there were any."""
        try:
            found = json.loads(self._digests.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _require_digest(self, manager: ocp.CheckpointManager, number: int) -> None:
        expected = self._known_digests().get(_name(manager, number))
        if expected is not None and expected != _digest(manager, number):
            raise ValueError("its SHA-256 is not that of what was written")

    def append_metrics(self, record: Record) -> None:
        """One more line; not-a-number becomes null."""
        known = {
            k: None if isinstance(v, float) and np.isnan(v) else v
            for k, v in record.items()
        }
        durable.append_line(self.metrics, json.dumps(known))

    def truncate_metrics(self, epochs: int) -> None:
        """Drop records of epochs that the checkpoint does not have."""
        if self.metrics.exists():
            text = self.metrics.read_text(encoding="utf-8", errors="replace")
            lines = text.splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            kept = [line for line in whole if _epoch(line) <= epochs]
            durable.write_text(self.metrics, "".join(kept))

    def close(self) -> None:
        """Wait for what is being written."""
        self._latest.close()
        self._best.close()


def _epoch(line: str) -> float:
    """Of a record; one that a crash has damaged belongs to none."""
    try:
        return float(json.loads(line)["epoch"])
    except (LookupError, TypeError, ValueError):
        return math.inf


def _name(manager: ocp.CheckpointManager, number: int) -> str:
    return f"{Path(manager.directory).name}/{number}"


def _digest(manager: ocp.CheckpointManager, number: int) -> str:
    """SHA-256 of the names and contents of all files of one state."""
    folder, state = Path(manager.directory) / str(number), hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        state.update(f"{name}\n{digest.of_file(path)}\n".encode())
    return state.hexdigest()


def _restored(manager: ocp.CheckpointManager, number: int, like: Tree) -> Tree:
    """What was saved, with the structs of `like`."""
    arguments = ocp.args.StandardRestore(_plain(like))
    return _with_structs(like, manager.restore(number, args=arguments))


def _is_struct(part: Any) -> bool:
    return is_dataclass(part)


def _plain(tree: Any) -> Any:
    """Structs as dictionaries: orbax maps a tree to things that are no arrays."""

    def of(part):
        if not _is_struct(part):
            return part
        return {name: _plain(value) for name, value in vars(part).items()}

    return jax.tree.map(of, tree, is_leaf=_is_struct)


def _with_structs(like: Any, plain: Any) -> Any:
    """The inverse, of fresh arrays: orbax binds its own to a device, for which programs
    compile anew."""

    def of(part, found):
        if not _is_struct(part):
            return jnp.array(np.asarray(found))
        fields = vars(part).items()
        return replace(part, **{n: _with_structs(v, found[n]) for n, v in fields})

    return jax.tree.map(of, like, plain, is_leaf=_is_struct)


def _manager(directory: Path, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=keep)
    return ocp.CheckpointManager(directory.absolute(), options=options)
