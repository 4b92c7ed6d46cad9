"""Changes of site to tables of events and defects, over all replicas."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from jaxdiff.analysis.defects import (
    N_HOP_CLASSES,
    DefectHistory,
    FrameCounts,
)
from jaxdiff.observables.supercell import Supercell


@dataclasses.dataclass(frozen=True)
class Changes:
    """Changes of site of all replicas, as they were logged; C of them.

    - `replica`, `frame`, `cation` [C]; `site` [C, 3]: the new one, unwrapped, a/4. In
      order of time within a replica.
    """

    replica: Int[np.ndarray, " changes"]
    frame: Int[np.ndarray, " changes"]
    cation: Int[np.ndarray, " changes"]
    site: Int[np.ndarray, "changes 3"]


@dataclasses.dataclass(frozen=True)
class Events:
    """Events of all replicas, in order of time within a replica.

    - `replica`, `frame`, `kind`, `defect`, `sign` [E]: see `defects.Event`; `sign` of the
      defect, 0 for an exchange. `start`, `end` [E, 3], a/4: the path of the defect.
    - `n_moved` [E]: cations; `squared_steps` [E], (a/4)^2: summed over them.
    - `move_event`, `move_cation` [K], `move_step` [K, 3], a/4: each cation that moved.
    """

    replica: Int[np.ndarray, " events"]
    frame: Int[np.ndarray, " events"]
    kind: Int[np.ndarray, " events"]
    defect: Int[np.ndarray, " events"]
    sign: Int[np.ndarray, " events"]
    start: Int[np.ndarray, "events 3"]
    end: Int[np.ndarray, "events 3"]
    n_moved: Int[np.ndarray, " events"]
    squared_steps: Int[np.ndarray, " events"]
    move_event: Int[np.ndarray, " moves"]
    move_cation: Int[np.ndarray, " moves"]
    move_step: Int[np.ndarray, "moves 3"]

    @property
    def jump(self) -> Int[np.ndarray, "events 3"]:
        """Jumps of the defects, a/4."""
        return self.end - self.start

    @property
    def squared_jump(self) -> Int[np.ndarray, " events"]:
        """Their squares, (a/4)^2."""
        return (self.jump**2).sum(axis=1)

    def hops(self, sign: int) -> Bool[np.ndarray, " events"]:
        """Which events are hops of defects of one sign."""
        return (self.kind < N_HOP_CLASSES) & (self.sign == sign)


@dataclasses.dataclass(frozen=True)
class Defects:
    """Lives of defects: one row each.

    - `first`, `end` [D]: frames from which and until which it was known. `born`, `died`
      [D]: by a Frenkel event; otherwise the run began, or ended.
    """

    replica: Int[np.ndarray, " defects"]
    number: Int[np.ndarray, " defects"]
    sign: Int[np.ndarray, " defects"]
    first: Int[np.ndarray, " defects"]
    end: Int[np.ndarray, " defects"]
    born: Bool[np.ndarray, " defects"]
    died: Bool[np.ndarray, " defects"]


def read_history(
    supercell: Supercell,
    initial_site: Int[np.ndarray, "replicas mobile 3"],
    changes: Changes,
    n_frames: Int[np.ndarray, " replicas"],
) -> tuple[Events, Defects, dict[str, Int[np.ndarray, " replicas"]]]:
    """Events, defects and counts of frames (`defects.FrameCounts`, by name).

    - `initial_site`, a/4: of each cation before frame 0.
    - `n_frames`: observed, or to be used: what comes later is left out.
    """
    histories = []
    for replica, site in enumerate(initial_site):
        history = DefectHistory(supercell, site)
        mine = (changes.replica == replica) & (changes.frame < n_frames[replica])
        frame, start = np.unique(changes.frame[mine], return_index=True)
        cations, sites = changes.cation[mine].tolist(), changes.site[mine].tolist()
        end = np.append(start[1:], len(cations))[: len(start)]
        for f, i, j in zip(frame.tolist(), start.tolist(), end.tolist(), strict=True):
            history.change(
                f,
                [
                    (c, (x, y, z))
                    for c, (x, y, z) in zip(cations[i:j], sites[i:j], strict=True)
                ],
            )
        history.finish(int(n_frames[replica]))
        histories.append(history)
    counts = {
        field.name: np.array([getattr(h.counts, field.name) for h in histories], np.int64)
        for field in dataclasses.fields(FrameCounts)
    }
    return _events(histories), _defects(histories, n_frames), counts


def _events(histories: Sequence[DefectHistory]) -> Events:
    rows, moves = [], []
    for replica, history in enumerate(histories):
        for event in history.events:
            sign = history.defects[event.defect].sign if event.defect >= 0 else 0
            steps = sum(x * x + y * y + z * z for _, (x, y, z) in event.moves)
            moves += [(len(rows), cation, *step) for cation, step in event.moves]
            rows.append(
                (
                    *(replica, event.frame, event.kind, event.defect, sign),
                    *(*event.start, *event.end, len(event.moves), steps),
                )
            )
    row = np.array(rows, np.int64).reshape(-1, 13)
    move = np.array(moves, np.int64).reshape(-1, 5)
    return Events(
        *row[:, :5].T,
        start=row[:, 5:8],
        end=row[:, 8:11],
        n_moved=row[:, 11],
        squared_steps=row[:, 12],
        move_event=move[:, 0],
        move_cation=move[:, 1],
        move_step=move[:, 2:],
    )


def _defects(histories: Sequence[DefectHistory], n_frames: np.ndarray) -> Defects:
    rows = [
        (
            *(replica, d.number, d.sign, d.first),
            *(n_frames[replica] if d.end is None else d.end, d.born, d.end is not None),
        )
        for replica, history in enumerate(histories)
        for d in history.defects
    ]
    row = np.array(rows, np.int64).reshape(-1, 7)
    *times, born, died = row.T
    return Defects(*times, born=born.astype(bool), died=died.astype(bool))
