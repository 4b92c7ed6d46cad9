"""What is looked at before the first step: labels that cannot be meant."""

import collections
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jaxdiff.io.frame import Frame
from jaxdiff.io.repeats import shared_frames

NET_FORCE = 0.02  # eV/Å per atom; codes that compute forces leave well under 0.005
TYPICAL_STRESS = 1.0  # eV/Å^3 = 160 GPa, of the median frame
ENERGY_OFFSET = 1.0  # eV/atom, of a starting model
BINDING = 20.0  # eV/atom; the strongest solids bind with 9
TREND = 0.5  # correlation of stress and volume from which the sign is judged
SIZES = 0.1  # relative spread of numbers of atoms from which energies must grow
_LISTED = 5


class ImplausibleData(ValueError):
    """Labels that are most likely wrong; `kind` is the word that lets them pass."""

    def __init__(self, kind: str, message: str) -> None:
        """With what to do."""
        super().__init__(f'{message} If they are meant, set data.allow = ["{kind}"].')
        self.kind = kind


def check_splits(train: Sequence[Frame], others: Mapping[str, Sequence[Frame]]) -> None:
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
    """Forces of the frames of one file add up to zero."""
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
    """Stress of one file: eV/Å^3, positive under tension; by size and trend with volume."""
    stressed = [f for f in frames if f.stress is not None]
    if not stressed:
        return
    sizes = [float(np.abs(f.stress).max()) for f in stressed if f.stress is not None]
    typical = float(np.median(sizes))
    if typical > TYPICAL_STRESS:
        raise ImplausibleData(
            "stress",
            f"{frames[0].file}: half of the frames have a stress above {typical:.3g} "
            f"eV/Å^3 = {160.2 * typical:.3g} GPa; labels must be in eV/Å^3 "
            "(1 GPa = 0.00624, 1 kbar = 0.000624).",
        )
    for volume, trace in _of_composition(stressed):
        spread = np.std(volume) / np.mean(volume)
        if len(volume) < 10 or spread < 0.01 or np.std(trace) == 0:
            continue
        trend = float(np.corrcoef(volume, trace)[0, 1])
        if trend < -TREND:
            raise ImplausibleData(
                "stress",
                f"{frames[0].file}: the stress of {len(volume)} frames falls with their "
                f"volume (correlation {trend:.2f}): its sign is that of a pressure. Labels "
                "must be positive under tension, as ASE's.",
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


def check_extensive(frames: Sequence[Frame]) -> None:
    """Energies of one file grow with the number of atoms: they are not per atom."""
    groups = collections.defaultdict(list)
    for frame in (f for f in frames if f.energy is not None):
        numbers, count = np.unique(frame.atomic_number, return_counts=True)
        reduced = count // np.gcd.reduce(count)
        groups[*numbers.tolist(), *reduced.tolist()].append((frame.energy, frame.n_atoms))
    wrong, right = [], 0
    for members in groups.values():
        energy, n_atoms = np.array(members, float).T
        sizes, of_all, per_atom = map(_spread, (n_atoms, energy, energy / n_atoms))
        if sizes < SIZES:
            continue
        if of_all < sizes / 5 and per_atom > sizes / 2:
            wrong += n_atoms.tolist()
        else:
            right += len(members)
    if len(wrong) > right:
        raise ImplausibleData(
            "energy_offset",
            f"{frames[0].file}: the energies of frames of {min(wrong):.0f} and of "
            f"{max(wrong):.0f} atoms of one composition are nearly the same: they are "
            "per atom. Multiply them by the numbers of atoms.",
        )


def _spread(values: np.ndarray) -> float:
    return float(np.std(values) / np.abs(np.mean(values)))


def check_binding(
    per_atom: np.ndarray, source: str, section: str = "data", hint: str = ""
) -> None:
    """Labels without the isolated atoms, eV/atom: how strongly the atoms are bound."""
    worst = float(per_atom[np.argmax(np.abs(per_atom))])
    if abs(worst) > BINDING:
        raise ImplausibleData(
            "energy_offset",
            f"after subtracting the isolated atoms ({source}) the energies are "
            f"{worst:.4g} eV/atom at the worst; no solid is bound by {BINDING:.0f}. "
            + (
                hint
                or f"Give {section}.isolated_atom_ev of the same method as the labels, or "
                '"estimated", or "average".'
            ),
        )


def check_offset(
    errors: np.ndarray, source: str, section: str = "data", hint: str = ""
) -> None:
    """Energy errors of the starting model, eV/atom: the two must mean the same energies."""
    mean = float(np.mean(errors))
    if abs(mean) > ENERGY_OFFSET:
        raise ImplausibleData(
            "energy_offset",
            f"before training the model is {mean:.3g} eV/atom off on the labels; isolated "
            f"atoms are taken from {source}. "
            + (
                hint
                or "These belong to another method or code: set "
                f'{section}.isolated_atom_ev = "estimated".'
            ),
        )
