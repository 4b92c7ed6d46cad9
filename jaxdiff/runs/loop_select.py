"""Which sampled frames are labelled: of the most disputed ones the most different."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from jaxtyping import Float

from jaxdiff.checkpoints import restrict
from jaxdiff.finetune.environments import (
    Around,
    check_committee,
    committee_deviation,
    frame_environments,
)
from jaxdiff.finetune.selection import (
    Environments,
    farthest_points,
    highest_within,
    stack_environments,
)
from jaxdiff.models.contract import Model
from jaxdiff.potential import cast

DISPUTED = 4
"""Most disputed frames that are looked at for each that is chosen."""

QUANTILE = 0.9
"""Of the deviations of sampled frames: the number that decides whether the loop ends."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Frames of one kind: which, how disputed they are, and why.

    - `rows`: numbers of the frames. `why`: a record for each, of plain values.
    """

    rows: list[int]
    why: list[dict[str, Any]]


def deviations(
    models: Sequence[Model], names: Sequence[str], frames: Sequence[ase.Atoms]
) -> Float[np.ndarray, " frames"]:
    """Deviation of the forces of a committee on each frame, at its worst atom, eV/Å."""
    check_committee(models, names)
    small = [_for_frames(model, frames) for model in models]
    return np.array([committee_deviation(small, atoms).force for atoms in frames])


def summary(deviation: Float[np.ndarray, " frames"]) -> dict[str, float]:
    """Median, the value that nine of ten are below, and the largest, eV/Å."""
    return {
        "median": float(np.median(deviation)),
        "nine_of_ten": float(np.quantile(deviation, QUANTILE)),
        "largest": float(deviation.max()),
    }


def choose(
    model: Model,
    frames: Sequence[ase.Atoms],
    deviation: Float[np.ndarray, " frames"],
    known: Sequence[ase.Atoms],
    count: int,
    around: Around,
    highest: float,
) -> Chosen:
    """So many frames, fewer where fewer are there: disputed, far apart, far from `known`.

    Of the `DISPUTED` times `count` frames of the largest deviation, up to `highest`, eV/Å,
    those are taken that farthest-point sampling takes, beginning from all known frames.
    """
    limit = min(DISPUTED * count, len(frames))
    disputed = highest_within(deviation, limit, 0.0, highest).index
    model = cast(_for_frames(model, [*frames, *known]), "float64")
    pool = _described(model, [frames[k] for k in disputed], around)
    given = _described(model, known, around) if known else None
    choice = farthest_points(pool, min(count, len(disputed)), given)
    rows, why = [], []
    for place, distance in zip(choice.index, choice.value, strict=True):
        rows.append(int(disputed[place]))
        why.append(
            {
                "source": str(frames[rows[-1]].info["sample_source"]),
                "deviation_ev_per_angstrom": float(deviation[rows[-1]]),
                "rank_by_deviation": int(place) + 1,
                "of": len(frames),
                "distance": None if np.isnan(distance) else float(distance),
            }
        )
    return Chosen(rows, why)


def _described(model: Model, frames: Sequence[ase.Atoms], around: Around) -> Environments:
    return stack_environments(
        [frame_environments(model, atoms, around)[0] for atoms in frames]
    )


def _for_frames(model: Model, frames: Sequence[ase.Atoms]) -> Model:
    """For the elements of the frames only: restricted once, not for each."""
    present = {int(z) for atoms in frames for z in set(atoms.numbers)}
    known = set(model.species)
    return restrict(model, present & known) if present & known else model
