"""Frames of one geometry: labels that agree become one frame, others are refused."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxdiff.io.frame import Frame
from jaxdiff.io.geometry import SAME, first_of_geometry

SAME_ENERGY, SAME_FORCES, SAME_STRESS = 5e-4, 0.01, 5e-4
"""eV/atom, eV/Å, eV/Å^3: what one method leaves between two runs of it."""

_LISTED = 5


def difference(one: Frame, other: Frame) -> str:
    """How the labels of one geometry differ, in words; empty where they agree."""
    found = []
    if one.energy is not None and other.energy is not None:
        apart = other.energy - one.energy
        if abs(apart) > SAME_ENERGY * one.n_atoms:
            found.append(f"energy {apart:+.4g} eV")
    # of atoms in another order the sizes are compared
    for kind, limit, unit in (
        ("forces", SAME_FORCES, "eV/Å"),
        ("stress", SAME_STRESS, "eV/Å^3"),
    ):
        a, b = getattr(one, kind), getattr(other, kind)
        if a is None or b is None:
            continue
        apart = float(np.abs(b - a).max())
        if kind == "forces" and not _same_order(one, other):
            sizes = [np.sort(np.linalg.norm(x, axis=1)) for x in (a, b)]
            apart = float(np.abs(sizes[1] - sizes[0]).max())
        if apart > limit:
            found.append(f"{kind} up to {apart:.3g} {unit}")
    return ", ".join(found)


def _same_order(one: Frame, other: Frame) -> bool:
    return np.allclose(one.position, other.position, rtol=0, atol=SAME)


def refuse_contradictions(frames: Sequence[Frame], first: Sequence[int]) -> None:
    """`ValueError` where frames of one geometry have different labels."""
    wrong = [
        (frames[k], frames[f], words)
        for k, f in enumerate(first)
        if f != k and (words := difference(frames[f], frames[k]))
    ]
    if wrong:
        other, one, words = wrong[0]
        raise ValueError(
            f"{len(frames)} frames were read, and {len(wrong)} have the geometry of an "
            f"earlier one with other labels, first {other.source} against {one.source} "
            f"({words}); keep the labels of one method, or mark frames with head=NAME and "
            "set data.head."
        )


def joined(frames: Sequence[Frame], first: Sequence[int]) -> list[Frame]:
    """Each geometry once, with the labels that any of its frames has.

    Forces of atoms in another order are no label of this one: such a frame stays.
    """
    kept = {k: frames[k] for k, f in enumerate(first) if f == k}
    for k, f in enumerate(first):
        if f == k:
            continue
        more = {
            kind: value
            for kind in ("energy", "forces", "stress")
            if getattr(kept[f], kind) is None
            and (value := getattr(frames[k], kind)) is not None
        }
        if "forces" in more and not _same_order(kept[f], frames[k]):
            kept[k] = frames[k]
        else:
            kept[f] = dataclasses.replace(kept[f], **more)
    return [kept[k] for k in sorted(kept)]


def shared_frames(first: Sequence[Frame], second: Sequence[Frame]) -> list[str]:
    """Where frames stand that are in both sets: a split that leaks."""
    both = [*first, *second]
    found = first_of_geometry(both)
    return [
        f"{both[f].source} = {both[k].source}"
        for k, f in enumerate(found)
        if k >= len(first) > f
    ]
