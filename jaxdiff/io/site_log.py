"""From the tracker's logs on the device to rows on the host, after each chunk."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxdiff.io.series import SeriesWriter
from jaxdiff.lattice.network import SiteNetwork
from jaxdiff.observables import SiteState, new_entries


@dataclasses.dataclass
class SiteLog:
    """How much of the logs of R replicas has been written to a series.

    - `changes`, `crossings` [R]: entries read. `frames` [R]: observed then. `lost` [R]:
      first frame whose changes may be missing, or -1.
    """

    series: SeriesWriter
    changes: np.ndarray
    crossings: np.ndarray
    frames: np.ndarray
    lost: np.ndarray

    def counters(self) -> dict[str, np.ndarray]:
        """All but the series, for a checkpoint."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name != "series"}

    @classmethod
    def start(cls, series: SeriesWriter, state: SiteState) -> "SiteLog":
        """Write the sites of a state whose logs are empty; a leading axis R."""
        series.start_sites(state.network.sites(np.asarray(state.site)))
        zero = np.zeros(len(state.site), np.int64)
        return cls(series, zero, zero, zero, np.full_like(zero, -1))

    def write(self, state: SiteState) -> int:
        """Write what is new; the number of changes of site in all so far."""
        log, frames = jax.device_get(state.changes), np.asarray(state.frames, np.int64)
        over = (log.count - self.changes > log.frame.shape[1]) & (self.lost < 0)
        self.lost = np.where(over, self.frames + 1, self.lost)
        counts = {
            "frames": frames,
            "anion_displaced_frames": np.asarray(state.anion_displaced_frames, np.int64),
            "lost_frame": self.lost,
        }
        self.series.append_sites(_rows(state.network, log, self.changes), counts)
        self.changes, self.frames = np.asarray(log.count, np.int64), frames
        if state.crossings is not None:
            log = jax.device_get(state.crossings)
            rows = _rows(state.network, log, self.crossings, "position")
            self.series.append_crossings(rows)
            self.crossings = np.asarray(log.count, np.int64)
        return int(self.changes.sum())


def ran_over(before: SiteState, after: SiteState) -> bool:
    """Whether a log got more entries between two states than it holds; leading axis R."""
    logs = [(before.changes, after.changes), (before.crossings, after.crossings)]
    return any(
        bool(np.any(np.asarray(new.count - old.count) > new.frame.shape[1]))
        for old, new in logs
        if new is not None
    )


def _rows(
    network: SiteNetwork, log: Any, seen: np.ndarray, *more: str
) -> dict[str, np.ndarray]:
    """New entries of all replicas, one replica after the other."""
    names = ("frame", "cation", "site", *more)
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("replica", *names)}
    for replica, (count, first) in enumerate(zip(log.count, seen, strict=True)):
        row = new_entries(int(count), int(first), log.frame.shape[1])
        found["replica"].append(np.full(len(row), replica))
        for name in names:
            found[name].append(getattr(log, name)[replica][row])
    rows = {name: np.concatenate(parts) for name, parts in found.items()}
    return rows | {"site": network.sites(rows["site"])}
