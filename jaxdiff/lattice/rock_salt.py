"""Rock salt: its sites, its jumps, its supercells; the only file that knows them.

With the origin on a cation and lengths in a/4 (a: edge of the conventional cell)

- cation sites (4a) are 2 (i, j, k), i + j + k even: twice the lattice D3, that is fcc;
- anion sites (4b) are 2 (i, j, k), i + j + k odd;
- tetrahedral sites (8c) have three odd coordinates; each has 4 cation neighbours at √3.

On the device a site is its position in a/4, an integer triple, found without a distance
matrix: D3 is decoded as in Conway and Sloane (doi:10.1109/TIT.1982.1056484): round; where
the parity is wrong, round the worst coordinate the other way.
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.lattice.jumps import INTERSTITIAL, VACANCY, Jump, Vector
from jaxdiff.lattice.network import SiteNetwork, edges_within

_SHORTEST = 8  # a/4: below 2a a defect and its image are neighbours

_ANION_OFFSET = np.array([2, 0, 0], np.int32)  # of the anion sublattice, a/4

# Reciprocal lattice vectors of fcc in 2π/a, as rows; the primitive vectors in a
_RECIPROCAL = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
_PRIMITIVE = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2


def nearest_cation_site(position: Float[Array, "*batch 3"]) -> Int[Array, "*batch 3"]:
    """Nearest 4a site, a/4; `position` in a/4 from a cation site."""
    half = position / 2
    rounded = jnp.round(half)
    error = half - rounded
    worst = jax.nn.one_hot(jnp.argmax(jnp.abs(error), axis=-1), 3, dtype=jnp.int32)
    rounded = rounded.astype(jnp.int32)
    odd = jnp.sum(rounded, axis=-1, keepdims=True, dtype=jnp.int32) % 2
    return 2 * (rounded + odd * worst * jnp.where(error < 0, -1, 1))


def nearest_anion_site(position: Float[Array, "*batch 3"]) -> Int[Array, "*batch 3"]:
    """Nearest 4b site, a/4; `position` in a/4 from a cation site."""
    offset = jnp.asarray(_ANION_OFFSET).reshape((1,) * (position.ndim - 1) + (3,))
    return nearest_cation_site(position - offset.astype(position.dtype)) + offset


def nearest_tetrahedral_site(position: Float[Array, "*batch 3"]) -> Int[Array, "*batch 3"]:
    """Nearest 8c site, a/4; `position` in a/4 from a cation site."""
    return 2 * jnp.floor(position / 2).astype(jnp.int32) + 1


def nearest_site(position: Float[Array, "*batch 3"]) -> Int[Array, "*batch 3"]:
    """The closer of the nearest 4a and 8c sites, a/4; `position` in a/4."""
    cation, tetrahedral = nearest_cation_site(position), nearest_tetrahedral_site(position)
    closer = squared_distance(position, tetrahedral) < squared_distance(position, cation)
    return jnp.where(closer[..., None], tetrahedral, cation)


def squared_distance(
    position: Float[Array, "*batch 3"], site: Int[Array, "*#batch 3"]
) -> Float[Array, "*batch"]:
    """Squared distance from a site, (a/4)^2."""
    return jnp.sum((position - site.astype(position.dtype)) ** 2, axis=-1)


def is_tetrahedral(site: Int[Array, "*batch 3"]) -> Bool[Array, "*batch"]:
    """Whether a site is 8c; all three coordinates are odd or all are even."""
    return site[..., 0] % 2 == 1


def lattice_origin(
    position: Float[Array, "atoms 3"],
    is_anion: Bool[Array | np.ndarray, " atoms"],
    lattice_constant: float,
) -> Float[Array, "3"]:
    r"""A cation site of the perfect lattice nearest to zero, Å, from noisy positions.

    The circular mean of the anions modulo the fcc translations: for the three reciprocal
    lattice vectors $\mathbf b_k$, $\theta_k = \arg\sum_i e^{i\mathbf b_k\cdot\mathbf r_i}$
    gives the anion site $\sum_k \theta_k \mathbf a_k/2\pi$, and a cation is at -(a/2, 0, 0)
    from it. Its error is that of a mean position, u/√N for amplitude u per axis.

    - `position`, Å: unwrapped or wrapped; atoms that are not anions do not matter.
    - `is_anion`: at least one must be true.
    - `lattice_constant`: a, Å, of the conventional cubic cell.
    """
    wave = 2 * np.pi / lattice_constant * _RECIPROCAL.T
    phase = position @ jnp.asarray(wave, position.dtype)
    weight = jnp.asarray(is_anion).astype(position.dtype)[:, None]
    angle = jnp.arctan2(
        jnp.sum(weight * jnp.sin(phase), axis=0), jnp.sum(weight * jnp.cos(phase), axis=0)
    )
    anion = angle / (2 * np.pi) @ jnp.asarray(_PRIMITIVE, position.dtype)
    origin = 4 * anion - jnp.asarray(_ANION_OFFSET, position.dtype)
    nearest = nearest_cation_site(origin).astype(position.dtype)
    return (origin - nearest) * (lattice_constant / 4)


@dataclasses.dataclass(frozen=True)
class RockSalt(SiteNetwork):
    """The network of rock salt; labels on the device are positions, a/4, int32."""

    @property
    def core_limit(self) -> str:
        """In words."""
        return "√3a/8"

    def check_supercell(self, matrix: Float[np.ndarray, "3 3"]) -> None:
        """Refuse what is no supercell of fcc, and cells too small for one defect."""
        if (matrix % 2).any() or (matrix.sum(axis=1) % 4).any():
            raise ValueError(
                f"supercell {(matrix / 4).tolist()} (in a) has a lattice vector that is "
                "not a translation of the fcc lattice; entries are multiples of 1/2, three "
                "of a row sum to a whole number."
            )
        short = itertools.product(range(-_SHORTEST, _SHORTEST + 1, 2), repeat=3)
        vectors = np.array([v for v in short if any(v)])
        fraction = vectors @ np.linalg.inv(matrix)
        lattice = vectors[np.abs(fraction - fraction.round()).max(axis=1) < 1e-9]
        shortest = min((lattice**2).sum(axis=1), default=_SHORTEST**2) ** 0.5
        if shortest < _SHORTEST:
            raise ValueError(
                f"supercell {(matrix / 4).tolist()} (in a) has a lattice vector of "
                f"{shortest / 4:.3g} a; each must be at least 2 a: in a smaller cell the "
                "defect is a neighbour of its own image."
            )

    def check_cell(self, to_sites: Float[np.ndarray, "3 3"], cell: np.ndarray) -> None:
        """Refuse a cell, Å, that is not cubic."""
        stretch = np.linalg.svd(to_sites, compute_uv=False)
        if stretch.max() > 1.1 * stretch.min():
            rows = np.asarray(cell, float) @ to_sites / 4
            raise ValueError(
                f"The cell {np.asarray(cell).tolist()} Å is not cubic rock salt with the "
                f"supercell {rows.round(9).tolist()} (in a): along its axes "
                f"a would be {4 / stretch.max():.3f} to {4 / stretch.min():.3f} Å. Give "
                "the supercell that the cell was built from."
            )

    def nearest(
        self, position: Float[Array, "*batch 3"], *, host: bool = False
    ) -> Int[Array, "*batch 3"]:
        """Nearest 4a or 8c site, or 4b site of the host, a/4."""
        return nearest_anion_site(position) if host else nearest_site(position)

    def coordinates(
        self, label: Int[Array, "*batch 3"], dtype: Any
    ) -> Float[Array, "*batch 3"]:
        """A label is where it is."""
        return label.astype(dtype)

    def origin(
        self, position: Float[Array, "atoms 3"], is_host: Bool[np.ndarray, " atoms"]
    ) -> Float[Array, "3"]:
        """A cation site nearest to zero, a/4; positions may be shifted by anything."""
        return lattice_origin(position, is_host, 4.0)

    def sites(self, label: Int[np.ndarray, "*batch 3"]) -> Int[np.ndarray, "*batch 4"]:
        """Integers in a/4 as (index, i, j, k)."""
        place = np.asarray(label)
        odd, even_sum = place[..., 0] % 2, place.sum(axis=-1) % 4 == 0
        # 8c: (1, 1, 1) and its fcc translations have the sum 3 modulo 4
        first = place.sum(axis=-1) % 4 == 3
        index = np.where(odd == 1, np.where(first, 1, 2), np.where(even_sum, 0, 3))
        away = place - np.array([self.position((n, 0, 0, 0)) for n in range(4)])[index]
        image = np.round(away @ np.linalg.inv(np.array(self.cell))).astype(int)
        return np.concatenate([index[..., None], image], axis=-1)


def _network() -> RockSalt:
    """The primitive cell: one cation, two tetrahedral sites, one anion; in a/4."""
    cell = ((0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (2.0, 2.0, 0.0))
    fraction = tuple((f, f, f) for f in (0.0, 0.25, 0.75, 0.5))
    pushed: dict[str, tuple[Vector, int, float]] = {
        "collinear": ((1.0, 1.0, 1.0), 4, 2 / 3),
        "noncollinear_1": ((1.0, 1.0, -1.0), 12, 32 / 33),
        "noncollinear_2": ((1.0, -1.0, -1.0), 12, 0.9643),
    }
    ends = ("8c", "8c")
    jumps = [
        Jump(name, INTERSTITIAL, ends, ((1.0, 1.0, 1.0), second), n, factor)
        for name, (second, n, factor) in pushed.items()
    ]
    jumps.append(Jump("direct", INTERSTITIAL, ends, ((2.0, 0.0, 0.0),), 6, 1.0))
    jumps.append(Jump("vacancy", VACANCY, ("4a", "4a"), ((2.0, 2.0, 0.0),), 12, 0.7815))
    return RockSalt(
        title="rock salt",
        edge=4.0,
        conventional=((4, 0, 0), (0, 4, 0), (0, 0, 4)),
        cell=cell,
        fraction=fraction,
        kind=("4a", "8c", "8c", "4b"),
        lattice=("4a",),
        host=("4b",),
        edges=edges_within(cell, fraction, (0, 1, 2), 2.0),
        jumps=tuple(jumps),
    )


ROCK_SALT = _network()
"""Interstitials on 8c, vacancies on 4a. In the first three jumps the interstitial pushes a
lattice cation to another 8c site and takes its place: √3a/2, a/√2 and a/2, by the angle
between the steps. Correlation factors: doi:10.1039/TF9585401498; vacancies on fcc:
doi:10.1039/TF9565200786."""
