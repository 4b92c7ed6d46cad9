"""Sums over all images of all pairs within a cutoff, without a list of neighbours.

For long cutoffs, where a list would have thousands of places per atom: every image that can
be in reach is looked at, a block of rows after the other, so that nothing is stale or full,
and little memory is needed. Each pair of images counts once: i to j, or j to i.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Function = Callable[[Array], tuple[Array, Array]]
"""Squared distances, Å^2, to a function of them and its derivative."""

_ON_CPU, _ON_OTHERS = 1 << 13, 1 << 20  # pairs at once: what a cache, or a memory, holds
_ITSELF = 1e-8  # Å^2


class Rows(NamedTuple):
    """A block of atoms: position, Å, fraction of the cell; `used` is 0 for none."""

    position: Float[Array, "rows 3"]
    fraction: Float[Array, "rows 3"]
    used: Float[Array, " rows"]


class ImageSums:
    """Sums for one configuration.

    - `images`: see `images_within`. `repeats`: along which lattice vectors.
    - `dtype`: of what a pair adds; sums are in that of the positions.
    """

    def __init__(
        self,
        position: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"],
        images: tuple[int, int, int],
        repeats: tuple[bool, bool, bool],
        dtype: Any,
    ) -> None:
        self.position, self.cell, self.dtype = position, cell, dtype
        self.images, self.repeats = jnp.asarray(images), jnp.asarray(repeats)
        faces = jnp.stack([jnp.cross(cell[a - 2], cell[a - 1]) for a in range(3)])
        self.inverse = faces.T / jnp.dot(cell[0], faces[0])
        self.fraction = jax.lax.stop_gradient(position @ self.inverse)
        n_atoms = len(position)
        at_once = _ON_CPU if jax.default_backend() == "cpu" else _ON_OTHERS
        self.rows = max(1, min(n_atoms, at_once // n_atoms))
        image, weight = _half(images)
        places = min(len(image), max(1, at_once // (self.rows * n_atoms)))
        self.image = jnp.asarray(_blocks(image, places), cell.dtype) @ cell
        self.weight = jnp.asarray(_blocks(weight, places))

    def covers(self, cutoff: float) -> Array:
        """Whether the images that are looked at are all that can be in reach."""
        reach = cutoff * jnp.linalg.norm(self.inverse, axis=0)  # in widths of the cell
        return ~jnp.any(self.repeats & (reach >= self.images / 2))

    def nothing(self) -> tuple[Array, Array]:
        """Derivatives over position and strain, before anything is added."""
        return jnp.zeros_like(self.position), jnp.zeros_like(self.cell)

    def over_rows(self, add: Callable, first: Any, values: Any) -> tuple[Any, Any]:
        """Scan over blocks of (`Rows`, values); what is of rows, as that of all atoms."""
        n_atoms = len(self.position)
        rows = Rows(self.position, self.fraction, jnp.ones_like(self.position[:, 0]))
        blocks = jax.tree.map(lambda x: _blocks(x, self.rows), (rows, values))
        total, of_rows = jax.lax.scan(jax.checkpoint(add), first, blocks)
        return total, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n_atoms], of_rows)

    def values(self, function: Function, own: Rows, cutoff: float) -> Array:
        """Of a function, its sum over the images of each pair [rows, atoms].

        Of the two orders of a pair one is here, or each by half: add those that a row
        receives and those that an atom sends.
        """
        vector = self._vectors(own)

        def add(total, block):
            _, square, weight = self._at_images(vector, block, cutoff)
            return _added(total, weight * function(square)[0]), None

        blocks, first = (self.image, self.weight), jnp.zeros_like(vector[0])
        return jax.lax.scan(jax.checkpoint(add), first, blocks)[0] * own.used[:, None]

    def derivatives(
        self, function: Function, own: Rows, cutoff: float, factor: Array
    ) -> tuple[Array, Array, tuple[Array, Array]]:
        """`values`, and derivatives of their sum with a factor for each pair.

        Those of the rows over their positions as receivers, and of all atoms over position
        as senders and over strain.
        """
        vector, factor = self._vectors(own), factor * own.used[:, None]

        def add(total, block):
            there, square, weight = self._at_images(vector, block, cutoff)
            value, slope = function(square)
            slope = 2 * weight * slope * factor.astype(weight.dtype)[None]
            gradient = [slope * x for x in there]
            each = zip(total, (weight * value, *gradient), strict=True)
            through = jnp.stack([g.sum(axis=(1, 2)) for g in gradient], axis=1)
            return [_added(x, y) for x, y in each], through

        blocks, first = (self.image, self.weight), [jnp.zeros_like(vector[0])] * 4
        total, through = jax.lax.scan(jax.checkpoint(add), first, blocks)
        value, gradient = total[0] * own.used[:, None], jnp.stack(total[1:])
        strain = jnp.einsum("anm,bnm->ab", gradient, jnp.stack(vector))
        strain -= jnp.einsum("kca,kcb->ab", through.astype(strain.dtype), self.image)
        received, sent = gradient.sum(axis=2).T, -gradient.sum(axis=1).T
        return value, received, (sent, (strain + strain.T) / 2)

    def _vectors(self, own: Rows) -> list[Array]:
        """To the receivers of a block from the nearest images of all senders, Å."""
        turns = jnp.round(own.fraction[:, None] - self.fraction[None])
        turns = jnp.where(self.repeats, turns, 0.0)
        vector = own.position[:, None] - self.position[None] - turns @ self.cell
        return [vector[..., a] for a in range(3)]

    def _at_images(self, vector: list[Array], block: Any, cutoff: float) -> Any:
        """Vectors to images, their squares, and weights, 0 of pairs that do not count."""
        image, weight = (x.astype(self.dtype)[..., None, None] for x in block)
        there = [x.astype(self.dtype)[None] - image[:, a] for a, x in enumerate(vector)]
        square = there[0] ** 2 + there[1] ** 2 + there[2] ** 2
        near = (square <= cutoff**2) & (square > _ITSELF)
        return there, jnp.where(near, square, 1.0), jnp.where(near, weight, 0.0)


def images_within(
    cell: Float[np.ndarray, "3 3"], cutoff: float, repeats: tuple[bool, bool, bool]
) -> tuple[int, int, int]:
    """How many images of a pair to look at along each lattice vector, around the nearest.

    Odd, and all that can be within the cutoff, Å; 1 along a vector that does not repeat.
    """
    reach = cutoff * np.linalg.norm(np.linalg.inv(cell), axis=0)  # in widths of the cell
    x, y, z = (int(n) for n in np.where(repeats, 2 * np.floor(reach + 0.5) + 1, 1))
    return x, y, z


def _half(images: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One of each image and its opposite, and weights with which each pair counts once."""
    every = np.array(list(np.ndindex(*images))) - np.array(images) // 2
    middle = len(every) // 2  # itself, of weight 1/2: both orders of a pair are in it
    return every[middle:], np.where(np.arange(len(every) - middle) == 0, 0.5, 1.0)


def _blocks(array: Any, size: int) -> Any:
    """Rows in blocks of a size, with rows of zeros at the end."""
    library = np if isinstance(array, np.ndarray) else jnp
    width = [(0, -len(array) % size), *[(0, 0)] * (array.ndim - 1)]
    return library.pad(array, width).reshape(-1, size, *array.shape[1:])


def _added(total: Array, value: Array) -> Array:
    """Over images, in the precision of the total."""
    return total + jnp.sum(value, axis=0).astype(total.dtype)
