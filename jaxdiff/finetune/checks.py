"""What is looked at before the first step: labels that cannot be meant."""

import collections
from collections.abc import Iterator, Sequence

import numpy as np

from jaxdiff.finetune.frames import Frame, shared_frames

NET_FORCE = 0.02  # eV/Å per atom; codes that compute forces leave well under 0.005
TYPICAL_STRESS = 1.0  # eV/Å^3 = 160 GPa, of the median frame
ENERGY_OFFSET = 1.0  # eV/atom, of a starting model
BINDING = 20.0  # eV/atom; the strongest solids bind with 9
TREND = 0.5  # correlation of stress and volume from which the sign is judged
_LISTED = 5


class ImplausibleData(ValueError):
    """Labels that are most likely wrong; `kind` is the word that lets them pass."""

    def __init__(self, kind: str, message: str) -> None:
        """With what to do."""
        super().__init__(f'{message} If they are meant, set data.allow = ["{kind}"].')
        self.kind = kind


def check_splits(train: Sequence[Frame], others: dict[str, Sequence[Frame]]) -> None:
    """No frame stands in the training set and another."""
    for name, frames in others.items():
        shared = shared_frames(train, frames)
        if shared:
            listed = "; ".join(shared[:_LISTED]) + ("; …" if len(shared) > _LISTED else "")
            raise ImplausibleData(
                "shared_frames",
                f"{len(shared)} frames stand both in the training and the {name} set "
                f"({listed}); remove them from one.",
            )


def check_forces(frames: Sequence[Frame]) -> None:
    """Forces of a periodic cell add up to zero."""
    net = {
        f.source: float(np.linalg.norm(f.forces.sum(axis=0)) / f.n_atoms)
        for f in frames
        if f.forces is not None
    }
    wrong = [name for name, size in net.items() if size > NET_FORCE]
    if wrong:
        raise ImplausibleData(
            "net_force",
            f"{len(wrong)} of {len(net)} frames have forces that do not add up to zero, "
            f"first {wrong[0]}, {net[wrong[0]]:.3g} eV/Å per atom; up to {NET_FORCE} is "
            "taken as rounding. Look at the unit, and at columns of a file.",
        )


def check_stress(frames: Sequence[Frame]) -> None:
    """Stress in eV/Å^3, positive under tension, by its size and its trend with volume."""
    stressed = [f for f in frames if f.stress is not None]
    if not stressed:
        return
    sizes = [float(np.abs(f.stress).max()) for f in stressed if f.stress is not None]
    typical = float(np.median(sizes))
    if typical > TYPICAL_STRESS:
        raise ImplausibleData(
            "stress",
            f"half of the frames have a stress above {typical:.3g} eV/Å^3 = "
            f"{160.2 * typical:.3g} GPa; labels must be in eV/Å^3 (1 GPa = 0.00624, "
            "1 kbar = 0.000624).",
        )
    for volume, trace in _of_composition(stressed):
        spread = np.std(volume) / np.mean(volume)
        if len(volume) < 10 or spread < 0.01 or np.std(trace) == 0:
            continue
        trend = float(np.corrcoef(volume, trace)[0, 1])
        if trend < -TREND:
            raise ImplausibleData(
                "stress",
                f"the stress of {len(volume)} frames falls with their volume (correlation "
                f"{trend:.2f}): its sign is that of a pressure. Labels must be positive "
                "under tension, as ASE's.",
            )


def _of_composition(frames: Sequence[Frame]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Volume per atom and trace of the stress, of frames with the same species in them."""
    groups = collections.defaultdict(list)
    for frame in frames:
        groups[tuple(np.unique(frame.atomic_number))].append(frame)
    for members in groups.values():
        yield (
            np.array([f.volume / f.n_atoms for f in members]),
            np.array([np.trace(f.stress) for f in members]),
        )


def check_binding(per_atom: np.ndarray, source: str) -> None:
    """Labels without the isolated atoms, eV/atom: how strongly the atoms are bound."""
    size = float(np.median(np.abs(per_atom)))
    if size > BINDING:
        raise ImplausibleData(
            "energy_offset",
            f"after subtracting the isolated atoms ({source}) the energies are "
            f"{np.median(per_atom):.4g} eV/atom; no solid is bound by {BINDING:.0f}. "
            "Give isolated-atom energies of the same method as the labels, or "
            '"estimated", or "average".',
        )


def check_offset(errors: np.ndarray, source: str) -> None:
    """Energy errors of the starting model, eV/atom: the two must mean the same energies."""
    mean = float(np.mean(errors))
    if abs(mean) > ENERGY_OFFSET:
        raise ImplausibleData(
            "energy_offset",
            f"before training the model is {mean:.3g} eV/atom off on the labels; isolated "
            f"atoms are taken from {source}. These belong to another method or code: set "
            'data.isolated_atom_ev = "estimated".',
        )
