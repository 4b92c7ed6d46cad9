"""Sites found in a trajectory: where mobile atoms are most often."""

import itertools

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter, maximum_filter

from jaxdiff.lattice.sites import Sites

GRID = 0.35
"""Å: edge of a voxel."""

WIDTH = 0.4
"""Å: standard deviation of the Gaussian that each place is smeared by."""

LEAST = 0.1
"""Of the mean of the ten highest maxima: lower ones are no sites."""

_APART = 1.0  # Å: of two maxima nearer than this the lower one is dropped


def density_maxima(
    fraction: Float[np.ndarray, "frames mobile 3"], cell: Float[np.ndarray, "3 3"]
) -> Sites:
    """Sites at the maxima of the smeared density of mobile atoms; all of one kind.

    - `fraction`: places relative to the framework, of the lattice vectors `cell`, Å.
    """
    size = np.maximum(np.linalg.norm(cell, axis=1) / GRID, 4).astype(int)
    inside = fraction.reshape(-1, 3) - np.floor(fraction.reshape(-1, 3))
    voxel = np.minimum((inside * size).astype(int), size - 1)
    density = np.zeros(tuple(size))
    np.add.at(density, tuple(voxel.T), 1.0)
    height = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0) / size
    density = gaussian_filter(density, WIDTH / height, mode="wrap")
    peak = (density == maximum_filter(density, size=3, mode="wrap")) & (density > 0)
    place, value = np.argwhere(peak), density[peak]
    order = np.argsort(-value)
    place, value = place[order], value[order]
    keep = value >= LEAST * value[:10].mean()
    found = _distinct((place[keep] + 0.5) / size, cell)
    return Sites(
        fraction=_centred(found, inside, cell),
        cell=cell,
        kind=np.zeros(len(found), int),
        names=("maximum",),
        occupancy=(float("nan"),),
        source="maxima of the density in the trajectory",
    )


def stability(
    fraction: Float[np.ndarray, "frames mobile 3"], cell: Float[np.ndarray, "3 3"]
) -> tuple[int, int, float]:
    """Maxima of the first and of the second half, and the share that both have.

    Of the maxima of a half, those with one of the other half within half of `_APART`.
    """
    half = len(fraction) // 2
    one, two = (density_maxima(part, cell) for part in (fraction[:half], fraction[half:]))
    n_shared = sum(
        int((other.nearest(mine.fraction)[0][:, 0] < _APART / 2).sum())
        for mine, other in ((one, two), (two, one))
    )
    n_one, n_two = len(one.fraction), len(two.fraction)
    return n_one, n_two, n_shared / (n_one + n_two)


def _distinct(
    fraction: Float[np.ndarray, "maxima 3"], cell: np.ndarray
) -> Float[np.ndarray, "sites 3"]:
    """Without those near a higher one."""
    kept: list[np.ndarray] = []
    around = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    for one in fraction:
        if kept:
            step = np.array(kept) - one
            step = (step - np.rint(step))[:, None] + around
            if np.linalg.norm(step @ cell, axis=2).min() < _APART:
                continue
        kept.append(one)
    return np.array(kept)


def _centred(
    fraction: Float[np.ndarray, "sites 3"],
    inside: Float[np.ndarray, "points 3"],
    cell: np.ndarray,
) -> Float[np.ndarray, "sites 3"]:
    """Moved to the mean of the points within `_APART` of each, finer than a voxel."""
    n = len(fraction)
    sites = Sites(fraction, cell, np.zeros(n, int), ("",), (1.0,), "")
    apart, number = sites.nearest(inside)
    near: Int[np.ndarray, " points"] = np.flatnonzero(apart[:, 0] < _APART)
    mine = number[near, 0]
    step = inside[near] - fraction[mine]
    step = step - np.rint(step)
    count = np.maximum(np.bincount(mine, minlength=n), 1)
    mean = np.stack([np.bincount(mine, step[:, k], n) for k in range(3)], axis=1)
    return fraction + mean / count[:, None]
