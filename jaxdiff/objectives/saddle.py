"""Saddle points to high precision, and the lowest vibrations of stationary points.

Newton's method on the forces; the Hessian is never made: its products with vectors are
gradients of the model, and MINRES solves for the step (conjugate gradients would not: at a
saddle the Hessian is indefinite).
"""

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse.linalg import (
    ArpackNoConvergence,
    LinearOperator,
    aslinearoperator,
    eigsh,
    minres,
)

from jaxdiff import units
from jaxdiff.objectives.relax import Relaxed, largest_norm, relaxed
from jaxdiff.objectives.surface import EnergyAndForce

THZ = units.PICOSECOND / (2 * math.pi)
"""One rad per internal time unit, in THz."""

_MAX_STEP = 0.1  # Å, of one coordinate in one Newton step
_LIFT = 1e3  # added to the eigenvalues of translations


@dataclasses.dataclass(frozen=True)
class Modes:
    """The lowest vibrations of a stationary point, translations left out.

    - `eigenvalue` [modes]: of the mass-weighted Hessian, eV/(Å^2 u), ascending.
    - `vector` [modes, atoms, 3]: of mass-weighted displacements, unit length.
    """

    eigenvalue: Float[np.ndarray, " modes"]
    vector: Float[np.ndarray, "modes atoms 3"]

    @property
    def frequency_thz(self) -> Float[np.ndarray, " modes"]:
        """Frequencies; an imaginary one is given as a negative number."""
        return np.sign(self.eigenvalue) * np.sqrt(np.abs(self.eigenvalue)) * THZ

    @property
    def n_negative(self) -> int:
        """How many directions go down; all of them only if it is fewer than there are."""
        return int(np.sum(self.eigenvalue < 0))


HessianProduct = Callable[
    [Float[Array, "atoms 3"], Float[Array, "atoms 3"]], Float[Array, "atoms 3"]
]
"""Positions and a vector v to the Hessian of the energy times v, eV/Å^2 times v."""


def polish(
    energy_and_force: EnergyAndForce,
    product: HessianProduct,
    position: Float[Array, "atoms 3"],
    *,
    largest_force: float = 1e-3,
    max_steps: int = 12,
) -> Relaxed:
    """The stationary point next to `position`, of whatever index; in float64.

    The two functions are called often and should be compiled. Raises `ValueError` where
    the forces do not fall below `largest_force`, eV/Å.
    """
    here = jnp.asarray(position, jnp.float64)
    largest, n_steps = math.inf, 0
    for n_steps in range(max_steps + 1):
        force = energy_and_force(here)[1]
        largest = float(largest_norm(force))
        if largest <= largest_force:
            return relaxed(energy_and_force, here, n_steps + 1, largest_force)
        if not math.isfinite(largest) or n_steps == max_steps:
            break

        step = solve(product, here, force, tolerance=1e-3)
        here = here + step * min(1.0, _MAX_STEP / max(np.abs(step).max(), 1e-12))
    raise ValueError(
        f"the largest force is {largest:.2g} eV/Å after {n_steps} Newton steps, and "
        f"{largest_force} is asked for; start nearer to the saddle (a tighter band, more "
        "images), or allow larger forces."
    )


def solve(
    product: HessianProduct,
    position: Float[Array, "atoms 3"],
    force: Float[Array, "atoms 3"],
    *,
    tolerance: float = 1e-6,
    max_steps: int = 200,
) -> Float[np.ndarray, "atoms 3"]:
    """The displacement with H displacement = force, Å, by MINRES; of least length.

    `tolerance`: of the residual, relative; MINRES also ends after `max_steps` products.
    """
    here = jnp.asarray(position)

    def times(vector):
        return np.asarray(product(here, jnp.reshape(vector, here.shape))).ravel()

    hessian = _symmetric(times, here.size)
    found = minres(hessian, np.ravel(force), rtol=tolerance, maxiter=max_steps)[0]
    return found.reshape(here.shape)


def lowest_modes(
    product: HessianProduct,
    position: Float[Array, "atoms 3"],
    mass: Float[Array, " atoms"],
    n_modes: int = 2,
    *,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> Modes:
    """The lowest eigenvalues of the mass-weighted Hessian, by Lanczos.

    Translations are lifted out of the way. Raises `ValueError` where Lanczos does not
    converge.
    """
    here, root = jnp.asarray(position, jnp.float64), np.sqrt(np.asarray(mass))[:, None]
    shape, n = here.shape, here.size
    uniform = np.zeros((3, *shape))
    for axis in range(3):
        uniform[axis, :, axis] = root[:, 0]
    uniform = uniform.reshape(3, n) / np.linalg.norm(root)

    def times(vector):
        moved = np.asarray(product(here, jnp.asarray(vector.reshape(shape) / root))) / root
        return moved.ravel() + _LIFT * (uniform.T @ (uniform @ vector))

    start = np.random.default_rng(seed).normal(size=n)
    try:
        value, vector = eigsh(
            _symmetric(times, n),
            k=n_modes,
            which="SA",
            tol=tolerance,  # pyright: ignore[reportArgumentType]: SciPy's stub says int
            v0=start,
        )
    except ArpackNoConvergence as error:
        raise ValueError(
            f"the {n_modes} lowest modes are not found to {tolerance} in Lanczos's "
            f"default number of steps ({len(error.eigenvalues)} are); ask for fewer, or "
            "for a larger tolerance."
        ) from None
    order = np.argsort(value)
    return Modes(value[order], vector.T[order].reshape(n_modes, *shape))


def _symmetric(times: Callable[[np.ndarray], np.ndarray], n: int) -> LinearOperator:
    """An operator of n x n numbers, of its products alone."""
    return aslinearoperator(_Products((n, n), times, np.dtype(np.float64)))


@dataclasses.dataclass(frozen=True)
class _Products:
    """What SciPy takes for a linear operator."""

    shape: tuple[int, int]
    matvec: Callable[[np.ndarray], np.ndarray]
    dtype: np.dtype
