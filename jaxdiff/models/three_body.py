r"""The Axilrod–Teller–Muto term of DFT-D3, of three atoms each (doi:10.1063/1.3382344).

$$ E = \sum_{triples} \frac{C_9 (3 \cos\alpha \cos\beta \cos\gamma + 1)}{(r_{ij} r_{ik}
r_{jk})^3}\, \frac{1}{1 + 6\,(R / r)^{16}}, \quad C_9 = \sqrt{C_6^{ij} C_6^{ik} C_6^{jk}} $$

with r the geometric mean of the three distances, R 4/3 times that of van der Waals radii.
It is optional, and its cost goes with the sixth power of its cutoff: it has rows of
neighbours of its own, made anew at every call.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxdiff import neighbors
from jaxdiff.models.contract import Term
from jaxdiff.models.dispersion import Dispersion
from jaxdiff.models.dispersion_tables import references
from jaxdiff.neighbors import Neighbors
from jaxdiff.units import HARTREE

_MARGIN, _HEADROOM = 0.75, 1.2  # Å and factor: room in a row for atoms that crowd
_RADIUS_SCALE = 4 / 3


@struct.dataclass
class ThreeBody(Term):
    """The three-body energy of dispersion of given atoms.

    - `pairs`: those of the same atoms, for their C6.
    - `is_kind` [atoms, elements]: 1 for the element of an atom; `vdw_radius` [elements,
      elements], Å.
    - `lists`: of some configuration; their capacity counts, their content does not.
    - `cutoff`: of all three distances, Å; static.
    """

    pairs: Dispersion
    is_kind: Float[Any, "atoms elements"]
    vdw_radius: Float[Any, "elements elements"]
    lists: Neighbors
    cutoff: float = struct.field(pytree_node=False)

    def energy_force_strain(
        self, position: Float[Array, "atoms 3"], cell: Float[Array, "3 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "atoms 3"], Float[Array, "3 3"]]:
        """Energy, eV, forces, eV/Å, and dE/dstrain, eV; not numbers where a row is full."""

        def energy(position, strain):
            deformation = jnp.eye(3) + (strain + strain.T) / 2
            return self._energy(position @ deformation, cell @ deformation)

        none = jnp.zeros_like(cell)
        value, (gradient, strain) = jax.value_and_grad(energy, (0, 1))(position, none)
        return value, -gradient, strain

    def __str__(self) -> str:
        return f"its three-body term up to {self.cutoff:.4g} Å"

    def _energy(self, position: Array, cell: Array) -> Array:
        where = jax.lax.stop_gradient((position, cell))
        lists = neighbors.update(*where, self.lists, self.cutoff, 0.0)
        sums = self.pairs.sums(position, cell)
        weight, c6 = self.pairs.weights(self.pairs.count(sums)), self.pairs.c6
        vector = neighbors.displacement(position, cell, lists)
        sender = jnp.where(lists.sender < len(position), lists.sender, 0)

        def of_atom(total, row):
            vector, sender, mine, kind = row
            theirs, kinds = weight[sender], jnp.asarray(self.is_kind)[sender]
            near, between = theirs @ (c6 @ mine), theirs @ c6 @ theirs.T
            radius = kinds @ (self.vdw_radius @ kind), kinds @ self.vdw_radius @ kinds.T
            return total + self._triples(vector, (near, between), radius), None

        rows = vector, sender, weight, jnp.asarray(self.is_kind)
        total = jax.lax.scan(jax.checkpoint(of_atom), jnp.zeros_like(position[0, 0]), rows)
        sound = ~lists.overflow & neighbors.is_covered(cell, lists)
        sound = sound & sums.covers(self.pairs.counting)
        return total[0] / 6 * jnp.where(sound, 1.0, jnp.nan)  # all orders of a triple

    def _triples(
        self, vector: Array, c6: tuple[Array, Array], radius: tuple[Array, Array]
    ) -> Array:
        """Energy of an atom with all pairs of its neighbours, in both orders, eV."""

        def product(pair):
            near, between = pair
            return near[:, None] * near[None] * between

        square = jnp.sum(vector**2, axis=1)
        across = jnp.sum((vector[:, None] - vector[None]) ** 2, axis=2)
        counts = (square <= self.cutoff**2)[:, None] & (square <= self.cutoff**2)[None]
        counts = counts & (across <= self.cutoff**2) & (across > 1e-8)
        a, b = square[:, None], square[None]
        across = jnp.where(counts, across, 1.0)
        all_three = product((square, across))
        angles = (a + b - across) * (a - b + across) * (b - a + across) / all_three
        ratio = _RADIUS_SCALE**6 * product(radius) ** 2 / all_three
        c9 = jnp.sqrt(product(c6) / HARTREE)  # eV Å^9, an equation of atomic units
        damped = c9 / (1 + 6 * ratio ** (8 / 3))
        energy = damped * (0.375 * angles + 1) / all_three**1.5
        return jnp.sum(jnp.where(counts, energy, 0.0))


def three_body(
    pairs: Dispersion,
    atomic_number: np.ndarray,
    position: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    cutoff: float,
    *,
    compression: float = 0.0,
) -> ThreeBody:
    """The term of these atoms, in cells and configurations about like this one.

    - `cutoff`, Å; `compression`: by which fraction the edges of the cell may shrink.

    Raises ValueError for atoms that do not repeat in all three directions.
    """
    if not all(pairs.repeats):
        raise ValueError(
            "the three-body term is that of crystals, in cells that repeat in all three "
            "directions; leave it out, or put the atoms into such a cell."
        )
    number, kind = np.unique(atomic_number, return_inverse=True)
    small = cell * (1 - compression), position * (1 - compression)
    rows = neighbors.neighbor_rows(small[1], small[0], cutoff + _MARGIN)[0]
    capacity = math.ceil(rows.shape[1] * _HEADROOM)
    return ThreeBody(
        pairs=pairs,
        is_kind=np.eye(len(number))[kind],
        vdw_radius=references(number.tolist()).vdw_radius,
        lists=neighbors.allocate(
            position, cell, cutoff, 0.0, capacity=capacity, compression=compression
        ),
        cutoff=float(cutoff),
    )
