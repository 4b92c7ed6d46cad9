"""Radial functions of a fixed composition as tables: few, smooth, cheap to look up.

For each pair of species all weights of the radial network are functions of one scalar, and
span a space of few dimensions to any practical accuracy: 23 for a pair of MACE-MPA-0's
architecture to 1e-6, 35 for two pairs. The leading singular functions of the pairs that are
to share them are tabulated as cubic Hermite splines; the linear last layer takes them back
to the weights.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

SHORTEST = 0.4
"""Å: at shorter distances the tabulated functions are those of this one."""

_FEWEST_INTERVALS, _MOST_INTERVALS = 512, 2**14
_SAMPLES = 129  # of the distance, for the singular functions: they are smooth


@struct.dataclass
class RadialTable:
    """Functions of the distance, one set for each row: a pair of species in a group.

    - `coefficient` [rows * intervals, 4, functions]: of powers of the position within an
      interval, 0 to 1, constant first.
    - `intervals`, `cutoff` in Å: static.
    """

    coefficient: Float[Any, "knots 4 functions"]
    intervals: int = struct.field(pytree_node=False)
    cutoff: float = struct.field(pytree_node=False)

    def __call__(
        self, distance: Float[Array | np.ndarray, "*edges"], row: Int[Array, "*edges"]
    ) -> Float[Array, "*edges functions"]:
        """Values at distances in Å; exactly zero at and beyond the cutoff."""
        inverse = self.intervals / (self.cutoff - SHORTEST)
        place = jnp.maximum(distance - SHORTEST, 0.0) * inverse
        interval = jnp.minimum(place.astype(jnp.int32), self.intervals - 1)
        u = jnp.minimum(place - interval, 1.0)[..., None]
        power = self.coefficient.at[row * self.intervals + interval].get(
            mode="promise_in_bounds"
        )
        value = ((power[..., 3, :] * u + power[..., 2, :]) * u + power[..., 1, :]) * u
        return jnp.where((distance < self.cutoff)[..., None], value + power[..., 0, :], 0.0)


def tabulate(
    function: Callable[[Array, int], Array],
    groups: Int[np.ndarray, "groups members"],
    cutoff: float,
    tolerance: float,
) -> tuple[RadialTable, Float[np.ndarray, "groups functions weights"]]:
    """A table, and for each group the matrix from its functions to the function's values.

    - `function`: (distance [n], pair) -> values [n, weights], in float64; zero with its
      slope at the cutoff.
    - `groups`: pairs, from 0 on, that share their functions; the table has a row for each
      of them. Groups with fewer functions than another have some that are zero.
    - `tolerance`: largest error of a value relative to the largest value.
    """
    back, intervals = None, _FEWEST_INTERVALS
    while True:
        grid = np.linspace(SHORTEST, cutoff, 2 * intervals + 1)
        value, slope = _on_grid(function, int(groups.max()) + 1, grid)
        largest = np.abs(value).max()
        if back is None:
            allowed = 0.8 * tolerance * largest
            back = _joined([_leading(value[own], allowed) for own in groups])
        rows = [
            (pair, own) for pairs, own in zip(groups, back, strict=True) for pair in pairs
        ]
        knots = [
            _spline(value[pair, ::2] @ own.T, slope[pair, ::2] @ own.T, grid[::2])
            for pair, own in rows
        ]
        table = RadialTable(jnp.asarray(np.concatenate(knots)), intervals, cutoff)
        errors = [
            np.abs(table(grid, jnp.full(grid.shape, row)) @ own - value[pair])[:-1].max()
            for row, (pair, own) in enumerate(rows)
        ]
        error = max(errors) / largest
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


def _leading(values, largest_error):
    """Orthonormal rows that span the rows of `values` to within the error.

    Those of a sample that is denser towards both ends, where errors are largest.
    """
    angle = np.linspace(0, np.pi, _SAMPLES)
    sample = np.unique(np.rint((1 - np.cos(angle)) / 2 * (values.shape[1] - 1)).astype(int))
    sampled = values[:, sample].reshape(-1, values.shape[-1])
    _, singular, directions = np.linalg.svd(sampled, full_matrices=False)
    # the largest error is at least that of the mean square, which singular values tell
    tail = np.sqrt(np.cumsum(singular[::-1] ** 2)[::-1] / sampled.size)
    rank = max(int(np.sum(tail > largest_error)), 1)
    values = values.reshape(-1, values.shape[-1])
    while rank < len(directions):
        kept = directions[:rank]
        if np.abs(values - values @ kept.T @ kept).max() <= largest_error:
            break
        rank += 1
    return directions[:rank]


def _joined(directions):
    """One array of them, with zeros where a group has fewer."""
    joined = np.zeros((len(directions), max(map(len, directions)), directions[0].shape[1]))
    for own, found in zip(joined, directions, strict=True):
        own[: len(found)] = found
    return joined


def _spline(value, slope, grid):
    """Cubic Hermite coefficients [intervals, 4, functions] from the knots."""
    step = grid[1] - grid[0]
    begin, end = value[:-1], value[1:]
    left, right = step * slope[:-1], step * slope[1:]
    powers = (
        begin,
        left,
        3 * (end - begin) - 2 * left - right,
        2 * (begin - end) + left + right,
    )
    return np.stack(powers, axis=1)
