"""Is the hop rate the same from the beginning of production to its end?"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int, Shaped


@dataclasses.dataclass(frozen=True)
class Stationarity:
    """Hops in equal blocks of the time of production.

    - `edge`: of the blocks, ps. `count`: hops in each. `expected`: at a constant rate in
      each group, in proportion to the time observed.
    - `p_value`: of a larger χ² at constant rates; NaN where there is nothing to compare.
    """

    edge: Float[np.ndarray, " edges"]
    count: Int[np.ndarray, " blocks"]
    expected: Float[np.ndarray, " blocks"]
    p_value: float


def stationarity(
    time: Float[np.ndarray, " events"],
    replica: Int[np.ndarray, " events"],
    start: Float[np.ndarray, " replicas"],
    stop: Float[np.ndarray, " replicas"],
    *,
    seed: int,
    n_blocks: int = 4,
    group: Shaped[np.ndarray, " replicas"] | None = None,
    n_simulations: int = 4999,
) -> Stationarity:
    r"""Counts of all replicas in `n_blocks` blocks, against rates constant in time.

    Given the hops of a group, n_g, those in the blocks are multinomial with the exposures
    as weights, whatever the rate. Groups (temperatures) have rates of their own, blocks
    are compared over all of them, $X^2 = \sum_b (n_b - e_b)^2/e_b$. The p-value is a Monte
    Carlo one, exact for any number of hops (doi:10.1111/j.2517-6161.1968.tb00759.x).

    - `time` of the hops; `start`, `stop`: followed from and to, in each replica; ps.
    """
    n_replicas = len(start)
    if n_blocks < 2:
        raise ValueError(f"n_blocks={n_blocks} must be at least 2.")
    if np.any(time < start[replica]) or np.any(time > stop[replica]):
        raise ValueError(
            "there are hops outside of the observation of their replica; give the start "
            "and stop between which the defect was followed, in the unit of the times."
        )
    edge = np.linspace(float(start.min()), float(stop.max()), n_blocks + 1)
    low = np.maximum(start[:, None], edge[:-1])
    exposure = np.maximum(np.minimum(stop[:, None], edge[1:]) - low, 0.0)
    block = np.clip(np.searchsorted(edge, time, side="left") - 1, 0, n_blocks - 1)
    count = np.bincount(block, minlength=n_blocks)
    group = np.zeros(n_replicas, int) if group is None else np.asarray(group)
    rng = np.random.default_rng(seed)
    expected = np.zeros(n_blocks)
    simulated = np.zeros((n_simulations, n_blocks))
    for name in np.unique(group):
        n = int((group[replica] == name).sum())
        weight = exposure[group == name].sum(axis=0)
        if n:
            expected += n * weight / weight.sum()
            simulated += rng.multinomial(n, weight / weight.sum(), size=n_simulations)
    p = _p_value(count, expected, simulated)
    return Stationarity(edge, count, expected, p)


def _p_value(
    count: Int[np.ndarray, " blocks"],
    expected: Float[np.ndarray, " blocks"],
    simulated: Float[np.ndarray, "simulations blocks"],
) -> float:
    use = expected > 0
    if use.sum() < 2:
        return math.nan

    def square(n: np.ndarray) -> np.ndarray | np.floating:
        return ((n[..., use] - expected[use]) ** 2 / expected[use]).sum(axis=-1)

    larger = int((square(simulated) >= square(count) * (1 - 1e-12)).sum())
    return (1 + larger) / (len(simulated) + 1)
