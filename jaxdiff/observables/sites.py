"""Sites of the rock-salt lattice: positions in a/4 decoded without a distance matrix.

With the origin on a cation and lengths in a/4 (a: edge of the conventional cell)

- cation sites (4a) are 2 (i, j, k), i + j + k even: twice the lattice D3, that is fcc;
- anion sites (4b) are 2 (i, j, k), i + j + k odd;
- tetrahedral sites (8c) have three odd coordinates; each has 4 cation neighbours at √3.

D3 is decoded as in Conway and Sloane (doi:10.1109/TIT.1982.1056484): round; where the
parity is wrong, round the worst coordinate the other way. Any supercell of the
conventional cell is allowed and sites are unwrapped integers: no cell enters here.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

CATION_TO_TETRAHEDRAL = 3**0.5
"""Distance between neighbouring cation and tetrahedral sites, a/4."""

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
    position: Float[Array, "*batch 3"], site: Int[Array, "*batch 3"]
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
