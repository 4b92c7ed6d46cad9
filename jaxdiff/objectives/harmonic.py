"""Rates and diffusivities by harmonic transition-state theory, and their derivatives.

The prefactor of a jump over a saddle is Vineyard's (doi:10.1016/0022-3697(57)90059-8),

    nu = prod(w_minimum) / prod'(w_saddle) / 2 pi ,   k = nu exp(-(E_s - E_m) / kT) ,

w the frequencies without those of translations, and without the unstable one at the saddle.
Unlike the barrier, nu depends to first order on where the stationary points x lie:

    d ln prod(w^2) = tr(H^-1 dH) ,   dH = dH/d theta + dH/dx . dx/d theta ,
    dx/d theta = -H^-1 d(dE/dx)/d theta

The trace is a sum of second differences of the energy along the modes, and the displacement
a first difference; so the derivative over all weights is a weighted sum of derivatives of
energies at displaced atoms, and no third derivative is ever compiled.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdiff import units
from jaxdiff.lattice.network import SiteNetwork
from jaxdiff.models.contract import Model
from jaxdiff.objectives.barrier import barrier_gradient
from jaxdiff.objectives.saddle import THZ, solve
from jaxdiff.objectives.surface import (
    Surface,
    Weights,
    evaluate,
    hessian_product,
    weighted_gradient,
)

BLOCK = 4
"""Columns of a Hessian that are made at once."""

RISE = 1e-5
"""Energy of a displacement along a mode, eV, for second differences."""

MOVED = 0.7
"""An atom displaced by so much, Å, belongs to the jump."""

_SHIFT = 1e-3  # Å, largest coordinate, for first differences


@dataclasses.dataclass(frozen=True)
class Rate:
    """A jump in harmonic transition-state theory."""

    barrier_ev: float
    prefactor_thz: float

    def log_rate(self, temperature: float) -> float:
        """ln of the rate in 1/ps, at a temperature in K."""
        return math.log(self.prefactor_thz) - self.barrier_ev / (units.KB * temperature)


@dataclasses.dataclass(frozen=True)
class _Normal:
    """Modes of a stationary point: those that count, and where they stand.

    - `curvature` [modes], eV/(Å^2 u); `vector` [modes, some, 3], displacements, Å per
      Å·sqrt(u). `atoms` [some].
    """

    position: Float[Array, "atoms 3"]
    atoms: Int[np.ndarray, " some"]
    curvature: Float[np.ndarray, " modes"]
    vector: Float[np.ndarray, "modes some 3"]


def hessian(
    model: Model,
    surface: Surface,
    position: Float[Array, "atoms 3"],
    atoms: Int[np.ndarray, " some"] | None = None,
) -> Float[np.ndarray, "coordinates coordinates"]:
    """Second derivatives of the energy, eV/Å^2, over the coordinates of `atoms` (all)."""
    atoms = np.arange(len(position)) if atoms is None else np.asarray(atoms)
    found = np.asarray(_columns(surface, model, position, jnp.asarray(atoms)))
    return (found + found.T) / 2


@jax.jit
def _columns(surface, model, position, atoms):
    def column(k):
        unit = jnp.zeros_like(position).at[atoms[k // 3], k % 3].set(1.0)
        return hessian_product(surface, model, position, unit)[atoms].ravel()

    return jax.lax.map(column, jnp.arange(3 * len(atoms)), batch_size=BLOCK)


def harmonic_rate(
    model: Model,
    surface: Surface,
    saddle: Float[Array, "atoms 3"],
    minimum: Float[Array, "atoms 3"],
    atoms: Int[np.ndarray, " some"] | None = None,
) -> Rate:
    """Barrier and prefactor of a jump, at stationary points of the model.

    - `atoms`: those that vibrate; all the others are held where they are. None: no atom is
      held. A sphere around the defect costs less: a product per coordinate.

    Raises ValueError where the minimum has a way down, or the saddle not exactly one.
    """
    low, high = _both(model, surface, saddle, minimum, atoms)
    return _rate(model, surface, low, high)


def log_rate_gradient(
    model: Model,
    surface: Surface,
    saddle: Float[Array, "atoms 3"],
    minimum: Float[Array, "atoms 3"],
    temperature: float,
    atoms: Int[np.ndarray, " some"] | None = None,
) -> tuple[Rate, Weights]:
    """The rate, and the derivative of its ln over every weight, as `model.weights`.

    The energy part is the envelope theorem's; that of the prefactor also holds how the
    stationary points move. Errors are those of `harmonic_rate`.
    """
    low, high = _both(model, surface, saddle, minimum, atoms)
    of_barrier = barrier_gradient(model, surface, saddle, minimum)[1]
    factor = 1 / (units.KB * temperature)
    parts = (_log_product_gradient(model, surface, normal) for normal in (low, high))
    gradient = jax.tree.map(lambda a, b, e: (a - b) / 2 - factor * e, *parts, of_barrier)
    return _rate(model, surface, low, high), gradient


def atoms_around(
    surface: Surface,
    start: Float[Array, "atoms 3"],
    end: Float[Array, "atoms 3"],
    radius: float,
) -> Int[np.ndarray, " some"]:
    """Atoms within `radius`, Å, of the start of one that a jump moves over `MOVED`."""
    place, cell = np.asarray(start), np.asarray(surface.cell)
    movers = place[np.linalg.norm(np.asarray(end) - place, axis=1) > MOVED]
    away = place[:, None] - movers
    away -= np.round(away @ np.linalg.inv(cell)) @ cell
    return np.flatnonzero((np.linalg.norm(away, axis=-1) < radius).any(axis=1))


def _both(model, surface, saddle, minimum, atoms) -> tuple[_Normal, _Normal]:
    return (
        _normal_modes(model, surface, minimum, atoms, 0),
        _normal_modes(model, surface, saddle, atoms, 1),
    )


def _rate(model: Model, surface: Surface, low: _Normal, high: _Normal) -> Rate:
    gap = [float(evaluate(surface, model, n.position)[0]) for n in (high, low)]
    logs = [np.sum(np.log(n.curvature)) for n in (low, high)]
    return Rate(gap[0] - gap[1], THZ * math.exp((logs[0] - logs[1]) / 2))


def _normal_modes(
    model: Model, surface: Surface, position, atoms, n_unstable: int
) -> _Normal:
    """The modes without translations and without the unstable ones, of which n are due."""
    whole = hessian(model, surface, position, atoms)
    chosen = np.arange(len(position)) if atoms is None else np.asarray(atoms)
    mass = np.asarray(surface.mass)[chosen]
    root = np.repeat(np.sqrt(mass), 3)
    weighted, n_translations = whole / np.outer(root, root), 0
    if atoms is None:
        n_translations = 3
        uniform = np.tile(np.eye(3), (len(mass), 1)) * root[:, None]
        uniform /= np.linalg.norm(uniform, axis=0)
        # above all others
        weighted = weighted + 10 * np.linalg.norm(weighted) * (uniform @ uniform.T)
    value, vector = np.linalg.eigh(weighted)
    value, vector = value[: len(value) - n_translations], vector.T
    if np.sum(value < 0) != n_unstable:
        name = "saddle" if n_unstable else "minimum"
        raise ValueError(
            f"the {name} has {np.sum(value < 0)} unstable modes among those of "
            f"{len(chosen)} atoms, and {n_unstable} are allowed; relax it further, or let "
            "more atoms vibrate."
        )
    kept = slice(n_unstable, len(value))
    shape = (-1, len(chosen), 3)
    return _Normal(position, chosen, value[kept], (vector[kept] / root).reshape(shape))


def _log_product_gradient(model: Model, surface: Surface, normal: _Normal) -> Weights:
    """Derivative of the sum of ln(curvature) over the weights, the point moving along."""
    size = np.sqrt(2 * RISE / normal.curvature)[:, None, None]
    move = np.zeros((len(size), *normal.position.shape))
    move[:, normal.atoms] = size * normal.vector
    here, n = normal.position, len(move)
    # v.H.v / curvature is a second difference over 2 RISE
    places = jnp.concatenate([here + move, here - move, here[None]])
    factors = np.append(np.ones(2 * n), -2 * n) / (2 * RISE)
    weights, slope = weighted_gradient(surface, model, places, factors)
    along = solve(partial(hessian_product, surface, model), here, slope)
    unit = _SHIFT / max(np.abs(along).max(), 1e-300)
    places = jnp.stack([here + unit * along, here - unit * along])
    shift, _ = weighted_gradient(surface, model, places, np.array([1, -1]) / (2 * unit))
    return jax.tree.map(jnp.subtract, weights, shift)


@dataclasses.dataclass(frozen=True)
class Jumps:
    """Kinds of jumps that take a defect from any of its sites to equal ones.

    - `length` [kinds], Å; `multiplicity` [kinds]: how many of a kind lead away from a site.

    The displacements of each kind must add up to zero, as in cubic crystals, and one jump
    must not remember the last: then D is the sum over kinds, without correlations.
    """

    length: Sequence[float]
    multiplicity: Sequence[int]

    @classmethod
    def of(cls, network: SiteNetwork, names: Sequence[str], constant: float) -> "Jumps":
        """Those of the names in a network's table, at a lattice constant, Å."""
        jumps = [network.jump(name) for name in names]
        unit = constant / network.edge
        return cls([unit * j.length for j in jumps], [j.multiplicity for j in jumps])

    def log_diffusivity(
        self, log_rate: Float[Array | np.ndarray, " kinds"]
    ) -> Float[Array, ""]:
        """ln of the defect diffusivity in cm²/s, from ln of the rates in 1/ps."""
        return jax.scipy.special.logsumexp(jnp.asarray(log_rate) + self._log_weight())

    def shares(
        self, log_rate: Float[Array | np.ndarray, " kinds"]
    ) -> Float[Array, " kinds"]:
        """What each kind gives to D, as a fraction; also d ln D / d ln rate."""
        return jax.nn.softmax(jnp.asarray(log_rate) + self._log_weight())

    def activation_energy(
        self,
        log_rate: Float[Array | np.ndarray, " kinds"],
        barrier: Float[Array | np.ndarray, " kinds"],
    ) -> Float[Array, ""]:
        """-d ln D / d(1/kT), eV: barriers weighted by what each kind gives to D."""
        return jnp.vdot(self.shares(log_rate), jnp.asarray(barrier))

    def _log_weight(self) -> Any:
        length = jnp.asarray(self.length)
        return jnp.log(jnp.asarray(self.multiplicity) * length**2 / 6 * units.CM2_PER_S)
