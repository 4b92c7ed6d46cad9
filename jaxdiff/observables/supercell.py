"""A supercell of rock salt as integers: which sites are images of one another.

Lengths are in a/4 (a: edge of the conventional cubic cell), vectors along its axes, as in
`sites`. Any supercell of the fcc lattice is allowed, not only boxes: its lattice vectors
are the rows of an integer matrix, and the Hermite normal form of that matrix folds a site
back into the cell exactly. How the cell lies in space, and whether it breathes, does not
matter: fractional coordinates times the matrix are site coordinates.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_PER_SITE = 16  # volume per cation site, (a/4)^3
_SHORTEST = 8  # a/4: below 2a a defect and its image are neighbours


@dataclasses.dataclass(frozen=True)
class Supercell:
    """Lattice vectors as rows, a/4; each an fcc translation, none shorter than 2a."""

    matrix: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        """Refuse what is no supercell of fcc, and cells too small for one defect."""
        rows = np.array(self.matrix)
        if rows.shape != (3, 3) or round(np.linalg.det(rows)) == 0:
            raise ValueError(f"supercell {self.matrix} must be three independent vectors.")
        if (rows % 2).any() or (rows.sum(axis=1) % 4).any():
            raise ValueError(
                f"supercell {(rows / 4).tolist()} (in a) has a lattice vector that is not "
                "a translation of the fcc lattice; entries are multiples of 1/2, three of "
                "a row sum to a whole number."
            )
        short = itertools.product(range(-_SHORTEST, _SHORTEST + 1, 2), repeat=3)
        squared = [
            x * x + y * y + z * z for x, y, z in short if not any(self.fold((x, y, z)))
        ]
        shortest = min((n for n in squared if n > 0), default=_SHORTEST**2) ** 0.5
        if shortest < _SHORTEST:
            raise ValueError(
                f"supercell {(rows / 4).tolist()} (in a) has a lattice vector of "
                f"{shortest / 4:.3g} a; each must be at least 2 a: in a smaller cell the "
                "defect is a neighbour of its own image."
            )

    @property
    def n_sites(self) -> int:
        """Number of cation sites, and of anion sites."""
        return abs(round(float(np.linalg.det(np.array(self.matrix))))) // _PER_SITE

    @functools.cached_property
    def _normal_form(self) -> tuple[tuple[int, ...], ...]:
        return _hermite([list(row) for row in self.matrix])

    def fold(self, site: tuple[int, int, int]) -> tuple[int, int, int]:
        """The image of a site inside the cell; equal for all images of it."""
        x, y, z = site
        (a, b, c), (_, d, e), (_, _, f) = self._normal_form
        n = x // a
        x, y, z = x - n * a, y - n * b, z - n * c
        n = y // d
        y, z = y - n * d, z - n * e
        return x, y, z % f

    def cation_sites(self) -> set[tuple[int, int, int]]:
        """All 4a sites, folded; with (2, 0, 0) added and folded again, all 4b sites."""
        found: set[tuple[int, int, int]] = set()
        frontier: list[tuple[int, int, int]] = [(0, 0, 0)]
        while frontier:
            site = self.fold(frontier.pop())
            if site not in found:
                found.add(site)
                x, y, z = site
                frontier += [(x, y + 2, z + 2), (x + 2, y, z + 2), (x + 2, y + 2, z)]
        return found

    def to_sites(self, cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
        """The matrix that takes positions (rows, Å) to site coordinates, a/4.

        - `cell`, Å: lattice vectors as rows, in the order of the supercell's.
        """
        matrix = np.linalg.solve(np.asarray(cell, float), np.array(self.matrix, float))
        stretch = np.linalg.svd(matrix, compute_uv=False)
        if stretch.max() > 1.1 * stretch.min():
            raise ValueError(
                f"The cell {np.asarray(cell).tolist()} Å is not cubic rock salt with the "
                f"supercell {(np.array(self.matrix) / 4).tolist()} (in a): along its axes "
                f"a would be {4 / stretch.max():.3f} to {4 / stretch.min():.3f} Å. Give "
                "the supercell that the cell was built from."
            )
        return matrix


def as_supercell(
    given: int | Sequence[int] | Sequence[Sequence[float]] | np.ndarray,
) -> Supercell:
    """From conventional cells along the axes (n, or three), or from rows in units of a."""
    rows = np.array(given, float)
    if rows.ndim == 0:
        rows = np.repeat(rows, 3)
    if rows.shape == (3,):
        rows = np.diag(rows)
    quarters = 4 * rows
    whole = np.isfinite(quarters) & (quarters == np.round(quarters))
    if rows.shape != (3, 3) or not whole.all():
        raise ValueError(
            f"supercell={given} must be a number of conventional cells, three of them, or "
            "three lattice vectors in units of a, with entries that are multiples of 1/2."
        )
    x, y, z = ((int(i), int(j), int(k)) for i, j, k in quarters)
    return Supercell((x, y, z))


def guess(cell: Float[np.ndarray, "3 3"], n_anions: int) -> Supercell:
    """The supercell of conventional cells that a cubic or orthorhombic cell holds."""
    length = np.linalg.norm(np.asarray(cell, float), axis=1)
    a = (4 * abs(np.linalg.det(cell)) / n_anions) ** (1 / 3)
    repeats = np.round(length / a).astype(int)
    if repeats.min() < 1 or 4 * repeats.prod() != n_anions:
        raise ValueError(
            f"A cell of edges {length.round(3).tolist()} Å with {n_anions} anions is not a "
            "supercell of conventional rock-salt cells along its axes; give the supercell "
            "as three lattice vectors in units of a."
        )
    x, y, z = (int(n) for n in repeats)
    found = as_supercell((x, y, z))
    found.to_sites(np.asarray(cell, float))
    return found


def _hermite(rows: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    """Upper-triangular basis of the same lattice with a positive diagonal."""
    for k in range(3):
        while any(row[k] for row in rows[k + 1 :]):
            rest = sorted(rows[k:], key=lambda row, k=k: (row[k] == 0, abs(row[k])))
            rows[k:] = rest
            for i in range(k + 1, 3):
                n = rows[i][k] // rows[k][k]
                rows[i] = [p - n * q for p, q in zip(rows[i], rows[k], strict=True)]
        if rows[k][k] < 0:
            rows[k] = [-p for p in rows[k]]
    return tuple(tuple(row) for row in rows)
