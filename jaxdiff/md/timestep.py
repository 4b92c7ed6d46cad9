r"""What the length of the time step does, from the frequencies of the crystal at hand.

A harmonic mode of frequency ω under velocity Verlet with the step h keeps
$p^2/m + m\omega^2(1-\omega^2h^2/4)\,q^2$: where a thermostat holds the kinetic temperature
at T, positions of the mode are at $T/(1-\omega^2h^2/4)$. BAOAB has positions at T, and
momenta at $T(1-\omega^2h^2/4)$ (doi:10.1093/amrx/abs010): the kinetic temperature is low.

The density of ω² is that of a random displacement by Lanczos's method, a few products with
the Hessian from differences of forces (doi:10.1137/16M1104974): nothing is compiled for it.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxdiff import units

_STEPS = 4  # of Lanczos's method: the highest frequency to a few per cent
_DISPLACEMENT = 0.01  # Å, root of the mean square over atoms

Forces = Callable[
    [Float[np.ndarray, "replicas atoms 3"]], Float[np.ndarray, "replicas atoms 3"]
]
"""From positions, Å, to forces, eV/Å."""


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Points of the density of ω² [R, K], 1/time², and their weights, which sum to 1."""

    square: Float[np.ndarray, "replicas points"]
    weight: Float[np.ndarray, "replicas points"]

    @property
    def highest_thz(self) -> float:
        """The highest frequency found, a lower bound, THz."""
        return math.sqrt(max(self.square.max(), 0.0)) * units.PICOSECOND / (2 * math.pi)

    def momentum_error(self, timestep: float) -> float:
        """How much colder momenta are than positions: the mean of ω²h²/4."""
        return float((self.weight * self.square).sum(axis=1).mean() * timestep**2 / 4)

    def position_error(self, timestep: float) -> float:
        """How much hotter positions are than momenta: the mean of 1/(1 - ω²h²/4) - 1."""
        part = self.square * timestep**2 / 4
        if part.max() >= 1:
            return math.inf  # such a mode is not stable
        return float((self.weight * part / (1 - part)).sum(axis=1).mean())


def spectrum(
    force: Forces,
    position: Float[np.ndarray, "replicas atoms 3"],
    mass: Float[np.ndarray, " atoms"],
    seed: int = 0,
) -> Spectrum:
    """Of all replicas, each with a random displacement of its own; 8 times the forces."""
    rng = np.random.default_rng(seed)
    root = np.sqrt(mass)[:, None]
    vector = _unit(rng.choice([-1.0, 1.0], size=position.shape))
    before, coupling = np.zeros_like(vector), np.zeros(len(position))
    matrix, n = np.zeros((len(position), _STEPS, _STEPS)), 1
    for k in range(_STEPS):
        product = hessian_product(force, position, vector / root) / root
        product -= coupling[:, None, None] * before
        matrix[:, k, k] = (vector * product).sum(axis=(1, 2))
        product -= matrix[:, k, k, None, None] * vector
        coupling = np.linalg.norm(product, axis=(1, 2))
        if k + 1 == _STEPS or (coupling <= 1e-9 * matrix[:, 0, 0]).any():
            break
        matrix[:, k, k + 1] = matrix[:, k + 1, k] = coupling
        before, vector, n = vector, _unit(product), k + 2
    square, states = np.linalg.eigh(matrix[:, :n, :n])
    return Spectrum(square, states[:, 0] ** 2)


def hessian_product(
    force: Forces, position: np.ndarray, direction: Float[np.ndarray, "replicas atoms 3"]
) -> Float[np.ndarray, "replicas atoms 3"]:
    """Hessian times a direction, by central differences; eV/Å² times its unit."""
    size = np.sqrt((direction**2).sum(axis=(1, 2)) / direction.shape[1])[:, None, None]
    step = _DISPLACEMENT * direction / size
    return (force(position - step) - force(position + step)) * size / (2 * _DISPLACEMENT)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=(1, 2))[:, None, None]
