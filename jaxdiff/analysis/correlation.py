r"""Correlation factors and the Haven ratio from the order of the hops.

Hops of the defect come at random times, but what they do depends on the hops before only
by their order. So correlations are counted in hops, not in time, and the scatter of the
number of hops, the largest error of a mean squared displacement, drops out:

$$ f = 1 + 2\sum_{k=1}^{K} \frac{\langle\sum_i s_i(n)\cdot s_i(n+k)\rangle}
                                 {\langle\sum_i s_i^2\rangle}, \qquad
   H_R = \frac{N D^*}{D_\mathrm{def}} =
   \frac{\langle\sum_i s_i^2\rangle f_\mathrm{tracer}}
         {\langle l^2\rangle f_\mathrm{def}}
$$

with the steps s_i of the cations in a hop and the jumps l of the defect. K, the memory in
hops, cuts the series off: collinear interstitialcies have f = 0.750, 0.703, 0.685, 0.677 at
K = 1, 3, 5, 7 and 2/3 in the end, the others are within 0.003 of the end at K = 3. Cells of
256 sites add 0.007 to the collinear one. *Assumed:* one process at work, so that the
sequence of hops is stationary, and memory shorter than K hops.
"""

import numpy as np
from jaxtyping import Float, Int, Real

from jaxdiff import units
from jaxdiff.analysis.bootstrap import Statistic, Values, replica_bootstrap
from jaxdiff.analysis.estimate import Estimate, unknown

MEMORY = 7
"""Hops after which a cation's return is no longer counted."""


def tracer_correlation(
    replica: Int[np.ndarray, " events"],
    cation: Int[np.ndarray, "events moved"],
    step: Real[np.ndarray, "events moved 3"],
    *,
    n_replicas: int,
    seed: int,
    memory: int = MEMORY,
) -> Estimate:
    """f of the cations, with the studentised bootstrap over replicas.

    - events in order of replica, then time. `cation`: number of each that moves, below 0
      for none; `step`: its site-to-site displacement, any unit.
    """
    _check_order(replica, memory)
    sums = _cation_sums(replica, cation, step, n_replicas, memory)
    return _bootstrap(_Factor(memory), sums, seed)


def defect_correlation(
    replica: Int[np.ndarray, " events"],
    jump: Real[np.ndarray, "events 3"],
    *,
    n_replicas: int,
    seed: int,
    memory: int = 1,
) -> Estimate:
    """f of the defect: with `memory` 1 from successive jumps, error over replicas.

    Each further hop of memory adds to the variance 4/3 by the number of pairs.
    """
    _check_order(replica, memory)
    sums = _sums(replica, jump, n_replicas, memory)
    return _bootstrap(_Factor(memory), sums, seed)


def haven_ratio(
    replica: Int[np.ndarray, " events"],
    jump: Real[np.ndarray, "events 3"],
    cation: Int[np.ndarray, "events moved"],
    step: Real[np.ndarray, "events moved 3"],
    *,
    n_replicas: int,
    seed: int,
    memory: int = MEMORY,
    defect_memory: int = 0,
) -> Estimate:
    """H_R = N D*/D_def, with the studentised bootstrap over replicas.

    - `jump` of the defect and `step` of the cations in the same unit.
    - `defect_memory`: hops for f_def; 0 takes it as 1, a defect without memory.
    """
    _check_order(replica, memory)
    top = _cation_sums(replica, cation, step, n_replicas, memory)
    bottom = _sums(replica, jump, n_replicas, defect_memory)
    tracer, defect = _Factor(memory), _Factor(defect_memory)
    split = top.shape[1]

    def statistic(total: np.ndarray) -> Values:
        high, low = total[..., :split], total[..., split:]
        return tracer.mean_square(high) / defect.mean_square(low)

    return _bootstrap(statistic, np.concatenate([top, bottom], axis=1), seed)


