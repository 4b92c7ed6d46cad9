"""Which frames have the same geometry: atoms in any order, moved by lattice vectors.

Frames of another charge or multiplicity are others.
"""

import collections
from collections.abc import Sequence

import numpy as np
from ase.geometry import complete_cell
from scipy.spatial import KDTree

from jaxdiff.io.frame import Frame

SAME = 2e-5
"""Å: what files of five decimals, or of single precision, leave of a position."""

_WAVES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])
_NEAR = 2e-3  # of fingerprints: more than positions within SAME make of 300 atoms


def first_of_geometry(frames: Sequence[Frame]) -> list[int]:
    """For each frame the number of the first that has its geometry: its own where new."""
    groups = collections.defaultdict(list)
    for number, frame in enumerate(frames):
        own = str(frame.charge), str(frame.multiplicity)
        groups[np.sort(frame.atomic_number).tobytes(), *own].append(number)
    first = list(range(len(frames)))
    for members in groups.values():
        points = np.array([_fingerprint(frames[k]) for k in members])
        # the pairs in the order of their frames, so that the first is final when it counts
        for one, other in sorted(KDTree(points).query_pairs(_NEAR)):
            a, b = members[one], members[other]
            if first[b] == b and first[a] == a and _same(frames[a], frames[b]):
                first[b] = a
    return first


def _fractional(frame: Frame, position: np.ndarray) -> np.ndarray:
    return position @ np.linalg.inv(complete_cell(frame.cell))


def _fingerprint(frame: Frame) -> np.ndarray:
    """Cell and a few structure factors: equal for equal geometries, and continuous."""
    phase = 2j * np.pi * _fractional(frame, frame.position) @ _WAVES.T
    waves = ((1 + frame.atomic_number[:, None] / 100) * np.exp(phase)).sum(axis=0)
    return np.concatenate([frame.cell.ravel(), waves.real, waves.imag])


def _same(one: Frame, other: Frame) -> bool:
    """Each atom of one within SAME of an atom of the other, of the same element."""
    if np.abs(one.cell - other.cell).max() > SAME or np.any(one.pbc != other.pbc):
        return False
    if (
        np.array_equal(one.atomic_number, other.atomic_number)
        and _near(one, one.position - other.position).all()
    ):
        return True
    near = _near(one, one.position[:, None] - other.position)
    alike = one.atomic_number[:, None] == other.atomic_number
    return bool((near & alike).any(axis=1).all())


def _near(frame: Frame, displacement: np.ndarray) -> np.ndarray:
    """Whether displacements are zero, but for lattice vectors along periodic axes."""
    turns = np.round(_fractional(frame, displacement)) * frame.pbc
    return np.linalg.norm(displacement - turns @ frame.cell, axis=-1) < SAME
