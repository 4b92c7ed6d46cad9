"""Frames of a run in which a cation is halfway between two sites, and all others kept."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from jaxdiff.analysis.series import load_series
from jaxdiff.analysis.traces import open_series


@dataclasses.dataclass(frozen=True)
class Ensembles:
    """What `jaxdiff.objectives.transition` averages over, of one temperature.

    - `transition` [crossings, N, 3], `reactant` [frames, N, 3], Å, in the order of replicas
      and then of time. `temperature`, K.
    """

    temperature: float
    transition: Float[np.ndarray, "crossings atoms 3"]
    reactant: Float[np.ndarray, "frames atoms 3"]


def load_ensembles(folder: str | Path) -> list[Ensembles]:
    """Of a run's folder, by temperature; frames after a replica stopped are left out.

    Raises ValueError where the run kept no crossings, or no other positions.
    """
    path = Path(folder) / "series.h5"
    series = load_series(path)
    with open_series(path) as file:
        replica: Int[np.ndarray, " n"] = np.asarray(file["crossings/replica"])
        crossing = np.asarray(file["crossings/position"])
    if not (len(crossing) and series.position.shape[1]):
        raise ValueError(
            f"{folder} has {len(crossing)} frames at crossings and "
            f"{series.position.shape[1]} others of each replica; run with "
            "hops.crossings_per_chunk = 8 and output.positions_every_ps = 0.2."
        )
    found = []
    for temperature in np.unique(series.temperature):
        mine = np.flatnonzero(series.temperature == temperature)
        kept = [series.position[k, : series.n_kept[k]] for k in mine]
        found.append(
            Ensembles(
                float(temperature),
                crossing[np.isin(replica, mine)],
                np.concatenate(kept),
            )
        )
    return found
