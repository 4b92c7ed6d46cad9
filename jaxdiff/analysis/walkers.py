"""The defects of a run as walkers: when they were followed, when and how they hopped."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.memory import Memory, defect_memory
from jaxdiff.analysis.residence import Residences, residences
from jaxdiff.analysis.series import Series


@dataclasses.dataclass(frozen=True)
class Walkers:
    """W defects of the sign of a run and their H hops, sorted by replica and by time.

    - `replica`, `number` [W]: of each defect. `temperature` [W], K. `start`, `stop` [W],
      ps: followed from and to.
    - `time` [H], ps, `walker` [H], `event` [H]: row in `Series.events`; `jump` [H, 3], Å.
    - `cation` [H, M]: those that moved, -1 where fewer did; `step` [H, M, 3], Å.
    """

    replica: Int[np.ndarray, " walkers"]
    number: Int[np.ndarray, " walkers"]
    temperature: Float[np.ndarray, " walkers"]
    start: Float[np.ndarray, " walkers"]
    stop: Float[np.ndarray, " walkers"]
    time: Float[np.ndarray, " hops"]
    walker: Int[np.ndarray, " hops"]
    event: Int[np.ndarray, " hops"]
    jump: Float[np.ndarray, "hops 3"]
    cation: Int[np.ndarray, "hops moved"]
    step: Float[np.ndarray, "hops moved 3"]

    @property
    def hop_replica(self) -> Int[np.ndarray, " hops"]:
        """Replica of each hop."""
        return self.replica[self.walker]

    def select(self, replica: Bool[np.ndarray, " replicas"]) -> "Walkers":
        """The walkers of some replicas, renumbered; replicas keep their numbers."""
        keep = replica[self.replica]
        hop = keep[self.walker]
        new = np.cumsum(keep) - 1
        return Walkers(
            replica=self.replica[keep],
            number=self.number[keep],
            temperature=self.temperature[keep],
            start=self.start[keep],
            stop=self.stop[keep],
            time=self.time[hop],
            walker=new[self.walker[hop]],
            event=self.event[hop],
            jump=self.jump[hop],
            cation=self.cation[hop],
            step=self.step[hop],
        )

    def residences(self) -> Residences:
        """Times between hops; `replica` there is the walker."""
        return residences(self.time, self.walker, self.start, self.stop)

    def memory(self) -> Memory | None:
        """Correlation of the jumps of each defect; None where hops are too few."""
        order = np.lexsort((self.time, self.walker))
        return defect_memory(self.jump[order], self.residences())


def follow(series: Series) -> Walkers:
    """All defects of the sign that the composition makes, and their hops."""
    events, defects = series.events, series.defects
    mine = np.flatnonzero((defects.sign == series.sign) & (defects.end > defects.first))
    row = {
        (r, n): i
        for i, (r, n) in enumerate(
            zip(defects.replica[mine].tolist(), defects.number[mine].tolist(), strict=True)
        )
    }
    event = np.flatnonzero(events.hops(series.sign))
    pairs = zip(events.replica[event].tolist(), events.defect[event].tolist(), strict=True)
    cation, step = _moves(series)
    angstrom = series.event_unit[event]
    return Walkers(
        replica=defects.replica[mine],
        number=defects.number[mine],
        temperature=series.temperature[defects.replica[mine]],
        start=defects.first[mine] * series.frame_ps,
        stop=defects.end[mine] * series.frame_ps,
        time=events.frame[event] * series.frame_ps,
        walker=np.array([row[pair] for pair in pairs], int),
        event=event,
        jump=events.jump[event] * angstrom[:, None],
        cation=cation[event],
        step=step[event] * angstrom[:, None, None],
    )


def _moves(
    series: Series,
) -> tuple[Int[np.ndarray, "events moved"], Float[np.ndarray, "events moved 3"]]:
    """Cations moved by each event, padded with -1, and their steps, network units."""
    events = series.events
    shape = (len(events.kind), max(1, int(events.n_moved.max(initial=1))))
    cation, step = np.full(shape, -1), np.zeros((*shape, 3))
    first = np.searchsorted(events.move_event, events.move_event, side="left")
    column = np.arange(len(first)) - first
    cation[events.move_event, column] = events.move_cation
    step[events.move_event, column] = events.move_step
    return cation, step
