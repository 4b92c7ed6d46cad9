r"""Diffusivity of a defect whose jumps remember one another, from their order.

The sum of jumps l of mean zero grows, hop by hop, by S = f ⟨l²⟩ with the correlation factor
f = 1 + 2 Σ_k ⟨l(n)·l(n+k)⟩/⟨l²⟩, and in time by 6D = S/τ, τ the time observed per hop. The
series over k converges slowly where a defect goes back and forth, and its later terms are
noise. An autoregression sums it in closed form:

$$ l(n) = \sum_{j=1}^p \phi_j\, l(n-j) + \epsilon(n), \qquad
   S = \frac{\langle l^2\rangle - \sum_j\phi_j\gamma_j}{(1-\sum_j\phi_j)^2}, $$

with γ_j = ⟨l(n)·l(n-j)⟩ and φ by Yule and Walker (doi:10.1214/aos/1176342709). With p = 1
it is f = (1 + c)/(1 - c), c the mean cosine of successive jumps: exact for jumps that are
undone with a constant probability. The order p is that of the smallest Bayesian
information criterion (doi:10.1214/aos/1176344136), and at least 1. One pair without
correlation is added to each mean: where all jumps seen are undone f is small, not 0, and
its error is not either.

**Error.** ln D is linear in the products l(n)·l(n-j) and in the counts less what the time
observed lets expect, to first order. Each piece of time between hops brings one such term;
its square is its variance. The sums over a replica scatter as much if hops and their
memories are all there is: what they scatter more is measured as a dispersion.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from jaxdiff import units
from jaxdiff.analysis.estimate import NORMAL_95, Estimate
from jaxdiff.analysis.regression import Noise, evident
from jaxdiff.analysis.residence import Residences

MAX_ORDER = 8
"""Hops that an autoregression looks back at most."""

PAIRS_PER_ORDER = 10
"""Pairs of successive hops needed for each of them, and for a factor at all."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Of the hops at one temperature.

    - `order`: p. `n_pairs`: of successive hops.
    - `log_factor`: ln f, with its standard error `factor_error`.
    - `growth`: S / 6τ, Å^2/ps if jumps are in Å. `growth_error`: standard error of its
      logarithm.
    - `score`: of ln of the growth in each piece of time, over hops; [pieces].
    - `walker`: whose it is, [pieces].
    """

    order: int
    n_pairs: int
    log_factor: float
    factor_error: float
    growth: float
    growth_error: float
    score: Float[np.ndarray, " pieces"]
    walker: Int[np.ndarray, " pieces"]

    @property
    def factor(self) -> Estimate:
        """f, its interval of Student on the logarithm."""
        half = self._quantile * self.factor_error
        return _exponential(
            math.exp(self.log_factor), self.factor_error, half, self.n_pairs
        )

    def diffusivity(self, noise: Noise) -> Estimate:
        """D_def, cm^2/s; `noise`: dispersion of the sums over replicas."""
        error = math.sqrt(noise.scale) * self.growth_error
        half = noise.quantile() / NORMAL_95 * self._quantile * error
        estimate = _exponential(self.growth, error, half, error**-2, "Å^2/ps")
        return estimate.scaled(units.CM2_PER_S, "cm^2/s")

    @property
    def _quantile(self) -> float:
        return float(stats.t.isf(0.025, self.n_pairs - self.order))


def defect_memory(jump: Float[np.ndarray, "hops 3"], data: Residences) -> Memory | None:
    """Memory of hops in order of walker and time; None below `PAIRS_PER_ORDER` pairs.

    - `data`: the residences that the hops end; see `Walkers.residences`.
    """
    walker = data.replica[data.ended]
    product = _products(jump.astype(float), walker)
    number = np.isfinite(product).sum(axis=0)
    enough = number >= PAIRS_PER_ORDER * np.arange(len(number))
    last = int(np.argmin(np.append(enough, False))) - 1
    if last < 1:
        return None
    shared = number + (np.arange(len(number)) > 0)  # one pair more, without correlation
    gamma = np.nansum(product, axis=0)[: last + 1] / shared[: last + 1]
    order = _order(gamma, number)
    used = slice(order + 1)
    gamma, n = gamma[used], len(jump)
    slope, total = _gradient(gamma), long_run(gamma)
    centred = np.nan_to_num(product[:, used] - gamma) * n / number[used]
    imagined = -gamma[1:] * n / number[used][1:] @ slope[1:]
    of_factor = centred @ (slope - np.eye(order + 1)[0] / gamma[0])
    score = data.ended - data.length * n / data.length.sum()
    score[data.ended] += centred @ slope
    return Memory(
        order=order,
        n_pairs=int(number[1]),
        log_factor=math.log(total / gamma[0]),
        factor_error=math.hypot(float(np.linalg.norm(of_factor)), imagined) / n,
        growth=total * n / (6 * float(data.length.sum())),
        growth_error=math.hypot(float(np.linalg.norm(score)), imagined) / n,
        score=score,
        walker=data.replica,
    )


def between_walkers(memories: Sequence[Memory]) -> Noise:
    """How much more the scores of walkers scatter than their pieces let expect.

    One of its kind, summed over temperatures; 1 if hops and their memory are all there is.
    """
    square, dof = 0.0, 0
    for memory in memories:
        total = np.bincount(memory.walker, memory.score)
        if len(total) > 1:
            square += len(total) * float(total @ total / (memory.score @ memory.score))
            dof += len(total) - 1
    return evident(Noise(square / dof, dof)) if dof else Noise(1.0, 0)


def no_memory(memories: Sequence[Memory]) -> float:
    """p of f = 1 at all temperatures, against factors on one side of 1 or on both.

    The smaller of the p of their mean and of χ² over temperatures, times two; NaN without.
    """
    if not memories:
        return math.nan
    value = np.array([m.log_factor for m in memories])
    error = np.array([m.factor_error for m in memories])
    weight = error**-2
    mean = float(weight @ value / math.sqrt(weight.sum()))
    dof = sum(m.n_pairs - m.order for m in memories)
    each = float(stats.chi2.sf(((value / error) ** 2).sum(), len(memories)))
    return min(1.0, 2 * min(2 * float(stats.t.sf(abs(mean), dof)), each))


def _exponential(
    value: float, error: float, half: float, n: float, unit: str = "1"
) -> Estimate:
    """An estimate whose logarithm has this error and half-width of its interval."""
    interval = (value * math.exp(-half), value * math.exp(half))
    return Estimate(value, value * error, interval, n, unit)


def long_run(gamma: Float[np.ndarray, " lags"]) -> float:
    """S of the autoregression with these autocovariances, from lag 0 on."""
    phi = _coefficients(gamma)
    return float((gamma[0] - phi @ gamma[1:]) / (1 - phi.sum()) ** 2)


def _coefficients(gamma: Float[np.ndarray, " lags"]) -> Float[np.ndarray, " order"]:
    lag = np.arange(len(gamma) - 1)
    return np.linalg.solve(gamma[np.abs(lag[:, None] - lag)], gamma[1:])


def _gradient(gamma: Float[np.ndarray, " lags"]) -> Float[np.ndarray, " lags"]:
    """d ln S / dγ by central differences."""
    step = 1e-5 * gamma[0] * np.eye(len(gamma))
    ends = [[math.log(long_run(gamma + s * row)) for s in (1, -1)] for row in step]
    return np.array([(high - low) / (2e-5 * gamma[0]) for high, low in ends])


def _order(gamma: Float[np.ndarray, " lags"], number: Int[np.ndarray, " all_lags"]) -> int:
    """Smallest information criterion of three components; `number` of pairs by lag."""
    order, best, criterion, before = 1, 0.0, 0.0, 0.0
    for p in range(1, len(gamma)):
        part = gamma[: p + 1]
        noise = float(part[0] - _coefficients(part) @ part[1:])
        if noise <= 0:
            break
        if p > 1:
            n = 3 * int(number[p])
            criterion += n * (math.log(noise) - before) + math.log(n)
        if criterion < best:
            order, best = p, criterion
        before = math.log(noise)
    return order


def _products(
    jump: Float[np.ndarray, "hops 3"], walker: Int[np.ndarray, " hops"]
) -> Float[np.ndarray, "hops lags"]:
    """l(n)·l(n-j) of the same walker, j up to `MAX_ORDER`; NaN where there is none."""
    product = np.full((len(jump), MAX_ORDER + 1), np.nan)
    product[:, 0] = (jump**2).sum(axis=1)
    for j in range(1, min(MAX_ORDER, len(jump) - 1) + 1):
        dot = (jump[j:] * jump[:-j]).sum(axis=1)
        product[j:, j] = np.where(walker[j:] == walker[:-j], dot, np.nan)
    return product
