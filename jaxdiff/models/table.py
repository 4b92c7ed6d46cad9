"""Radial functions of a fixed composition as tables: few, smooth, cheap to look up.

For each pair of species all weights of the radial network are functions of one scalar, and
span a space of few dimensions to any practical accuracy. Its leading singular functions are
tabulated as cubic Hermite splines; the linear last layer takes them back to the weights.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

SHORTEST = 0.4
"""Å: at shorter distances the tabulated functions are those of this one."""

_FEWEST_INTERVALS, _MOST_INTERVALS = 512, 2**14
_STRIDE = 8  # of the grid, for the singular functions: they are smooth


@struct.dataclass
class RadialTable:
    """Functions of the distance, one set for each pair of species.

    - `coefficient` [pairs * intervals, 4, functions]: of powers of the position within an
      interval, 0 to 1, constant first.
    - `intervals`, `cutoff` in Å: static.
    """

    coefficient: Float[Array, "rows 4 functions"]
    intervals: int = struct.field(pytree_node=False)
    cutoff: float = struct.field(pytree_node=False)

    def __call__(
        self, distance: Float[Array, "*edges"], pair: Int[Array, "*edges"]
    ) -> Float[Array, "*edges functions"]:
        """Values at distances in Å; exactly zero at and beyond the cutoff."""
        inverse = self.intervals / (self.cutoff - SHORTEST)
        place = jnp.maximum(distance - SHORTEST, 0.0) * inverse
        interval = jnp.minimum(place.astype(jnp.int32), self.intervals - 1)
        u = jnp.minimum(place - interval, 1.0)[..., None]
        row = self.coefficient.at[pair * self.intervals + interval].get(
            mode="promise_in_bounds"
        )
        value = ((row[..., 3, :] * u + row[..., 2, :]) * u + row[..., 1, :]) * u
        return jnp.where((distance < self.cutoff)[..., None], value + row[..., 0, :], 0.0)


def tabulate(
    function: Callable[[Array, int], Array], n_pairs: int, cutoff: float, tolerance: float
) -> tuple[RadialTable, Float[np.ndarray, "functions weights"]]:
    """A table, and the matrix from its functions to the function's values.

    - `function`: (distance [n], pair) -> values [n, weights], in float64; zero with its
      slope at the cutoff.
    - `tolerance`: largest error of a value relative to the largest value.
    """
    back, intervals = None, _FEWEST_INTERVALS
    while True:
        grid = np.linspace(SHORTEST, cutoff, 2 * intervals + 1)
        value, slope = _on_grid(function, n_pairs, grid)
        largest = np.abs(value).max()
        if back is None:
            back = _leading_directions(value[:, ::_STRIDE], tolerance / 2)
        knots = _spline(value[:, ::2] @ back.T, slope[:, ::2] @ back.T, grid[::2])
        table = RadialTable(jnp.asarray(knots), intervals, cutoff)
        pair = jnp.broadcast_to(jnp.arange(n_pairs)[:, None], value.shape[:2])
        found = np.asarray(table(jnp.broadcast_to(grid, pair.shape), pair)) @ back
        error = np.abs(found - value)[:, :-1].max() / largest
        if error <= tolerance:
            return table, back
        if 2 * intervals > _MOST_INTERVALS:
            raise ValueError(
                f"radial functions cannot be tabulated to {tolerance:.1e}: the error is "
                f"{error:.1e} with {intervals} intervals; use a larger tolerance, or the "
                "exact radial functions."
            )
        intervals *= 2


def _on_grid(function, n_pairs, grid):
    """Values and derivatives [pairs, grid, weights]."""

    @functools.partial(jax.jit, static_argnums=1)
    def both(grid, pair):
        return jax.jvp(lambda r: function(r, pair), (grid,), (jnp.ones_like(grid),))

    value, slope = zip(*(both(grid, pair) for pair in range(n_pairs)), strict=True)
    return np.stack(value), np.stack(slope)


def _leading_directions(values, tolerance):
    """Orthonormal rows that span the rows of `values` to within the tolerance."""
    values = values.reshape(-1, values.shape[-1])
    _, singular, directions = np.linalg.svd(values, full_matrices=False)
    largest = np.abs(values).max()
    # the largest error is at least that of the mean square, which singular values tell
    tail = np.sqrt(np.cumsum(singular[::-1] ** 2)[::-1] / values.size)
    rank = max(int(np.sum(tail > tolerance * largest)), 1)
    while rank < len(directions):
        kept = directions[:rank]
        if np.abs(values - values @ kept.T @ kept).max() <= tolerance * largest:
            break
        rank += 1
    return directions[:rank]


def _spline(value, slope, grid):
    """Cubic Hermite coefficients [pairs * intervals, 4, functions] from the knots."""
    step = grid[1] - grid[0]
    begin, end = value[:, :-1], value[:, 1:]
    left, right = step * slope[:, :-1], step * slope[:, 1:]
    powers = (
        begin,
        left,
        3 * (end - begin) - 2 * left - right,
        2 * (begin - end) + left + right,
    )
    return np.stack(powers, axis=-2).reshape(-1, 4, value.shape[-1])
