"""Energies of isolated atoms: what is subtracted from labels before anything is learnt."""

import dataclasses
from collections.abc import Mapping, Sequence

import ase.data
import numpy as np

from jaxdiff.finetune.batches import composition, make_plan
from jaxdiff.finetune.errors import frame_errors, graphs_of
from jaxdiff.finetune.frames import Frame
from jaxdiff.models.architecture import Mace

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
    foundation: Mace | None = None,
    head: int = 0,
) -> AtomicEnergies:
    """The isolated-atom energies of one head, in float64.

    - `choice`: energies by symbol; "average", the least-squares fit of the labels to the
      composition; "foundation", those of the starting model; "estimated", these plus the
      fit of what the starting model leaves; None, those of `isolated`.
    - `isolated`: energies of isolated-atom frames, eV, by atomic number.
    - `numbers`: the species, in the order of the result; those of `frames`, or more.
    - `foundation`: the starting model, which may know others besides.
    """
    if choice is None:
        return _given(
            {_symbol(z): e for z, e in isolated.items()}, numbers, "isolated atoms"
        )
    if isinstance(choice, Mapping):
        return _given(choice, numbers, "the run file")
    if choice not in CHOICES:
        raise ValueError(
            f"isolated_atom_ev = {choice!r}; give energies by symbol, or one of "
            f"{', '.join(CHOICES)}."
        )
    if choice == "average":
        labelled = [frame for frame in frames if frame.energy is not None]
        count = _counts(labelled, numbers)
        energy = np.array([frame.energy for frame in labelled])
        values, caution = _fit(count, energy, numbers)
        return AtomicEnergies(values, "the average of the labels", caution)
    if foundation is None:
        raise ValueError(
            f"isolated_atom_ev = {choice!r} needs a starting model; from scratch give "
            'energies by symbol, or "average".'
        )
    known = foundation.architecture.atomic_numbers
    start = np.asarray(foundation.constants["atomic_energies"], np.float64)[head]
    wanted = [known.index(z) for z in numbers]
    if choice == "foundation":
        return AtomicEnergies(start[wanted], "the starting model")
    labelled = [frame for frame in frames if frame.energy is not None]
    graphs = graphs_of(foundation, labelled, head)
    found = frame_errors(foundation, graphs, make_plan(graphs, batch_size=4))["energy"]
    count = composition(graphs, len(known))
    rest, caution = _fit(count, -found * count.sum(axis=1), known)
    return AtomicEnergies((start + rest)[wanted], "the starting model, refitted", caution)


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
