"""What a training run keeps on disk, so that it can be cut off at any moment."""

import json
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxdiff.finetune import optimizer
from jaxdiff.io.atomic import write_text

Record = dict[str, Any]
"""What one epoch says: losses, errors, learning rate, seconds, compilations."""


class RunFiles:
    """What a run keeps in its folder: the last two states, the best weights, metrics."""

    def __init__(self, directory: Path) -> None:
        """Of this folder; it is made where there is none."""
        self.metrics = directory / "metrics.jsonl"
        self._latest = _manager(directory / "checkpoints", keep=2)
        self._best = _manager(directory / "best", keep=1)

    def latest(self, start: optimizer.TrainState) -> optimizer.TrainState:
        """The state that was saved last, or `start` where there is none."""
        number = self._latest.latest_step()
        if number is None:
            return start
        restored = self._latest.restore(number, args=ocp.args.StandardRestore(start))
        return cast(optimizer.TrainState, _unplaced(restored))

    def best(self, like: optimizer.Weights) -> optimizer.Weights:
        """The averaged weights of the best epoch."""
        number = self._best.latest_step()
        if number is None:
            raise ValueError(
                f"{self.metrics.parent} has no epoch with a validation loss; train for one "
                "epoch at least, with labels in the validation set."
            )
        restored = self._best.restore(number, args=ocp.args.StandardRestore(like))
        return cast(optimizer.Weights, _unplaced(restored))

    def save(self, state: optimizer.TrainState, best: bool = False) -> None:
        """Keep a state, unless it is kept; its average first where it is the best."""
        # within an epoch and after its last update are two states of one count
        number = 2 * int(state.updates) + (int(state.batch) == 0)
        if best and self._best.latest_step() != number:
            self._best.save(number, args=ocp.args.StandardSave(state.average))
            self._best.wait_until_finished()
        if self._latest.latest_step() != number:
            self._latest.save(number, args=ocp.args.StandardSave(state))
            self._latest.wait_until_finished()

    def append_metrics(self, record: Record) -> None:
        """One more line; not-a-number becomes null."""
        known = {
            k: None if isinstance(v, float) and np.isnan(v) else v
            for k, v in record.items()
        }
        with self.metrics.open("a") as file:
            file.write(json.dumps(known) + "\n")

    def truncate_metrics(self, epochs: int) -> None:
        """Drop records of epochs that the checkpoint does not have."""
        if self.metrics.exists():
            lines = self.metrics.read_text().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            kept = [line for line in whole if json.loads(line)["epoch"] <= epochs]
            write_text(self.metrics, "".join(kept))

    def close(self) -> None:
        """Wait for what is being written."""
        self._latest.close()
        self._best.close()


def _unplaced(tree: Any) -> Any:
    """As fresh arrays: orbax binds them to a device, for which programs compile anew."""
    return jax.tree.map(lambda array: jnp.array(np.asarray(array)), tree)


def _manager(directory: Path, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=keep)
    return ocp.CheckpointManager(directory.absolute(), options=options)
