"""Has the equilibration of a replica been seen to end?"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from jaxdiff import units

FEWEST_ROWS = 8
"""Rows of a replica from which an end can be seen."""


@dataclasses.dataclass(frozen=True)
class Settling:
    """How long each replica was equilibrated, and when its energy had settled.

    - `record_ps` [R]: length of the record; 0 where there are fewer than `FEWEST_ROWS`.
    - `settled_ps` [R]: when the energy first reached its later mean; not a number where
      there is no record.
    """

    record_ps: Float[np.ndarray, " replicas"]
    settled_ps: Float[np.ndarray, " replicas"]

    @property
    def has_settled(self) -> Bool[np.ndarray, " replicas"]:
        """Which replicas had settled by the middle of their record."""
        return self.settled_ps <= self.record_ps / 2


def settling(
    time_ps: Float[np.ndarray, " rows"],
    kinetic_temperature: Float[np.ndarray, "replicas rows"],
    potential_energy: Float[np.ndarray, "replicas rows"],
    n_atoms: int,
) -> Settling:
    """When the energy of each replica first reached the mean of the second half.

    Kinetic and potential energy together, for they exchange faster than the bath gives. An
    energy that is still on its way has a later mean beyond all of the first half, and a
    steady one crosses its mean within some correlation times. Of replicas that start as an
    ideal crystal, and relax as exp(-t/τ), 1 % seem to have settled after 2 τ, two thirds
    after 8 τ, 99 % after 20 τ (`benchmarks/power.py`). Each replica is judged by its own
    rows alone.

    - `time_ps` from the start of the equilibration; `kinetic_temperature`, K;
      `potential_energy`, eV; not numbers in rows that a replica does not have.
    """
    energy = 1.5 * (n_atoms - 1) * units.KB * kinetic_temperature + potential_energy
    record, settled = np.zeros(len(energy)), np.full(len(energy), np.nan)
    for r, trace in enumerate(energy):
        seen = np.isfinite(trace)
        if seen.sum() >= FEWEST_ROWS:
            time, away = time_ps[seen], trace[seen]
            away = away - away[len(away) // 2 :].mean()
            record[r], settled[r] = time[-1], time[np.argmax(away * away[0] <= 0)]
    return Settling(record, settled)
