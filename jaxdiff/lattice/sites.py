"""Sites of a mobile element in the cell of a trajectory: which are neighbours, and kinds.

Any number of atoms may share them: half-filled sites are ordinary, and no site has to be
filled in a perfect crystal. So there are no defects here, only places to be at.
"""

import dataclasses
import functools
import itertools

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

REACH = 5.0
"""Å: neighbouring sites are no farther apart."""

SAME_LENGTH = 0.15
"""Å: steps of the same kinds of site whose lengths differ by less are of one class."""

_MARGIN = 1e-6


@dataclasses.dataclass(frozen=True)
class Sites:
    """S sites in a periodic cell.

    - `fraction`: of the lattice vectors `cell`, rows, Å. `kind`: of each site, a number
      into `names`. `occupancy`: of each kind, as the source says; NaN where it does not.
    - `source`: where they are from, in words.
    """

    fraction: Float[np.ndarray, "sites 3"]
    cell: Float[np.ndarray, "3 3"]
    kind: Int[np.ndarray, " sites"]
    names: tuple[str, ...]
    occupancy: tuple[float, ...]
    source: str

    def difference(
        self, first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]
    ) -> Float[np.ndarray, "pairs 3"]:
        """The shortest step from one site to another, Å."""
        step = self.fraction[second] - self.fraction[first]
        step = step - np.rint(step)
        around = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
        every = (step[:, None] + around) @ self.cell
        best = (every**2).sum(axis=2).argmin(axis=1)
        return every[np.arange(len(step)), best]

    def nearest(
        self, fraction: Float[np.ndarray, "points 3"], n: int = 1
    ) -> tuple[Float[np.ndarray, "points n"], Int[np.ndarray, "points n"]]:
        """Distances, Å, and numbers of the `n` nearest sites, images among them."""
        tree, number = self._tree
        apart, index = tree.query((fraction - np.floor(fraction)) @ self.cell, k=n)
        shape = (len(fraction), n)
        return apart.reshape(shape), number[index].reshape(shape)

    @functools.cached_property
    def _tree(self) -> tuple[KDTree, Int[np.ndarray, " images"]]:
        around = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
        inside = self.fraction - np.floor(self.fraction)
        every = (inside[:, None] + around).reshape(-1, 3)
        number = np.repeat(np.arange(len(inside)), len(around))
        height = 1 / np.linalg.norm(np.linalg.inv(self.cell), axis=0)
        margin = np.minimum(2 * REACH / height, 1.0)
        near = ((every > -margin) & (every < 1 + margin)).all(axis=1)
        return KDTree(every[near] @ self.cell), number[near]

    @functools.cached_property
    def spacing(self) -> Float[np.ndarray, " sites"]:
        """Distance of each site to the nearest other, or to its own image, Å."""
        return self.nearest(self.fraction, 2)[0][:, 1]

    @property
    def edges(self) -> Int[np.ndarray, "edges 2"]:
        """Neighbours: within `REACH`, and no third site as near to the middle of the two.

        Their Voronoi cells meet where the straight way between them passes. A pair is there
        twice where two ways join it.
        """
        return self._edges[0]

    @functools.cached_property
    def _edges(self) -> tuple[Int[np.ndarray, "edges 2"], Float[np.ndarray, "edges 3"]]:
        """Pairs, and the steps from the first to the second, Å."""
        tree, number = self._tree
        place = (self.fraction - np.floor(self.fraction)) @ self.cell
        found = tree.query_ball_point(place, REACH)
        first = np.repeat(np.arange(len(place)), [len(near) for near in found])
        image = np.concatenate([np.array(near, int) for near in found])
        second, way = number[image], tree.data[image] - place[first]
        half = np.linalg.norm(way, axis=1) / 2
        ahead = np.sign(way.round(6)) @ np.array([9, 3, 1]) > 0  # of a way and its reverse
        once = (second > first) | ((second == first) & ahead)
        middle = (place[first] + way / 2) @ np.linalg.inv(self.cell)
        third = self.nearest(middle, 3)[0][:, 2]
        kept = once & (half > _MARGIN) & (third > half + _MARGIN)
        return np.stack([first, second], axis=1)[kept], way[kept]

    def is_neighbour(
        self, first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]
    ) -> Bool[np.ndarray, " pairs"]:
        """Whether each pair is joined by an edge."""
        n = len(self.fraction)
        known = np.array([a * n + b for a, b in self.edges.tolist()], int)
        return np.isin(np.minimum(first, second) * n + np.maximum(first, second), known)

    def reaches_far(self, limit: float) -> bool:
        """Whether edges no longer than `limit`, Å, lead from a site to its own image."""
        (first, second), step = self._edges[0].T, self._edges[1]
        near = np.linalg.norm(step, axis=1) <= limit + _MARGIN
        place = (self.fraction - np.floor(self.fraction)) @ self.cell
        parent = {n: (n, np.zeros(3)) for n in range(len(place))}

        def find(site: int) -> tuple[int, np.ndarray]:
            shift = np.zeros(3)
            while parent[site][0] != site:
                shift, site = shift + parent[site][1], parent[site][0]
            return site, shift

        for a, b, way in zip(first[near], second[near], step[near], strict=True):
            (one, here), (two, there) = find(int(a)), find(int(b))
            crossed = way - (place[b] - place[a])
            total = here + crossed - there
            if one == two and np.abs(total).max() > 1e-3:
                return True
            if one != two:
                parent[two] = (one, total)
        return False


def classes_of(
    length: Float[np.ndarray, " steps"], pair: Int[np.ndarray, " steps"]
) -> tuple[Int[np.ndarray, " steps"], list[tuple[int, float]]]:
    """Class of each step by its pair of kinds and its length, found from gaps between.

    Also of each class its pair and mean length, Å; in order of pair and length.
    """
    number, known = np.full(len(length), -1), []
    for name in np.unique(pair):
        mine = np.flatnonzero(pair == name)
        order = mine[np.argsort(length[mine])]
        gap = np.diff(length[order]) > SAME_LENGTH
        for part in np.split(order, np.flatnonzero(gap) + 1):
            number[part] = len(known)
            known.append((int(name), float(length[part].mean())))
    return number, known


def kinds_by_surroundings(
    distances: Float[np.ndarray, "sites neighbours"], tolerance: float
) -> Int[np.ndarray, " sites"]:
    """Sites with the same distances to the atoms around are of one kind."""
    kinds: list[np.ndarray] = []
    result = np.empty(len(distances), int)
    for site, mine in enumerate(distances):
        for kind, known in enumerate(kinds):
            if np.abs(known - mine).max() < tolerance:
                result[site] = kind
                break
        else:
            result[site] = len(kinds)
            kinds.append(mine)
    return result
