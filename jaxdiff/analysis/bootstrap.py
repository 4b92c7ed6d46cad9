"""Errors from the scatter of independent replicas, with nothing assumed about the hops.

Replicas are drawn with replacement within their group (temperature), so that every resample
has the design of the data. The interval is the studentised one (bootstrap-t,
doi:10.1214/aos/1176350933): quantiles of (θ* - θ)/σ* instead of θ* itself, with σ* from
the jackknife of each resample. It is second-order correct and, unlike percentiles and BCa,
widens as a t-distribution does when there are few replicas: of 1000 runs of 16 replicas
with 10 hops (8 with 4) it covered 94 % (93 %), the other two 90 % (86 %). Positive
statistics are studentised on the log scale, where σ is nearly independent of θ.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped

from jaxdiff.analysis.estimate import Estimate, unknown

Values = np.ndarray | np.floating
"""Of a statistic: a reduction of NumPy over the last axis is a scalar, not an array."""

Statistic = Callable[[np.ndarray], Values]
"""From totals [..., groups, sums] to values [...]."""

_BATCH = 2**21  # numbers held at a time


def replica_bootstrap(
    statistic: Statistic,
    sums: Float[np.ndarray, "replicas sums"],
    *,
    seed: int,
    unit: str = "1",
    group: Shaped[np.ndarray, " replicas"] | None = None,
    logarithmic: bool = True,
    n_resamples: int = 2000,
) -> Estimate:
    """Value, jackknife error and studentised 95 % interval of a statistic of totals.

    - `statistic`: of the totals over replicas, [..., groups, sums] to [...]; groups in the
      order of `np.unique(group)`, one group without it. E.g. Σl²/Σt.
    - `sums`: of each replica. `n_effective` of the result is the number of replicas.
    - `logarithmic`: the statistic is positive. A resample in which it is zero counts as
      infinitely low, so that too few events give an infinite upper bound, not a wrong one.
    """
    parts = _groups(len(sums), group)
    total = np.stack([sums[part].sum(axis=0) for part in parts])
    with np.errstate(all="ignore"):
        value = float(statistic(total))
        error = float(_jackknife(statistic, [sums[part][None] for part in parts])[0])
        if not (math.isfinite(value) and error > 0) or (logarithmic and value <= 0):
            return unknown(unit)
        pivot = _pivots(
            statistic, [sums[p] for p in parts], value, seed, logarithmic, n_resamples
        )
    shift = -error * np.array(_quantiles(pivot)[::-1])  # the upper one gives the lower end
    with np.errstate(over="ignore"):
        bounds = value * np.exp(shift / value) if logarithmic else value + shift
    return Estimate(value, error, (float(bounds[0]), float(bounds[1])), len(sums), unit)


def ratio_bootstrap(
    numerator: Float[np.ndarray, " replicas"],
    denominator: Float[np.ndarray, " replicas"],
    *,
    seed: int,
    unit: str = "1",
    n_resamples: int = 2000,
) -> Estimate:
    """Σ numerator / Σ denominator over replicas, e.g. squared jumps by exposure."""
    sums = np.stack([numerator, denominator], axis=1).astype(float)
    return replica_bootstrap(_ratio, sums, seed=seed, unit=unit, n_resamples=n_resamples)


def _ratio(total: np.ndarray) -> Values:
    return total[..., 0, 0] / total[..., 0, 1]


def _groups(n_replicas: int, group: np.ndarray | None) -> list[np.ndarray]:
    """Rows of each group."""
    group = np.zeros(n_replicas, int) if group is None else np.asarray(group)
    parts = [np.nonzero(group == name)[0] for name in np.unique(group)]
    smallest = min((len(part) for part in parts), default=0)
    if smallest < 2:
        raise ValueError(
            f"the smallest group has {smallest} replicas: errors from the scatter between "
            "replicas need at least 2 in every group. Run more, or leave the group out."
        )
    return parts


def _jackknife(
    statistic: Statistic, sums: list[Float[np.ndarray, "draws _members sums"]]
) -> Float[np.ndarray, " draws"]:
    """Standard error by leaving one replica out in turn, group by group."""
    total = np.stack([part.sum(axis=1) for part in sums], axis=1)
    variance = np.zeros(len(total))
    for number, part in enumerate(sums):
        n = part.shape[1]
        left = np.repeat(total[:, None], n, axis=1)
        left[:, :, number] -= part
        values = statistic(left)
        variance += (n - 1) * values.var(axis=1)
    return np.sqrt(variance)


def _pivots(
    statistic: Statistic,
    sums: list[Float[np.ndarray, "_members sums"]],
    value: float,
    seed: int,
    logarithmic: bool,
    n_resamples: int,
) -> Float[np.ndarray, " resamples"]:
    """(θ* - θ)/σ* of every resample."""
    rng = np.random.default_rng(seed)
    size = max(len(part) for part in sums) * len(sums) * sums[0].shape[1]
    batch = max(1, _BATCH // size)
    pivots = []
    for first in range(0, n_resamples, batch):
        n = min(batch, n_resamples - first)
        drawn = [part[rng.integers(len(part), size=(n, len(part)))] for part in sums]
        result = statistic(np.stack([part.sum(axis=1) for part in drawn], axis=1))
        error = _jackknife(statistic, drawn)
        if logarithmic:
            pivot = (np.log(np.maximum(result, 0)) - math.log(value)) * result / error
            pivot = np.where(result <= 0, -np.inf, pivot)
        else:
            pivot = (result - value) / error
        pivots.append(pivot)
    return np.concatenate(pivots)


def _quantiles(pivot: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """2.5 and 97.5 %; undefined pivots (no scatter in the resample) go to both ends."""
    low = np.sort(np.where(np.isnan(pivot), -np.inf, pivot))
    high = np.sort(np.where(np.isnan(pivot), np.inf, pivot))
    n = len(pivot)
    return (
        float(low[max(0, math.ceil(0.025 * (n + 1)) - 1)]),
        float(high[min(n - 1, math.ceil(0.975 * (n + 1)) - 1)]),
    )
