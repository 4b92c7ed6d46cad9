"""Kinetic Monte Carlo of one interstitial in rock salt: the reference for estimators.

The defect sits on a tetrahedral (8c) site and hops at a constant rate. In an interstitialcy
the interstitial cation takes one of the four neighbouring cation sites (4a) and the cation
it finds there moves on to another 8c site of that cation site: opposite (collinear), or
with one or two components of its step reversed (non-collinear 1 and 2). In a direct hop the
interstitial moves to a neighbouring 8c site. The defect has no memory; the cations have:
one that was pushed out is next to the defect and likely to move back. Lengths are in a/4
(a: edge of the conventional cell), times in ps.
"""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float, Int

MECHANISMS = ("collinear", "noncollinear_1", "noncollinear_2", "direct")
"""Names of the hops; the jump of the defect is √3a/2, a/√2, a/2, a/2."""

HAVEN_RATIO = (1 / 3, 8 / 11, 1.44645, 1.0)
"""N D*/D_def by mechanism: that factor times <Σs²>/<l²>, 6/12, 6/8, 6/4 and 4/4."""

_CORNERS = np.array(list(itertools.product([-1, 1], repeat=3)))
_AXES = np.eye(3, dtype=int)


@dataclasses.dataclass(frozen=True)
class Walk:
    """Hops of all replicas, sorted by replica and then by time.

    - `duration`: observed from 0 to this, ps; also of replicas without a hop.
    - `replica`, `time` (ps), `jump` (of the defect, a/4), `mechanism` (in `MECHANISMS`).
    - `cation`: the two that move, 0 to `n_cations` - 1; -1 for none. `step`: theirs, a/4;
      the jump is their sum.
    """

    n_cations: int
    duration: Float[np.ndarray, " replicas"]
    replica: Int[np.ndarray, " events"]
    time: Float[np.ndarray, " events"]
    jump: Int[np.ndarray, "events 3"]
    mechanism: Int[np.ndarray, " events"]
    cation: Int[np.ndarray, "events 2"]
    step: Int[np.ndarray, "events 2 3"]

    @property
    def n_replicas(self) -> int:
        """Replicas, with or without hops."""
        return len(self.duration)

    def select(self, first: int, last: int) -> "Walk":
        """Replicas `first` to `last` - 1, renumbered from 0."""
        low, high = np.searchsorted(self.replica, [first, last])
        return Walk(
            n_cations=self.n_cations,
            duration=self.duration[first:last],
            replica=self.replica[low:high] - first,
            time=self.time[low:high],
            jump=self.jump[low:high],
            mechanism=self.mechanism[low:high],
            cation=self.cation[low:high],
            step=self.step[low:high],
        )


def simulate(
    rate: Float[np.ndarray, " replicas"],
    duration: Float[np.ndarray, " replicas"],
    *,
    probability: tuple[float, float, float, float],
    cells: int,
    seed: int,
) -> Walk:
    """Independent walks, one defect in each periodic cell; exact (Poisson) in time.

    - `rate`: of all hops of the defect, 1/ps. `duration`: ps.
    - `probability`: of each of `MECHANISMS` per hop.
    - `cells`: conventional cells along each edge; 4 cells^3 sites and one cation more.
    """
    rate, duration = np.broadcast_arrays(rate, duration)
    _check(rate, duration, probability, cells)
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate * duration)
    happens = np.arange(count.max(initial=0)) < count[:, None]
    time = np.sort(np.where(happens, rng.random(happens.shape), 2.0), axis=1)
    mechanism = rng.choice(len(MECHANISMS), size=happens.shape, p=probability)
    cation, step = _walk(mechanism, happens, cells, rng)
    replica = np.nonzero(happens)[0]
    return Walk(
        n_cations=4 * cells**3 + 1,
        duration=np.array(duration, dtype=float),
        replica=replica,
        time=time[happens] * duration[replica],
        jump=step[happens].sum(axis=1),
        mechanism=mechanism[happens],
        cation=cation[happens],
        step=step[happens],
    )


def _check(
    rate: np.ndarray, duration: np.ndarray, probability: tuple[float, ...], cells: int
) -> None:
    if np.any(rate < 0) or np.any(duration < 0):
        raise ValueError(
            f"rates (smallest {rate.min()} 1/ps) and durations (smallest {duration.min()} "
            "ps) must not be negative."
        )
    if len(probability) != len(MECHANISMS) or not np.isclose(sum(probability), 1):
        raise ValueError(
            f"probability={probability} must be one number for each of {MECHANISMS}, with "
            "sum 1."
        )
    if cells < 2:
        raise ValueError(
            f"cells={cells} must be at least 2: in one cell the interstitial is a "
            "neighbour of its own image."
        )


def _walk(
    mechanism: Int[np.ndarray, "replicas hops"],
    happens: np.ndarray,
    cells: int,
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "replicas hops 2"], Int[np.ndarray, "replicas hops 2 3"]]:
    """Cations moved and their steps, hop by hop for all replicas at once."""
    n_replicas, n_hops = mechanism.shape
    index, n_sites = _cation_sites(cells)
    occupant = np.tile(np.arange(n_sites, dtype=np.int32), (n_replicas, 1))
    inside = np.full(n_replicas, n_sites, np.int32)
    defect = np.ones((n_replicas, 3), int)
    cation = np.full((n_replicas, n_hops, 2), -1, np.int32)
    step = np.zeros((n_replicas, n_hops, 2, 3), int)
    for hop in range(n_hops):
        who = np.nonzero(happens[:, hop])[0]
        here, kind = defect[who], mechanism[who, hop]
        first, second = _steps(here, kind, rng)
        direct = kind == MECHANISMS.index("direct")
        place = index[tuple(((here + first) % (4 * cells)).T)]
        place = np.where(direct, 0, place)  # not used there
        pushed = np.where(direct, -1, occupant[who, place])
        cation[who, hop] = np.stack([inside[who], pushed], axis=1)
        step[who, hop] = np.stack([first, second], axis=1)
        occupant[who, place] = np.where(direct, occupant[who, place], inside[who])
        inside[who] = np.where(direct, inside[who], pushed)
        defect[who] = here + first + second
    return cation, step


def _cation_sites(cells: int) -> tuple[Int[np.ndarray, "edge edge edge"], int]:
    """Number of the cation site at each point of the cell, -1 for none."""
    edge = 4 * cells
    point = np.indices((edge, edge, edge))
    site = np.all(point % 2 == 0, axis=0) & (point.sum(axis=0) // 2 % 2 == 0)
    index = np.full((edge, edge, edge), -1)
    index[site] = np.arange(site.sum())
    return index, int(site.sum())


def _steps(
    defect: Int[np.ndarray, "walkers 3"],
    kind: Int[np.ndarray, " walkers"],
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "walkers 3"], Int[np.ndarray, "walkers 3"]]:
    """Steps of the interstitial and of the cation it pushes (none in a direct hop)."""
    n = len(defect)
    corner = (defect[:, None] + _CORNERS).sum(axis=-1) // 2 % 2 == 0  # leads to 4a
    first = _CORNERS[np.argmax(rng.random(corner.shape) * corner, axis=1)]
    axis = _AXES[rng.integers(3, size=n)]
    straight = 2 * axis * rng.choice([-1, 1], size=(n, 1))
    second = np.choose(
        kind[:, None], [first, first * (1 - 2 * axis), first * (2 * axis - 1), 0 * first]
    )
    return np.where(kind[:, None] == MECHANISMS.index("direct"), straight, first), second
