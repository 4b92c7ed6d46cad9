"""Energies of isolated atoms: what is subtracted from labels before anything is learnt."""

import dataclasses
from collections.abc import Mapping, Sequence

import ase.data
import numpy as np

from jaxdiff.finetune.errors import predictions
from jaxdiff.io.frame import Frame
from jaxdiff.models.contract import Model

CHOICES = ("average", "foundation", "estimated")


@dataclasses.dataclass(frozen=True)
class AtomicEnergies:
    """Energies [species], eV, how they were found, and what a user should know of it."""

    values: np.ndarray
    source: str
    caution: str | None = None


def atomic_energies(
    choice: Mapping[str, float] | str | None,
    frames: Sequence[Frame],
    isolated: Mapping[int, float],
    numbers: Sequence[int],
    foundation: Model | None = None,
    head: int = 0,
) -> AtomicEnergies:
    """The isolated-atom energies of one head, in float64.

    - `choice`: energies by symbol; "average", the least-squares fit of the labels to the
      composition; "foundation", those of the starting model; "estimated", these plus the
      fit of what the starting model leaves; None, those of `isolated`, with a starting
      model plus the same fit.
    - `isolated`: energies of isolated-atom frames, eV, by atomic number.
    - `numbers`: the species, in the order of the result; those of `frames`, or more.
    - `foundation`: the starting model, which may know others besides.
    """
    labelled = [frame for frame in frames if frame.energy is not None]
    if choice is None:
        given = {_symbol(z): e for z, e in isolated.items()}
        found = _given(given, numbers, "isolated atoms")
        if foundation is None or not labelled:
            return found
        return _refitted(found, labelled, numbers, foundation, head)
    if isinstance(choice, Mapping):
        return _given(choice, numbers, "the run file")
    if choice not in CHOICES:
        raise ValueError(
            f"isolated_atom_ev = {choice!r}; give energies by symbol, or one of "
            f"{', '.join(CHOICES)}."
        )
    if choice != "foundation" and not labelled:
        raise ValueError(
            f'data.isolated_atom_ev = "{choice}" is a fit to energies, and no frame has '
            "one; give energies by symbol"
            + ("." if foundation is None else ', or "foundation".')
        )
    if choice == "average":
        return _averaged(labelled, numbers)
    if foundation is None:
        raise ValueError(
            f"isolated_atom_ev = {choice!r} needs a starting model; from scratch give "
            'energies by symbol, or "average".'
        )
    start = AtomicEnergies(_of_start(foundation, numbers, head), "the starting model")
    if choice == "foundation":
        return start
    return _refitted(start, labelled, numbers, foundation, head)


def _averaged(frames: Sequence[Frame], numbers: Sequence[int]) -> AtomicEnergies:
    energy = np.array([frame.energy for frame in frames])
    values, caution = _fit(_counts(frames, numbers), energy, numbers)
    return AtomicEnergies(values, "the average of the labels", caution)


def _of_start(model: Model, numbers: Sequence[int], head: int) -> np.ndarray:
    isolated = model.isolated_of(head)
    return np.array([isolated[z] for z in numbers])


def _refitted(
    found: AtomicEnergies,
    frames: Sequence[Frame],
    numbers: Sequence[int],
    foundation: Model,
    head: int,
) -> AtomicEnergies:
    """With the least change by which the starting model's interaction fits the labels."""
    predicted = predictions(foundation, frames, head=head)
    count = _counts(frames, numbers)
    label, said = (np.array([f.energy for f in fs], float) for fs in (frames, predicted))
    apart = label - said
    apart -= count @ (found.values - _of_start(foundation, numbers, head))
    rest, caution = _fit(count, apart, numbers)
    return AtomicEnergies(found.values + rest, f"{found.source}, refitted", caution)


def _given(energies: Mapping[str, float], numbers, source) -> AtomicEnergies:
    missing = [_symbol(z) for z in numbers if _symbol(z) not in energies]
    if missing:
        raise ValueError(
            f"no isolated-atom energy of {', '.join(missing)}: {source} give "
            f"{sorted(energies) or 'none'}. Set data.isolated_atom_ev to energies by "
            'symbol, to "average", or with a starting model to "estimated" or "foundation".'
        )
    values = np.array([energies[_symbol(z)] for z in numbers], np.float64)
    return AtomicEnergies(values, source)


def _symbol(number: int) -> str:
    return ase.data.chemical_symbols[number]


def _counts(frames: Sequence[Frame], numbers: Sequence[int]) -> np.ndarray:
    return np.array(
        [[np.sum(f.atomic_number == z) for z in numbers] for f in frames], float
    )


def _fit(count: np.ndarray, energy: np.ndarray, numbers) -> tuple[np.ndarray, str | None]:
    """Least squares [species], of minimum norm where the composition does not decide."""
    values, _, rank, _ = np.linalg.lstsq(count, energy, rcond=None)
    present = int(np.sum(count.any(axis=0)))
    if rank >= present:
        return values, None
    names = ", ".join(_symbol(z) for z in np.array(numbers)[count.any(axis=0)])
    return values, (
        f"the compositions of the data decide {rank} of {present} isolated-atom energies "
        f"({names}); of the others the smallest were taken. Energies of frames with these "
        "compositions, and all forces, are not affected; those of others are."
    )
