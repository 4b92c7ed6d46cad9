r"""DFT-D3 dispersion with Becke–Johnson damping, beside any model.

$$ E = -\sum_{pairs} C_6^{ij} \left( \frac{s_6}{r^6 + R^6} + \frac{s_8\,q}{r^8 + R^8}
\right), \quad R = a_1 \sqrt{q} + a_2, \quad q = 3 m_i m_j $$

over all pairs of atoms and images up to a cutoff of its own (doi:10.1002/jcc.21759). C6 are
those of reference systems, weighted by how near their coordination numbers are to those of
both atoms (doi:10.1063/1.3382344):

$$ n_i = \sum_j \frac{1}{1 + e^{-16 (R_{ij} / r - 1)}}, \quad
w_i \propto e^{-4 (n_i - n_{ref})^2} $$

C6 and R are the same for all images of a pair, so that images are summed first, pair by
pair. The three-body term is in `three_body`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.models.contract import Term
from jaxdiff.models.dispersion_tables import Damping, damping_of, references
from jaxdiff.models.image_sums import Function, ImageSums, images_within
from jaxdiff.units import BOHR

CUTOFF = 40 * BOHR
"""Of pairs, Å, where none is given; and of coordination, unless that of pairs is less."""

_STEEPNESS, _SHARPNESS = 16.0, 4.0  # of counting neighbours, of weights


@struct.dataclass
class Dispersion(Term):
    """The energy of dispersion of given atoms.

    - `radius` [atoms], Å: covalent, by which coordination is counted; `moment` [atoms], Å.
    - `coordination` [references], `belongs` [atoms, references], `c6` [references,
      references], eV Å^6: see `dispersion_tables.References`.
    - `functional`, `damping`: whose parameters, and which. `cutoff`, Å. Static.
    - `images`, `repeats`: see `image_sums`. Static.
    - `dtype`: of what a pair adds; sums are float64. Static.
    """

    radius: Float[Any, " atoms"]
    moment: Float[Any, " atoms"]
    coordination: Float[Any, " references"]
    belongs: Bool[Any, "atoms references"]
    c6: Float[Any, "references references"]
    functional: str = struct.field(pytree_node=False)
    damping: Damping = struct.field(pytree_node=False)
    cutoff: float = struct.field(pytree_node=False)
    images: tuple[int, int, int] = struct.field(pytree_node=False)
    repeats: tuple[bool, bool, bool] = struct.field(pytree_node=False)
    dtype: str = struct.field(pytree_node=False)

    def energy_force_strain(
        self, position: Float[Array, "atoms 3"], cell: Float[Array, "3 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "atoms 3"], Float[Array, "3 3"]]:
        """Energy, eV, forces, eV/Å, and dE/dstrain, eV.

        Not numbers for a cell that has more images in reach than are looked at.
        """
        sums = self.sums(position, cell)
        weight, pullback = jax.vjp(self.weights, self.count(sums))
        energy, over_weight, direct = self._pairs(sums, weight)
        indirect = self._counted(sums, pullback(over_weight)[0])
        gradient, strain = jax.tree.map(jnp.add, direct, indirect)
        valid = jnp.where(sums.covers(self.cutoff), 1.0, jnp.nan)
        return energy * valid, -gradient * valid, strain * valid

    def __str__(self) -> str:
        return f"DFT-D3(BJ) of {self.functional}, pairs up to {self.cutoff:.4g} Å"

    def sums(self, position: Float[Array, "atoms 3"], cell: Float[Array, "3 3"]):
        """What sums over pairs of this configuration."""
        return ImageSums(position, cell, self.images, self.repeats, self.dtype)

    def count(self, sums: ImageSums) -> Float[Array, " atoms"]:
        """Coordination numbers."""

        def add(total, block):
            own, radius = block
            pair = sums.values(_count(radius, self.radius), own, self.counting)
            return total + pair.sum(axis=0), pair.sum(axis=1)

        first = jnp.zeros_like(sums.position[:, 0])
        sent, received = sums.over_rows(add, first, self.radius)
        return sent + received

    def weights(self, number: Float[Array, " atoms"]) -> Float[Array, "atoms references"]:
        """Of reference systems, for coordination numbers of atoms."""
        exponent = -_SHARPNESS * (number[:, None] - self.coordination[None]) ** 2
        return jax.nn.softmax(exponent, axis=1, where=self.belongs)

    @property
    def counting(self) -> float:
        return min(self.cutoff, CUTOFF)

    def _pairs(
        self, sums: ImageSums, weight: Float[Array, "atoms references"]
    ) -> tuple[Array, Array, tuple[Array, Array]]:
        """Energy, and its derivatives over weights, and over position and strain."""

        def add(total, block):
            own, (moment, mine) = block
            mixed = mine @ self.c6
            function = _attraction(self.damping, moment, self.moment)
            factor = -mixed @ weight.T
            pair, received, sent = sums.derivatives(function, own, self.cutoff, factor)
            new = jnp.sum(factor * pair), -pair.T @ mixed, sent
            of_rows = -pair @ (weight @ self.c6), received
            return jax.tree.map(jnp.add, total, new), of_rows

        first = jnp.zeros_like(weight[0, 0]), jnp.zeros_like(weight), sums.nothing()
        total, rows = sums.over_rows(add, first, (self.moment, weight))
        energy, over_weight, (gradient, strain) = total
        return energy, over_weight + rows[0], (gradient + rows[1], strain)

    def _counted(
        self, sums: ImageSums, slope: Float[Array, " atoms"]
    ) -> tuple[Array, Array]:
        """Over position and strain, of an energy of given slope over coordination."""

        def add(total, block):
            own, (radius, mine) = block
            factor = mine[:, None] + slope[None]
            function = _count(radius, self.radius)
            _, received, sent = sums.derivatives(function, own, self.counting, factor)
            return jax.tree.map(jnp.add, total, sent), received

        total, received = sums.over_rows(add, sums.nothing(), (self.radius, slope))
        return total[0] + received, total[1]


def dispersion(
    atomic_number: Int[np.ndarray, " atoms"],
    cell: Float[np.ndarray, "3 3"],
    functional: str,
    *,
    cutoff: float = CUTOFF,
    pbc: tuple[bool, bool, bool] = (True, True, True),
    compression: float = 0.0,
    dtype: Any = "float64",
) -> Dispersion:
    """DFT-D3(BJ) of these atoms; for cells about as large as this one, Å, or larger.

    - `functional`: whose damping parameters are taken, such as "pbe".
    - `cutoff`: of pairs, Å.
    - `compression`: by which fraction the edges of the cell may shrink later on.

    Raises ValueError for an unknown functional, or an element that upstream has not.
    """
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"cutoff={cutoff} Å; it must be positive, such as 21 Å.")
    number, kind = np.unique(atomic_number, return_inverse=True)
    known = references(number.tolist())
    return Dispersion(
        radius=known.covalent_radius[kind],
        moment=known.moment[kind],
        coordination=known.coordination,
        belongs=known.belongs[kind],
        c6=known.c6,
        functional=functional,
        damping=damping_of(functional),
        cutoff=float(cutoff),
        images=images_within(np.asarray(cell) * (1 - compression), cutoff, pbc),
        repeats=pbc,
        dtype=str(jnp.dtype(dtype)),
    )


def _count(own: Float[Array, " rows"], radius: Float[Any, " atoms"]) -> Function:
    """How much of a neighbour counts; of covalent radii of rows and of all atoms, Å."""
    sums = own[:, None] + radius[None]

    def count(square):
        inverse = jax.lax.rsqrt(square)
        ratio = sums.astype(square.dtype)[None] * inverse
        value = jax.nn.sigmoid(_STEEPNESS * (ratio - 1))
        return value, -_STEEPNESS / 2 * value * (1 - value) * ratio * inverse**2

    return count


def _attraction(
    damping: Damping, own: Float[Array, " rows"], moment: Float[Any, " atoms"]
) -> Function:
    """Energy of a pair over -C6, Å^-6; of moments of rows and of all atoms, Å."""
    q = 3 * own[:, None] * moment[None]
    radius = damping.a1 * jnp.sqrt(q) + damping.a2
    fixed = q * damping.s8, radius**6, radius**8

    def attraction(square):
        s6 = damping.s6
        s8, six_radius, eight_radius = (x.astype(square.dtype)[None] for x in fixed)
        power = square**3
        six, eight = power + six_radius, power * square + eight_radius
        inverse = 1 / (six * eight)
        six, eight = inverse * eight, inverse * six  # one division for both
        slope = -3 * s6 * square**2 * six**2 - 4 * s8 * power * eight**2
        return s6 * six + s8 * eight, slope

    return attraction
