"""The network of sites of a crystal, and the table of the jumps of its defects.

A site is (index, i, j, k): its number in the unit cell, and the image of that cell in unit
vectors; it is unwrapped, so that steps add up to displacements. Lengths are in units of the
network, `edge` of which are the lattice constant: the same network serves any lattice
constant, strain and orientation.

Mobile atoms fill the sites of some kinds in the perfect crystal (`lattice`). One on a site
of another kind is an interstitial, an empty lattice site is a vacancy. All other atoms are
the host, on sites of their own, and say where the lattice is.
"""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.lattice.jumps import OTHER_CLASSES, SAME, Jump, Vector, difference, squared

Site = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class SiteNetwork:
    """Sites of a unit cell, which of them are neighbours, and the jumps between them.

    - `title`: of the structure. `edge`: the lattice constant, network units.
    - `conventional`: vectors, as rows, of the cell that supercells are counted in.
    - `cell`: unit vectors as rows, network units. `fraction`, `kind`: of each site, in unit
      vectors, and the name of its kind.
    - `lattice`: kinds that mobile atoms fill; `host`: kinds of all other atoms.
    - `edges`: (index, index, image of the second) of neighbouring sites of mobile atoms.
    - `jumps`: the table; an event is of the first that it matches.
    """

    title: str
    edge: float
    conventional: tuple[Vector, Vector, Vector]
    cell: tuple[Vector, Vector, Vector]
    fraction: tuple[Vector, ...]
    kind: tuple[str, ...]
    lattice: tuple[str, ...]
    host: tuple[str, ...]
    edges: tuple[tuple[int, int, tuple[int, int, int]], ...]
    jumps: tuple[Jump, ...]

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of events, the jumps first."""
        return (*(jump.name for jump in self.jumps), *OTHER_CLASSES)

    @property
    def n_hop_classes(self) -> int:
        """The first so many classes are hops: a defect moved."""
        return len(self.jumps) + 1

    @functools.cached_property
    def tracer_correlation(self) -> tuple[float, ...]:
        """By class of event; none is known for those that are no jump: 1 is assumed."""
        return (*(j.tracer_correlation for j in self.jumps), *(1.0 for _ in OTHER_CLASSES))

    @functools.cached_property
    def cells_per_volume(self) -> float:
        """Unit cells in the cube of a lattice constant."""
        first, second, third = np.array(self.cell)
        return self.edge**3 / abs(float(first @ np.cross(second, third)))

    @functools.cached_property
    def cells_per_conventional(self) -> int:
        """Unit cells in the cell that supercells are counted in."""
        volume = np.linalg.det(np.array(self.conventional)) / np.linalg.det(
            np.array(self.cell)
        )
        return abs(round(float(volume)))

    def jump(self, name: str) -> Jump:
        """The jump of a name."""
        for jump in self.jumps:
            if jump.name == name:
                return jump
        names = ", ".join(jump.name for jump in self.jumps)
        raise ValueError(f"there is no path {name!r}; there are {names}.")

    def jumps_of(self, sign: int) -> tuple[Jump, ...]:
        """The jumps of interstitials or of vacancies."""
        return tuple(jump for jump in self.jumps if jump.sign == sign)

    def classify(
        self, sign: int, ends: tuple[str, str], jump: Vector, steps: Sequence[Vector]
    ) -> int:
        """Index into `classes` of what a defect did, from the steps of the atoms."""
        if not any(jump):
            return self.classes.index("exchange")
        lengths = squared(jump), sum(squared(step) for step in steps)
        for index, known in enumerate(self.jumps):
            if (
                (sign, len(steps)) == (known.sign, known.n_moved)
                and ends in (known.ends, known.ends[::-1])
                and math.isclose(lengths[0], known.squared_length, rel_tol=SAME)
                and math.isclose(lengths[1], known.squared_steps, rel_tol=SAME)
            ):
                return index
        return self.classes.index("concerted")

    def position(self, site: Site) -> Vector:
        """Of a site, network units."""
        x, y, z = (f + i for f, i in zip(self.fraction[site[0]], site[1:], strict=True))
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = self.cell
        return (
            x * ax + y * bx + z * cx,
            x * ay + y * by + z * cy,
            x * az + y * bz + z * cz,
        )

    def is_lattice(self, site: Site) -> bool:
        """Whether a mobile atom is there in the perfect crystal."""
        return self.kind[site[0]] in self.lattice

    def beside(self, site: Site) -> list[Site]:
        """Neighbours of the other sort: interstitial of a lattice site, or the reverse."""
        _, i, j, k = site
        return [(n, i + x, j + y, k + z) for n, x, y, z in self._beside[site[0]]]

    @functools.cached_property
    def _beside(self) -> tuple[list[Site], ...]:
        found: tuple[list[Site], ...] = tuple([] for _ in self.kind)
        for first, second, (i, j, k) in self.edges:
            if self.is_lattice((first, 0, 0, 0)) != self.is_lattice((second, 0, 0, 0)):
                found[first].append((second, i, j, k))
                found[second].append((first, -i, -j, -k))
        return found

    @functools.cached_property
    def shortest_edge(self) -> float:
        """Distance of the nearest two sites of mobile atoms, network units."""
        apart = [
            difference(self.position((b, *image)), self.position((a, 0, 0, 0)))
            for a, b, image in self.edges
        ]
        return math.sqrt(min(squared(step) for step in apart))

    def indices(self, *, host: bool) -> tuple[int, ...]:
        """Sites of the unit cell for host atoms, or those for mobile atoms."""
        return tuple(n for n, k in enumerate(self.kind) if (k in self.host) is host)

    @property
    def core_limit(self) -> str:
        """In words: half the shortest edge, where the cores of neighbours meet."""
        return "half the distance of neighbouring sites"

    def check_supercell(self, matrix: Float[np.ndarray, "3 3"]) -> None:
        """Refuse a supercell, rows in network units, that this network does not fill."""
        repeats = matrix @ np.linalg.inv(np.array(self.cell))
        if round(np.linalg.det(repeats)) == 0 or np.abs(repeats - repeats.round()).max() > (
            SAME * np.abs(repeats).max()
        ):
            raise ValueError(
                f"supercell {(matrix / self.edge).tolist()} (in lattice constants) is not "
                f"made of whole unit cells of {self.title}; each lattice vector must be a "
                f"sum of {(np.array(self.cell) / self.edge).tolist()}."
            )

    def check_cell(self, to_sites: Float[np.ndarray, "3 3"], cell: np.ndarray) -> None:
        """Refuse a cell, Å, that is no slightly strained supercell of this network."""
        stretch = np.linalg.svd(to_sites, compute_uv=False)
        if stretch.max() > 1.1 * stretch.min():
            raise ValueError(
                f"The cell {np.asarray(cell).tolist()} Å is not {self.title} with this "
                "supercell: it would be strained by more than 10 %. Give the supercell "
                "that the cell was built from."
            )

    # On the device. A label is a site as the tracker keeps it: here, the site itself.

    def nearest(
        self, position: Float[Array, "*batch 3"], *, host: bool = False
    ) -> Int[Array, "*batch label"]:
        """Label of the nearest site of mobile (or host) atoms; network units.

        Looks through all sites of the cell and their images in the 27 cells around; exact
        where the unit cell is reduced.
        """
        dtype, cell = position.dtype, np.array(self.cell)
        chosen = np.array(self.indices(host=host))
        fraction = jnp.asarray(np.array(self.fraction)[chosen], dtype)
        around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
        place = jnp.einsum(
            "...i,ij->...j", position, jnp.asarray(np.linalg.inv(cell), dtype)
        )
        away = place[..., None, :] - fraction.reshape((1,) * (position.ndim - 1) + (-1, 3))
        image = jnp.round(away)[..., None, :] + jnp.asarray(around, dtype).reshape(
            (1,) * position.ndim + (27, 3)
        )
        apart = jnp.einsum(
            "...i,ij->...j", away[..., None, :] - image, jnp.asarray(cell, dtype)
        )
        square = jnp.sum(apart**2, axis=-1).reshape(*position.shape[:-1], -1)
        best = jnp.argmin(square, axis=-1)
        image = image.reshape(*position.shape[:-1], -1, 3)
        image = jnp.take_along_axis(image, best[..., None, None], axis=-2)[..., 0, :]
        index = jnp.asarray(chosen, jnp.int32)[best // 27]
        return jnp.concatenate([index[..., None], image.astype(jnp.int32)], axis=-1)

    def coordinates(
        self, label: Int[Array, "*batch label"], dtype: Any
    ) -> Float[Array, "*batch 3"]:
        """Where a label is, network units."""
        fraction = jnp.asarray(np.array(self.fraction), dtype)[label[..., 0]]
        place = fraction + label[..., 1:].astype(dtype)
        return jnp.einsum("...i,ij->...j", place, jnp.asarray(np.array(self.cell), dtype))

    def origin(
        self, position: Float[Array, "atoms 3"], is_host: Bool[np.ndarray, " atoms"]
    ) -> Float[Array, "3"]:
        """The shift of the lattice against the network's own origin, network units.

        Noisy positions must not be shifted by more than half the distance of host sites.
        """
        host = position[np.flatnonzero(is_host)]
        label = self.nearest(host, host=True)
        return jnp.mean(host - self.coordinates(label, host.dtype), axis=0)

    def sites(self, label: Int[np.ndarray, "*batch label"]) -> Int[np.ndarray, "*batch 4"]:
        """Labels as (index, i, j, k), on the host."""
        return np.asarray(label)

    def to_json(self) -> str:
        """All of it, for a file."""
        return json.dumps({f.name: getattr(self, f.name) for f in _FIELDS}, default=vars)


_FIELDS = dataclasses.fields(SiteNetwork)


def from_json(text: str) -> SiteNetwork:
    """What `SiteNetwork.to_json` wrote."""
    table: dict[str, Any] = {n: _frozen(value) for n, value in json.loads(text).items()}
    jumps = (Jump(**{n: _frozen(v) for n, v in jump.items()}) for jump in table["jumps"])
    return SiteNetwork(**{**table, "jumps": tuple(jumps)})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def edges_within(
    cell: tuple[Vector, Vector, Vector],
    fraction: Sequence[Vector],
    chosen: Sequence[int],
    reach: float,
) -> tuple[tuple[int, int, tuple[int, int, int]], ...]:
    """Pairs of the chosen sites, each once, that lie within `reach`, network units."""
    rows = np.array(cell)
    height = 1 / np.linalg.norm(np.linalg.inv(rows), axis=0)
    n = np.ceil(reach / height).astype(int) + 1
    found = []
    for image in np.ndindex(*(2 * n + 1)):
        i, j, k = (int(x) for x in np.array(image) - n)
        for a, b in itertools.combinations_with_replacement(chosen, 2):
            away = np.array(fraction[b]) + (i, j, k) - np.array(fraction[a])
            near = np.linalg.norm(away @ rows) <= reach * (1 + SAME)
            if near and (a != b or (i, j, k) > (0, 0, 0)):
                found.append((a, b, (i, j, k)))
    return tuple(found)
