r"""Errors of averages over correlated series of several replicas.

A series of N frames with the correlation time τ (in frames, $\tau = 1/2 +
\sum_{t\ge1}\rho(t)$) knows its mean as N/2τ independent values would. Here it is cut into
blocks much longer than τ (doi:10.1063/1.457480), whose scatter around the mean of all
replicas holds both the fluctuations in time and what differs between replicas. A statistic
of means over time has the error of the jackknife over blocks, and the interval of Student's
t with one degree of freedom less than blocks. The variance of blocks b frames long is too
small by the factor 1 - τ/b where correlations decay exponentially; errors are widened by
that.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from jaxdiff.analysis.bootstrap import Statistic
from jaxdiff.analysis.estimate import Estimate

BLOCK_TIMES = 10
"""Correlation times in a block, at least."""

LEAST_BLOCKS, MOST_BLOCKS = 4, 64
"""Over all replicas: fewer say little of an error, more nothing new."""

AGREEMENT_LIMIT = 0.01
"""Smallest p-value at which replicas count as samples of one distribution."""

_WINDOW = 5  # correlation times over which correlations are summed
_LONGEST_WINDOW = 0.25  # of a replica


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Sums over blocks of frames, of all replicas of one ensemble; no frame is left out.

    - `total` [B, C]: of each column. `length` [B]: frames.
    - `correlation_frames`: τ; NaN where replicas are too short for it and each is a block.
    - `widening`: of errors, for blocks of finite length.
    - `agreement_p_value`: of replicas with one mean of the first column (analysis of
      variance over blocks); NaN with one replica or one block in each. Below
      `AGREEMENT_LIMIT` whole replicas are the blocks.
    - `halves_p_value`: of one mean of the first column in both halves of the time
      (Student, over blocks; over replicas where these are the blocks).
    """

    total: Float[np.ndarray, "blocks columns"]
    length: Int[np.ndarray, " blocks"]
    correlation_frames: float
    widening: float
    agreement_p_value: float
    halves_p_value: float

    def estimate(
        self, statistic: Statistic, unit: str, *, logarithmic: bool = False
    ) -> Estimate:
        """Value at the mean over all frames, with error and interval; B is `n_effective`.

        `statistic`: from means over time [..., C] to values [...].
        `logarithmic`: the interval is symmetric in the logarithm, for positive values.
        """
        n, total, length = len(self.length), self.total.sum(axis=0), self.length.sum()
        value = float(statistic(total / length))
        without = statistic((total - self.total) / (length - self.length)[:, None])
        error = self.widening * math.sqrt((n - 1) * without.var())
        half = float(stats.t.ppf(0.975, n - 1)) * error
        interval = (value - half, value + half)
        if logarithmic:
            ratio = math.exp(min(half / value, 700.0))
            interval = (value / ratio, value * ratio)
        return Estimate(value, error, interval, n, unit)


def correlation_time(series: Float[np.ndarray, "replicas frames"]) -> float:
    r"""τ in frames, pooled over replicas; at least 1/2, NaN if it is too long to be seen.

    Correlations are summed up to the first lag W ≥ 5 τ (doi:10.1007/978-1-4899-0319-8_6)
    within a quarter of a replica. Each replica is taken around its own mean, which lowers
    all correlations by $v = \mathrm{Var}(\bar x) = 2\tau\sigma^2/F$; with S the sum of
    what is seen, half of lag 0 included, this gives $v = S/(F/2 - W - 1/2)$.
    """
    n_frames = series.shape[1]
    deviation = series - series.mean(axis=1, keepdims=True)
    spectrum = (np.abs(np.fft.rfft(deviation, 2 * n_frames, axis=1)) ** 2).mean(axis=0)
    lags = np.arange(int(_LONGEST_WINDOW * n_frames) + 1)
    seen = np.fft.irfft(spectrum)[lags] / (n_frames - lags)
    partial = np.cumsum(seen) - seen[0] / 2
    shift = partial / (n_frames / 2 - lags - 0.5)
    tau = shift * n_frames / 2 / (seen[0] + shift)
    settled = np.flatnonzero(lags >= _WINDOW * tau)
    return max(float(tau[settled[0]]), 0.5) if len(settled) else math.nan


def cut(columns: Float[np.ndarray, "replicas frames columns"]) -> Blocks:
    """Blocks of time series; the first column says how long they are.

    A replica is one block where it is too short for its correlation time, or where
    replicas differ by more than their fluctuations explain.
    """
    n_replicas, n_frames, _ = columns.shape
    tau = correlation_time(columns[..., 0])
    number = _blocks_per_replica(n_replicas, n_frames, tau)
    agreement = math.nan
    if n_replicas > 1 and number > 1:
        agreement = _p_value(stats.f_oneway(*_means(columns[..., 0], number)))
    if agreement < AGREEMENT_LIMIT:
        number = 1
    start = _starts(n_frames, number)
    total = np.add.reduceat(columns, start, axis=1)
    return Blocks(
        total=total.reshape(n_replicas * number, -1),
        length=np.tile(np.diff(start, append=n_frames), n_replicas),
        correlation_frames=tau,
        widening=1 / math.sqrt(1 - tau * number / n_frames) if math.isfinite(tau) else 1.0,
        agreement_p_value=agreement,
        halves_p_value=_halves(columns[..., 0], number),
    )


def _blocks_per_replica(n_replicas: int, n_frames: int, tau: float) -> int:
    """As many as are long enough; an even number, so that none is in both halves."""
    number = 1
    if math.isfinite(tau):
        most = max(2, MOST_BLOCKS // n_replicas)
        number = max(int(min(n_frames / (BLOCK_TIMES * tau), most)), 1)
    number -= number % 2 if number > 1 else 0
    if number * n_replicas < LEAST_BLOCKS:
        known = f"of {tau:.1f} frames" if math.isfinite(tau) else "that is not seen to end"
        raise ValueError(
            f"{n_replicas} replicas of {n_frames} frames with a correlation time {known} "
            f"are too short for an error: it needs {LEAST_BLOCKS} replicas, or as many "
            f"blocks of {BLOCK_TIMES} correlation times. Run longer, or more replicas."
        )
    return number


def _starts(n_frames: int, number: int) -> Int[np.ndarray, " blocks"]:
    return np.linspace(0, n_frames, number, endpoint=False).astype(int)


def _means(
    series: Float[np.ndarray, "replicas frames"], number: int
) -> Float[np.ndarray, "replicas blocks"]:
    start = _starts(series.shape[1], number)
    length = np.diff(start, append=series.shape[1])
    return np.add.reduceat(series, start, axis=1) / length


def _halves(series: Float[np.ndarray, "replicas frames"], number: int) -> float:
    """p of one mean in both halves; replica by replica where these are the blocks."""
    means = _means(series, max(number, 2))
    half = means.shape[1] // 2
    first, second = means[:, :half], means[:, half:]
    if number > 1:
        return _p_value(stats.ttest_ind(first.ravel(), second.ravel()))
    return _p_value(stats.ttest_1samp((second - first).ravel(), 0))


def _p_value(result: Any) -> float:
    return float(result.pvalue)