def measured_tracer_diffusivity(
    replica: Int[np.ndarray, " events"],
    cation: Int[np.ndarray, "events moved"],
    step: Real[np.ndarray, "events moved 3"],
    exposure: Float[np.ndarray, " replicas"],
    *,
    n_cations: int,
    seed: int,
    memory: int = MEMORY,
) -> Estimate:
    r"""D* = Γ ⟨Σs²⟩ f_tracer / (6N) with f measured, cm^2/s; error over replicas.

    Needs no mechanism, and neither the lags of many residence times after which a mean
    squared displacement of tracers is straight: its slope is 20 % too large after one.

    - `step` in Å; `exposure`: time observed, ps, of each replica; `n_cations`: N.
    """
    _check_order(replica, memory)
    sums = _cation_sums(replica, cation, step, len(exposure), memory)
    factor = _Factor(memory)

    def statistic(total: np.ndarray) -> Values:
        rate = total[..., 0, 1] / total[..., 0, -1]
        return rate * factor.mean_square(total[..., :-1]) / (6 * n_cations)

    everything = np.concatenate([sums, exposure[:, None]], axis=1)
    estimate = _bootstrap(statistic, everything, seed)
    return estimate.scaled(units.CM2_PER_S, "cm^2/s")


def _check_order(replica: Int[np.ndarray, " events"], memory: int) -> None:
    if np.any(np.diff(replica) < 0):
        raise ValueError("events must be sorted by replica, and by time within a replica.")
    if memory < 1:
        raise ValueError(f"memory={memory} hops must be at least 1.")


def _bootstrap(statistic: Statistic, sums: np.ndarray, seed: int) -> Estimate:
    n_hops = sums[:, 1].sum()
    if n_hops < 2 or len(sums) < 2:
        return unknown("1")
    return replica_bootstrap(statistic, sums, seed=seed, logarithmic=False)


class _Factor:
    """Of totals (Σs², hops, Σ s·s and pairs at the distances 1 to `memory`)."""

    def __init__(self, memory: int) -> None:
        self._memory = memory

    def mean_square(self, total: np.ndarray) -> Values:
        """⟨s²⟩ + 2 Σ_k ⟨s·s⟩_k; distances without a pair add nothing."""
        total = total[..., 0, :]
        product = total[..., 2 : 2 + self._memory]
        pairs = total[..., 2 + self._memory :]
        series = (product / np.maximum(pairs, 1)).sum(axis=-1)
        return total[..., 0] / total[..., 1] + 2 * series

    def __call__(self, total: np.ndarray) -> Values:
        """The correlation factor."""
        square = total[..., 0, 0] / total[..., 0, 1]
        return self.mean_square(total) / square


def _sums(
    replica: Int[np.ndarray, " events"],
    jump: Real[np.ndarray, "events 3"],
    n_replicas: int,
    memory: int,
) -> Float[np.ndarray, "replicas sums"]:
    """Columns for `_Factor` of one particle that makes all the jumps."""
    return _cation_sums(
        replica, np.zeros((len(replica), 1), int), jump[:, None], n_replicas, memory
    )


def _cation_sums(
    replica: Int[np.ndarray, " events"],
    cation: Int[np.ndarray, "events moved"],
    step: Real[np.ndarray, "events moved 3"],
    n_replicas: int,
    memory: int,
) -> Float[np.ndarray, "replicas sums"]:
    """Columns for `_Factor`: products of the steps of the same cation, k hops apart."""
    real = cation >= 0
    square = ((step.astype(float) ** 2).sum(axis=-1) * real).sum(axis=-1)
    product, pairs = [], []
    for k in range(1, memory + 1):
        same = replica[k:] == replica[:-k]
        match = cation[k:, :, None] == cation[:-k, None, :]
        match &= (real[k:, :, None] & real[:-k, None, :]) & same[:, None, None]
        dot = np.einsum("nai,nbi->nab", step[k:], step[:-k])
        value = (dot * match).sum(axis=(1, 2))
        product.append(np.bincount(replica[k:], value, n_replicas))
        pairs.append(np.bincount(replica[k:], same, n_replicas))
    columns = [
        np.bincount(replica, square, n_replicas),
        np.bincount(replica, minlength=n_replicas),
        *product,
        *pairs,
    ]
    return np.stack(columns, axis=1).astype(float)
