"""Rows of a table by number, and sums of rows by number, in one order on every device.

On an accelerator many threads add to one place in memory, in any order; so both are
products with ones and zeros there, whose derivatives are products, too.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdiff.models.derivative import PRECISION


def rows_of(
    table: Float[Array | np.ndarray, "rows ..."], index: Int[Array | np.ndarray, " n"]
) -> Array:
    """Rows of a table with weights, [n, ...]."""
    if jax.default_backend() == "cpu":
        return jnp.asarray(table)[index]
    chosen = jax.nn.one_hot(index, len(table), dtype=table.dtype)
    return jnp.tensordot(chosen, table, 1, precision=PRECISION)


def total_by(rows: Float[Array, "n ..."], index: Int[Array, " n"], number: int) -> Array:
    """Sums of the rows of each of so many indices, [number, ...]; rows are finite."""
    if jax.default_backend() == "cpu":
        return jax.ops.segment_sum(rows, index, number)
    chosen = jax.nn.one_hot(index, number, axis=0, dtype=rows.dtype)
    return jnp.tensordot(chosen, rows, 1, precision=PRECISION)
