"""All checks before the first step: each file by itself, and beside the starting model."""

import collections
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from jaxdiff.finetune import agreement, checks, label_units
from jaxdiff.finetune.errors import predictions
from jaxdiff.io.frame import Frame
from jaxdiff.models.contract import Model

BESIDE = 48
"""Frames of a file that are set beside the starting model, spread over the file."""

_TYPICAL_BINDING = -4.0  # eV/atom, where no model says better
_FITS = 5.0  # eV/atom that a unit may leave of it
_FITS_START = 0.2  # the same, of the binding that the starting model says


@dataclasses.dataclass(frozen=True)
class Labels:
    """Frames of one set, and the isolated atoms, eV by atomic number, in their energies.

    `source` says how these were found, `section` which of the run file has the frames.
    """

    frames: Sequence[Frame]
    isolated: Mapping[int, float]
    source: str
    section: str = "data"


def inspect(sets: Sequence[Labels], start: Model | None, allow: Collection[str]) -> None:
    """Refuse labels that cannot be meant (`checks.ImplausibleData`), file by file."""
    files = [
        dataclasses.replace(labels, frames=frames)
        for labels in sets
        for frames in _by_file(labels.frames)
    ]
    for labels in files:
        frames = labels.frames
        _run("net_force", allow, checks.check_forces, frames)
        _run("stress", allow, checks.check_stress, frames)
        _run("energy_offset", allow, checks.check_extensive, frames)
    if start is None:
        for labels in files:
            _run("energy_offset", allow, _check_energies, labels, None, {})
        return
    chosen = [dataclasses.replace(f, frames=_spread(f.frames)) for f in files]
    # in one pass: few shapes, each of which compiles once
    found = iter(
        predictions(start, [frame for labels in chosen for frame in labels.frames])
    )
    shift = start.isolated_of(0)
    for labels in chosen:
        predicted = [next(found) for _ in labels.frames]
        _run("forces", allow, agreement.check_forces_agree, labels.frames, predicted)
        _run("stress", allow, agreement.check_stress_agrees, labels.frames, predicted)
        _run("energy_offset", allow, _check_energies, labels, predicted, shift)
        _run(
            "energy_offset", allow, agreement.check_energies_agree, labels.frames, predicted
        )


def _run(kind: str, allow: Collection[str], check: Callable[..., None], *given) -> None:
    if kind not in allow:
        check(*given)


def _by_file(frames: Sequence[Frame]) -> list[list[Frame]]:
    groups = collections.defaultdict(list)
    for frame in frames:
        groups[frame.file].append(frame)
    return list(groups.values())


def _spread(frames: Sequence[Frame]) -> list[Frame]:
    """At most BESIDE of them, evenly."""
    chosen = np.linspace(0, len(frames) - 1, min(BESIDE, len(frames))).round().astype(int)
    return [frames[k] for k in chosen]


def _check_energies(
    labels: Labels, predicted: Sequence[Frame] | None, shift: Mapping[int, float]
) -> None:
    """Energies without the isolated atoms: as of a solid, and as the start says, if any."""
    known = [k for k, frame in enumerate(labels.frames) if frame.energy is not None]
    if not known:
        return
    frames = [labels.frames[k] for k in known]
    n_atoms = np.array([float(frame.n_atoms) for frame in frames])
    energy = np.array([frame.energy for frame in frames], float)
    isolated = _of_atoms(frames, labels.isolated)
    wanted = _TYPICAL_BINDING * n_atoms
    if predicted is not None:
        found = np.array([predicted[k].energy for k in known], float)
        wanted = found - _of_atoms(frames, shift)
    bound = energy - isolated
    where = f"{frames[0].file}: {labels.source}"
    if predicted is None:
        hint = _hint(energy, isolated + wanted, n_atoms, _FITS)
        checks.check_binding(bound / n_atoms, where, labels.section, hint)
        return
    fits = _FITS_START * float(np.median(np.abs(wanted / n_atoms)))
    hint = _hint(energy, isolated + wanted, n_atoms, fits)
    hint = hint or _hint(bound, wanted, n_atoms, fits)
    checks.check_binding(bound / n_atoms, where, labels.section, hint)
    checks.check_offset((wanted - bound) / n_atoms, where, labels.section, hint)


def _of_atoms(frames: Sequence[Frame], energies: Mapping[int, float]) -> np.ndarray:
    return np.array([sum(energies[int(z)] for z in f.atomic_number) for f in frames])


def _hint(
    energy: np.ndarray, expected: np.ndarray, n_atoms: np.ndarray, fits: float
) -> str:
    """A sentence with the unit in which energies would be those expected, eV, if any."""
    factors = {**label_units.ENERGY, "eV per atom": 1 / n_atoms}
    left = {
        name: float(np.median(np.abs(energy / factor - expected) / n_atoms))
        for name, factor in factors.items()
    }
    best = min(left, key=lambda name: left[name])
    as_is = float(np.median(np.abs(energy - expected) / n_atoms))
    if left[best] > min(fits, as_is / 5):
        return ""
    return f"They fit if they are in {best}: convert the labels to eV of all atoms."
