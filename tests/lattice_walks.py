"""Walks of atoms on lattices whose diffusivity, tensor and Haven ratio are known.

The reference for what is measured without sites: independent carriers, layers, cages and
one vacancy. Times in ps, lengths in Å; each comes with vibrations.
"""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxdiff.analysis.transport import Paths

JUMP = 2.0
VIBRATION = 0.15  # Å, standard deviation in each direction
FRAME_PS = 0.1
CUBE = np.concatenate([np.eye(3), -np.eye(3)])


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to move: draws a trajectory; `principal`, Å^2/ps, of D*, largest first."""

    draw: Callable[[np.random.Generator, int], Float[np.ndarray, "frames mobile 3"]]
    n_mobile: int
    principal: tuple[float, float, float]
    haven_ratio: float

    @property
    def diffusivity(self) -> float:
        """D*, Å^2/ps."""
        return sum(self.principal) / 3

    def paths(self, seed: int, n_frames: int, temperature: float = 600.0) -> Paths:
        """One trajectory; the framework, as many atoms, vibrates only."""
        rng = np.random.default_rng(seed)
        moved = self.draw(rng, n_frames)
        still = np.zeros_like(moved)
        every = np.concatenate([moved, still], axis=1)
        every = every + VIBRATION * rng.normal(size=every.shape)
        is_mobile = np.arange(2 * self.n_mobile) < self.n_mobile
        return Paths(
            displacement=(every - every[0]).astype("f4"),
            atomic_number=np.where(is_mobile, 3, 16),
            is_mobile=is_mobile,
            frame_ps=FRAME_PS,
            temperature=temperature,
            volume=2 * self.n_mobile * JUMP**3,
            spacing=JUMP,
        )


def carriers(n: int, rate: tuple[float, float, float]) -> Kind:
    """Independent atoms; `rate`, 1/ps, of jumps along x, y and z."""

    def draw(rng: np.random.Generator, n_frames: int) -> np.ndarray:
        mean = np.array(rate) * FRAME_PS / 2
        ahead, back = (rng.poisson(mean, (n_frames, n, 3)) for _ in range(2))
        return JUMP * np.cumsum(ahead - back, axis=0)

    along = sorted((r * JUMP**2 / 2 for r in rate), reverse=True)
    return Kind(draw, n, (along[0], along[1], along[2]), 1.0)


def cages(n: int, within: float, between: float) -> Kind:
    """Atoms that rattle on the six sites of a cage, and leave it at a lower rate.

    An atom takes any site of its cage at the rate `within`, 1/ps, and the same of one of
    the six cages around, at 3 `JUMP`, at the rate `between`.
    """

    def draw(rng: np.random.Generator, n_frames: int) -> np.ndarray:
        hop = rng.poisson(between * FRAME_PS / 6, (n_frames, n, 6))
        cage = 3 * JUMP * np.cumsum(hop @ CUBE, axis=0)
        stays = np.exp(-within * FRAME_PS)
        site = np.empty((n_frames, n), int)
        site[0] = rng.integers(6, size=n)
        for k in range(1, n_frames):
            new = rng.random(n) > stays
            site[k] = np.where(new, rng.integers(6, size=n), site[k - 1])
        return cage + 0.5 * JUMP * CUBE[site]

    d = between * (3 * JUMP) ** 2 / 6
    return Kind(draw, n, (d, d, d), 1.0)


def vacancy(edge: int, rate: float) -> Kind:
    """One vacancy on a simple cubic lattice of edge³ sites, hopping at `rate`, 1/ps."""
    n = edge**3 - 1
    sites = np.array(list(itertools.product(range(edge), repeat=3)))

    def draw(rng: np.random.Generator, n_frames: int) -> np.ndarray:
        holder = np.arange(-1, n).reshape(edge, edge, edge)  # -1: empty
        empty = np.array([0, 0, 0])
        path = np.zeros((n_frames, n, 3))
        frame = np.cumsum(rng.exponential(1 / (rate * FRAME_PS), 3 * n_frames + 99))
        frame = np.ceil(frame[frame < n_frames - 1]).astype(int)
        for k in frame:
            step = CUBE[rng.integers(6)].astype(int)
            other = (empty + step) % edge
            atom = holder[tuple(other)]
            path[k, atom] -= JUMP * step
            holder[tuple(empty)], holder[tuple(other)] = atom, -1
            empty = other
        return np.cumsum(path, axis=0)

    assert len(sites) == n + 1
    d = VACANCY_FACTOR * rate * JUMP**2 / 6 / n
    return Kind(draw, n, (d, d, d), VACANCY_FACTOR)


VACANCY_FACTOR = 0.6531
"""Correlation factor of the simple cubic lattice, doi:10.1039/TF9565200786."""

KINDS = {
    "independent carriers": carriers(64, (0.3, 0.3, 0.3)),
    "layers": carriers(64, (0.5, 0.5, 0.0)),
    "channels": carriers(64, (0.05, 0.05, 0.8)),
    "few atoms": carriers(12, (0.3, 0.3, 0.3)),
    "cages": cages(48, 2.0, 0.05),
    "one vacancy": vacancy(5, 2.0),
}
