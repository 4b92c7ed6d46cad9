"""Changes of site to tables of events and defects, over all replicas."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.defects import DefectHistory, FrameCounts
from jaxdiff.lattice.jumps import squared
from jaxdiff.lattice.supercell import Supercell


@dataclasses.dataclass(frozen=True)
class Changes:
    """Changes of site of all replicas, as they were logged; C of them.

    - `replica`, `frame`, `cation` [C]; `site` [C, 4]: the new one, (index, image). In order
      of time within a replica.
    """

    replica: Int[np.ndarray, " changes"]
    frame: Int[np.ndarray, " changes"]
    cation: Int[np.ndarray, " changes"]
    site: Int[np.ndarray, "changes 4"]


@dataclasses.dataclass(frozen=True)
class Events:
    """Events of all replicas, in order of time within a replica.

    - `replica`, `frame`, `kind`, `defect`, `sign` [E]: see `defects.Event`; `sign` of the
      defect, 0 for an exchange. `is_hop` [E]: a defect moved.
    - `start`, `end` [E, 3], network units: the path of the defect.
    - `n_moved` [E]: cations; `squared_steps` [E], network units: summed over them.
    - `move_event`, `move_cation` [K], `move_step` [K, 3], network units: each cation that
      moved.
    """

    replica: Int[np.ndarray, " events"]
    frame: Int[np.ndarray, " events"]
    kind: Int[np.ndarray, " events"]
    defect: Int[np.ndarray, " events"]
    sign: Int[np.ndarray, " events"]
    is_hop: Bool[np.ndarray, " events"]
    start: Float[np.ndarray, "events 3"]
    end: Float[np.ndarray, "events 3"]
    n_moved: Int[np.ndarray, " events"]
    squared_steps: Float[np.ndarray, " events"]
    move_event: Int[np.ndarray, " moves"]
    move_cation: Int[np.ndarray, " moves"]
    move_step: Float[np.ndarray, "moves 3"]

    @property
    def jump(self) -> Float[np.ndarray, "events 3"]:
        """Jumps of the defects, network units."""
        return self.end - self.start

    @property
    def squared_jump(self) -> Float[np.ndarray, " events"]:
        """Their squares."""
        return (self.jump**2).sum(axis=1)

    def hops(self, sign: int) -> Bool[np.ndarray, " events"]:
        """Which events are hops of defects of one sign."""
        return self.is_hop & (self.sign == sign)


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
    initial_site: Int[np.ndarray, "replicas mobile 4"],
    changes: Changes,
    n_frames: Int[np.ndarray, " replicas"],
) -> tuple[Events, Defects, dict[str, Int[np.ndarray, " replicas"]]]:
    """Events, defects and counts of frames (`defects.FrameCounts`, by name).

    - `initial_site`: of each cation before frame 0, (index, image).
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
            arrivals = zip(cations[i:j], map(tuple, sites[i:j]), strict=True)
            history.change(f, arrivals)
        history.finish(int(n_frames[replica]))
        histories.append(history)
    counts = {
        field.name: np.array([getattr(h.counts, field.name) for h in histories], np.int64)
        for field in dataclasses.fields(FrameCounts)
    }
    return _events(supercell, histories), _defects(histories, n_frames), counts


def _events(supercell: Supercell, histories: Sequence[DefectHistory]) -> Events:
    rows, paths, moves, steps = [], [], [], []
    for replica, history in enumerate(histories):
        for event in history.events:
            sign = history.defects[event.defect].sign if event.defect >= 0 else 0
            moves += [(len(rows), cation) for cation, _ in event.moves]
            steps += [step for _, step in event.moves]
            rows.append(
                (
                    *(replica, event.frame, event.kind, event.defect, sign),
                    len(event.moves),
                )
            )
            square = sum(squared(step) for _, step in event.moves)
            paths.append((*event.start, *event.end, square))
    row, move = (
        np.array(table, np.int64).reshape(-1, n) for table, n in ((rows, 6), (moves, 2))
    )
    path = np.array(paths, float).reshape(-1, 7)
    return Events(
        *row[:, :5].T,
        is_hop=row[:, 2] < supercell.network.n_hop_classes,
        start=path[:, :3],
        end=path[:, 3:6],
        n_moved=row[:, 5],
        squared_steps=path[:, 6],
        move_event=move[:, 0],
        move_cation=move[:, 1],
        move_step=np.array(steps, float).reshape(-1, 3),
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
