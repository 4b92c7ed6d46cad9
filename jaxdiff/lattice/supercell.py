"""A supercell of a network: which sites are images of one another.

The network's unit cell is repeated by an integer matrix, which need not be diagonal. How
the cell lies in space, and whether it breathes, does not matter: fractional coordinates
times the supercell's vectors are positions in network units.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxdiff.lattice.network import Site, SiteNetwork


@dataclasses.dataclass(frozen=True)
class Supercell:
    """Lattice vectors as rows, network units; each a sum of whole unit vectors."""

    network: SiteNetwork
    matrix: tuple[tuple[float, float, float], ...]

    def __post_init__(self) -> None:
        """Refuse what is no supercell of the network."""
        rows = np.array(self.matrix, float)
        if rows.shape != (3, 3) or math.isclose(np.linalg.det(rows), 0, abs_tol=1e-9):
            raise ValueError(f"supercell {self.matrix} must be three independent vectors.")
        self.network.check_supercell(rows)

    @classmethod
    def of(
        cls,
        network: SiteNetwork,
        given: int | float | Sequence[float] | Sequence[Sequence[float]] | np.ndarray,
    ) -> "Supercell":
        """From conventional cells along the axes (n, or three), or rows in their units."""
        rows = np.array(given, float)
        if rows.ndim == 0:
            rows = np.repeat(rows, 3)
        if rows.shape == (3,):
            rows = np.diag(rows)
        parts = network.cells_per_conventional * rows  # whole for any vector of a lattice
        if (
            rows.shape != (3, 3)
            or not (np.isfinite(parts) & (parts == parts.round())).all()
        ):
            raise ValueError(
                f"supercell {given} must be a number of conventional cells, three of them, "
                f"or three lattice vectors of {network.title} in units of their edges."
            )
        matrix = rows @ np.array(network.conventional, float)
        whole = matrix.round().astype(int)
        x, y, z = (whole if (matrix == whole).all() else matrix).tolist()
        return cls(network, (tuple(x), tuple(y), tuple(z)))

    @classmethod
    def guess(
        cls, network: SiteNetwork, cell: Float[np.ndarray, "3 3"], n_host: int
    ) -> "Supercell":
        """Of conventional cells along the axes, as many as a cell, Å, can hold."""
        edge = np.linalg.norm(np.array(network.conventional), axis=1)
        length = np.linalg.norm(np.asarray(cell, float), axis=1)
        n_cells = n_host / len(network.indices(host=True)) / network.cells_per_conventional
        volume = abs(np.linalg.det(np.array(network.conventional)))
        unit = (abs(np.linalg.det(cell)) / max(n_cells, 1) / volume) ** (1 / 3)
        repeats = np.round(length / edge / unit).astype(int)
        if repeats.min() < 1 or repeats.prod() != n_cells:
            raise ValueError(
                f"A cell of edges {length.round(3).tolist()} Å with {n_host} host atoms is "
                f"not a supercell of conventional cells of {network.title} along its axes; "
                "give the supercell as three lattice vectors in units of a."
            )
        found = cls.of(network, repeats)
        found.to_sites(np.asarray(cell, float))
        return found

    @functools.cached_property
    def repeats(self) -> Int[np.ndarray, "3 3"]:
        """The same vectors as rows in unit vectors."""
        inverse = np.linalg.inv(np.array(self.network.cell))
        return np.round(np.array(self.matrix) @ inverse).astype(int)

    @property
    def in_constants(self) -> list[list[float]]:
        """The same vectors in lattice constants."""
        return (np.array(self.matrix) / self.network.edge).tolist()

    @property
    def n_cells(self) -> int:
        """Number of unit cells."""
        return abs(round(float(np.linalg.det(self.repeats))))

    @property
    def n_host(self) -> int:
        """Number of host sites."""
        return len(self.network.indices(host=True)) * self.n_cells

    @property
    def n_lattice(self) -> int:
        """Number of sites that mobile atoms fill in the perfect crystal."""
        return (
            sum(kind in self.network.lattice for kind in self.network.kind) * self.n_cells
        )

    def fold(self, site: Site) -> Site:
        """The image of a site with fractional coordinates from 0 to 1; in integers."""
        index, i, j, k = site
        adjugate, rows, determinant = self._integers
        offset = self._offset[index]
        for (ax, ay, az), start, row in zip(adjugate, offset, rows, strict=True):
            n = (site[1] * ax + site[2] * ay + site[3] * az + start) // determinant
            i, j, k = i - n * row[0], j - n * row[1], k - n * row[2]
        return index, i, j, k

    @functools.cached_property
    def _integers(self) -> tuple[list[list[int]], list[list[int]], int]:
        """Columns of the adjugate of `repeats`, its rows, its determinant, positive."""
        determinant = round(float(np.linalg.det(self.repeats)))
        adjugate = np.round(np.linalg.inv(self.repeats) * determinant).astype(int)
        sign = 1 if determinant > 0 else -1
        return (sign * adjugate.T).tolist(), self.repeats.tolist(), sign * determinant

    @functools.cached_property
    def _offset(self) -> list[list[int]]:
        """What the fraction of each site adds to its image there, rounded down."""
        offset = np.array(self.network.fraction) @ np.array(self._integers[0]).T
        return np.floor(offset + 1e-6).astype(int).tolist()

    def sites(self, kinds: Iterable[str]) -> list[Site]:
        """All sites of some kinds, folded, in the order of their coordinates."""
        kinds, network = set(kinds), self.network
        corners = np.array(list(itertools.product((0, 1), repeat=3))) @ self.repeats
        low, high = corners.min(axis=0) - 1, corners.max(axis=0) + 1
        images = itertools.product(*map(range, low.tolist(), (high + 1).tolist()))
        found = [
            (n, i, j, k)
            for i, j, k in images
            for n, kind in enumerate(network.kind)
            if kind in kinds and self.fold((n, i, j, k)) == (n, i, j, k)
        ]
        return sorted(found, key=network.position)

    @functools.cached_property
    def lattice_sites(self) -> list[Site]:
        """Those that mobile atoms fill in the perfect crystal."""
        return self.sites(self.network.lattice)

    def to_sites(self, cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
        """The matrix that takes positions (rows, Å) to network units.

        - `cell`, Å: lattice vectors as rows, in the order of the supercell's.
        """
        matrix = np.linalg.solve(np.asarray(cell, float), np.array(self.matrix, float))
        self.network.check_cell(matrix, cell)
        return matrix
