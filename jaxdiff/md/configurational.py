r"""Temperature of the positions, to be held against that of the momenta.

In a canonical ensemble $kT = \langle|\nabla U|^2\rangle / \langle\nabla^2 U\rangle$
(doi:10.1103/PhysRevLett.78.772, doi:10.1063/1.477301). Translations need no care: they
have neither force nor curvature. With the Hessian H, the difference
$|\nabla U|^2 - kT\,\nabla^2 U$ of one frame has mean 0 and variance
$kT\langle\nabla U\cdot H\nabla U\rangle + (kT)^2\langle\operatorname{tr}H^2\rangle$,
by parts like the first equation, whatever the potential: one frame of N atoms tells kT to
√(2/3N) or worse, as stiffnesses differ.

Traces are means over random displacements z of ±1 (doi:10.1080/03610919008812866): zᵀHz for
∇²U, |Hz|² for tr H². Products with H are differences of forces, as in `md.timestep`:
nothing is compiled for it.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.md.timestep import Forces, hessian_product

_PROBES = 4  # random displacements of each replica


@dataclasses.dataclass(frozen=True)
class Curvature:
    """Force and Hessian of one frame of each replica [R].

    - `squared_force` |∇U|², eV²/Å²; `along_force` ∇U·H∇U, eV³/Å⁴.
    - `laplacian` ∇²U, eV/Å², a mean whose own variance is `laplacian_variance`.
    - `squared_hessian` tr H², eV²/Å⁴; `by_mass` tr H M⁻¹H, the same by u.
    """

    squared_force: Float[np.ndarray, " replicas"]
    along_force: Float[np.ndarray, " replicas"]
    laplacian: Float[np.ndarray, " replicas"]
    laplacian_variance: Float[np.ndarray, " replicas"]
    squared_hessian: Float[np.ndarray, " replicas"]
    by_mass: Float[np.ndarray, " replicas"]

    def of(self, replica: Bool[np.ndarray, " replicas"]) -> "Curvature":
        """Of some of the replicas."""
        names = (field.name for field in dataclasses.fields(self))
        return Curvature(*(getattr(self, name)[replica] for name in names))

    def temperature(self) -> tuple[float, float]:
        """kT of all replicas together and its standard error, eV.

        Not a number where the mean curvature is not positive.
        """
        total = self.laplacian.sum()
        if not total > 0:
            return math.nan, math.nan
        kt = self.squared_force.sum() / total
        square = kt * self.along_force
        square = square + kt**2 * (self.squared_hessian + self.laplacian_variance)
        return float(kt), float(np.sqrt(max(square.sum(), 0.0)) / total)

    def position_error(self, timestep: float) -> float:
        """By how much velocity Verlet raises kT of positions above that of the momenta.

        To the second order in the step h, tr(H M⁻¹H) h²/4 / tr H: a mode has positions at
        T/(1 - ω²h²/4), see `md.timestep`, and counts by its stiffness here. Not a number
        where the mean curvature is not positive.
        """
        total = self.laplacian.sum()
        if not total > 0:
            return math.nan
        return float(self.by_mass.sum() * timestep**2 / 4 / total)


def curvature(
    force: Forces,
    position: Float[np.ndarray, "replicas atoms 3"],
    mass: Float[np.ndarray, " atoms"],
    number: Sequence[int],
) -> Curvature:
    """Of frames, Å, with masses, u; 11 times the forces of all replicas.

    The displacements of a replica are drawn by its `number`: it has the same in any batch.
    """
    here = force(position)
    square = (here**2).sum(axis=(1, 2))
    draws = [np.random.default_rng(n) for n in number]
    trace, square_trace, by_mass = np.zeros((3, _PROBES, len(position)))
    probe = np.ones_like(position)
    for k in range(_PROBES):
        probe = np.stack([r.choice([-1.0, 1.0], size=position.shape[1:]) for r in draws])
        product = hessian_product(force, position, probe)
        trace[k] = (probe * product).sum(axis=(1, 2))
        square_trace[k] = (product**2).sum(axis=(1, 2))
        by_mass[k] = (product**2 / mass[:, None]).sum(axis=(1, 2))
    direction = np.where(square[:, None, None] > 0, here, probe)
    along = (here * hessian_product(force, position, direction)).sum(axis=(1, 2))
    return Curvature(
        square,
        along,
        trace.mean(axis=0),
        trace.var(axis=0, ddof=1) / _PROBES,
        square_trace.mean(axis=0),
        by_mass.mean(axis=0),
    )
