"""Labels beside what the starting model says of the same frames: wrong signs and units.

A starting model need not be good, only alike: labels that are its predictions times a
factor are another quantity, or in another unit. A factor is judged by how well labels
divided by it agree with the predictions, against the labels as they are: of a whole file,
and, where most of a file agrees, of each frame.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxdiff.finetune import label_units
from jaxdiff.finetune.checks import ImplausibleData
from jaxdiff.io.frame import Frame

FEWEST = 12  # numbers; of fewer no correlation is judged
MANY = 100  # numbers, of which a moderate correlation says something, too
EXPLAINED = 0.6  # relative error that a sign or unit leaves: a correlation of 0.8
OPPOSED = -0.5  # correlation of many numbers that are of the other sign
ALIKE = 0.8  # correlation from which a factor is one, whatever the unit
FACTOR = 3.0  # that no pair of methods has between them, if alike
FAR_OFF = 20.0  # factor between sizes, whatever the correlation
LARGE_FORCES = 1.0  # eV/Å; smaller ones may be those of relaxed cells
NOISE = {"forces": 1e-4, "stress": 1e-6, "energy": 1e-5}  # eV/Å, eV/Å^3, eV/atom

Factors = Mapping[str, float | np.ndarray]
"""What numbers in eV and Å are multiplied by, by name of what they become."""

ODD = 0.3  # relative error that a sign or unit leaves of a single frame
SCATTER = 0.2  # eV/atom; larger ones of labels alone are of several references

_SIGN = "the other sign"
_MEANT = {
    "forces": "labels must be -dE/dx in eV/Å",
    "stress": "labels must be in eV/Å^3, positive under tension as ASE's",
    "energy": "labels must be of all atoms together, in eV",
}


def check_forces_agree(frames: Sequence[Frame], predicted: Sequence[Frame]) -> None:
    """Forces beside predictions, eV/Å, of one file."""
    pairs = [
        (f, f.forces.ravel(), p.forces.ravel())
        for f, p in zip(frames, predicted, strict=True)
        if f.forces is not None and p.forces is not None
    ]
    if not pairs:
        return
    label = np.concatenate([own for _, own, _ in pairs])
    found = np.concatenate([other for _, _, other in pairs])
    factors = _both_signs(label_units.FORCES)
    cause = disagreement(label, found, factors, noise=NOISE["forces"])
    if cause is None:
        _refuse_odd("forces", pairs, [factors] * len(pairs))
    sizes = _size(label), _size(found)
    if cause is None and max(sizes) > LARGE_FORCES and max(sizes) > FAR_OFF * min(sizes):
        cause = (
            f"are {sizes[0]:.3g} eV/Å in size, and those of the starting model "
            f"{sizes[1]:.3g} eV/Å; look at the elements and the unit of the labels, or "
            "start from another model"
        )
    _refuse("forces", cause, frames)


def check_stress_agrees(frames: Sequence[Frame], predicted: Sequence[Frame]) -> None:
    """Stress beside predictions, eV/Å^3, of one file; but for the mean pressure."""
    pairs = [
        (f, f.stress, p.stress)
        for f, p in zip(frames, predicted, strict=True)
        if f.stress is not None and p.stress is not None
    ]
    if not pairs:
        return
    label = np.stack([own for _, own, _ in pairs])
    found = np.stack([other for _, _, other in pairs])
    volume = np.array([frame.volume for frame, _, _ in pairs])[:, None, None]
    groups = _groups([frame for frame, _, _ in pairs])
    cause = disagreement(
        label,
        found,
        _stress_factors(volume),
        lambda s: _stress_signal(s, groups),
        NOISE["stress"],
    )
    if cause is None:
        alone = [np.arange(1)]
        parts = [
            (frame, _stress_signal(own[None], alone), _stress_signal(other[None], alone))
            for frame, own, other in pairs
        ]
        _refuse_odd("stress", parts, [_stress_factors(f.volume) for f, _, _ in pairs])
    _refuse("stress", cause, frames)


def check_energies_agree(frames: Sequence[Frame], predicted: Sequence[Frame]) -> None:
    """Energies beside predictions, eV, of one file; but for what compositions explain."""
    pairs = [
        (f, f.energy, p.energy)
        for f, p in zip(frames, predicted, strict=True)
        if f.energy is not None
    ]
    if not pairs:
        return
    label, found = (np.array([pair[k] for pair in pairs]) for k in (1, 2))
    n_atoms = np.array([float(pair[0].n_atoms) for pair in pairs])
    numbers = sorted({int(z) for pair in pairs for z in pair[0].atomic_number})
    count = np.array(
        [[np.sum(pair[0].atomic_number == z) for z in numbers] for pair in pairs], float
    )
    if len(label) - np.linalg.matrix_rank(count) < FEWEST - 3:
        return
    scatter = [_size(_energy_signal(e, count, n_atoms)) for e in (label, found)]
    cause = disagreement(
        label,
        found,
        {**label_units.ENERGY, "eV per atom, not of all atoms": 1 / n_atoms},
        lambda e: _energy_signal(e, count, n_atoms),
        NOISE["energy"],
    )
    if cause is None and scatter[0] > max(SCATTER, FAR_OFF * scatter[1]):
        cause = (
            f"scatter by {scatter[0]:.3g} eV/atom beyond what compositions explain, and "
            f"the starting model's by {scatter[1]:.3g}: most likely of several methods"
        )
    _refuse("energy", cause, frames)


def disagreement(
    label: np.ndarray,
    predicted: np.ndarray,
    factors: Factors,
    signal: Callable[[np.ndarray], np.ndarray] = np.ravel,
    noise: float = 0.0,
) -> str | None:
    """What labels are of the predictions, in words; None where they are meant alike.

    - `signal`: takes away what labels and predictions need not share, such as an offset.
    - `noise`: size below which predictions say nothing.
    """
    as_is, found = signal(label), signal(predicted)
    if as_is.size < FEWEST or _size(found) <= noise or not np.any(as_is):
        return None
    correlation = float(as_is @ found / np.linalg.norm(as_is) / np.linalg.norm(found))
    slope = _slope(as_is, found)
    left = {name: _error(signal(label / f), found) for name, f in factors.items()}
    fitting = [f for f in left if 0.5 < _slope(signal(label / factors[f]), found) < 2.0]
    best = min(fitting, key=lambda name: left[name], default=None)
    said = (
        f"are those of the starting model times {slope:.3g} (correlation {correlation:.2f})"
    )
    if best and left[best] < EXPLAINED and left[best] < 0.5 * _error(as_is, found):
        return f"{said}: most likely {best}"
    if correlation < OPPOSED and as_is.size >= MANY:
        return f"{said}: most likely {_SIGN}"
    if correlation > ALIKE and not 1 / FACTOR < slope < FACTOR:
        return f"{said}: no unit that is known here, yet no other method either"
    return None


def _refuse_odd(
    kind: str,
    pairs: Sequence[tuple[Frame, np.ndarray, np.ndarray]],
    factors: Sequence[Factors],
) -> None:
    """Refuse single frames that are the predictions times a factor, where others agree."""
    odd, agree = [], []
    for (frame, label, found), known in zip(pairs, factors, strict=True):
        if _size(found) < 10 * NOISE[kind] or found.size < FEWEST / 2:
            continue
        as_is = _error(label, found)
        agree.append(as_is)
        best = min(known, key=lambda name: _error(label / known[name], found))
        if _error(label / known[best], found) < min(ODD, as_is / 4):
            odd.append((frame, best))
    if odd and np.quantile(agree, 0.25) < EXPLAINED:
        cause = f"are most likely {odd[0][1]}, unlike those of other frames"
        _refuse(kind, cause, [frame for frame, _ in odd])


def _stress_factors(volume: np.ndarray | float) -> Factors:
    return {
        **_both_signs(label_units.STRESS),
        "virials in eV, under stress_key": -volume,
        "virials in eV with the sign of a stress, under stress_key": volume,
        "stress in eV/Å^3, under virials_key": -1 / volume,
        "pressure in eV/Å^3, under virials_key": 1 / volume,
    }


def _both_signs(factors: Mapping[str, float]) -> dict[str, float | np.ndarray]:
    return {
        _SIGN: -1.0,
        **factors,
        **{f"{name} with {_SIGN}": -factor for name, factor in factors.items()},
    }


def _slope(label: np.ndarray, predicted: np.ndarray) -> float:
    return float(label @ predicted / (predicted @ predicted))


def _error(label: np.ndarray, predicted: np.ndarray) -> float:
    return _size(label - predicted) / _size(predicted)


def _size(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _groups(frames: Sequence[Frame]) -> list[np.ndarray]:
    """Numbers of the frames of each composition."""
    kinds = [np.sort(frame.atomic_number).tobytes() for frame in frames]
    return [np.flatnonzero([kind == one for kind in kinds]) for one in dict.fromkeys(kinds)]


def _stress_signal(stress: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Six components of each frame, without the mean pressure of its composition."""
    moved = stress.copy()
    for members in groups:
        pressure = np.trace(stress[members], axis1=1, axis2=2).mean() / 3
        moved[members] -= pressure * np.eye(3)
    return moved[:, *np.triu_indices(3)].ravel()


def _energy_signal(
    energy: np.ndarray, count: np.ndarray, n_atoms: np.ndarray
) -> np.ndarray:
    """What is left of energies, eV/atom, after the best energies of the elements."""
    values = np.linalg.lstsq(count, energy, rcond=None)[0]
    return (energy - count @ values) / n_atoms


def _refuse(kind: str, cause: str | None, frames: Sequence[Frame]) -> None:
    if cause is None:
        return
    raise ImplausibleData(
        "energy_offset" if kind == "energy" else kind,
        f"{frames[0].file}: the {kind} labels of {len(frames)} frames, first "
        f"{frames[0].source}, {cause}; {_MEANT[kind]}.",
    )
