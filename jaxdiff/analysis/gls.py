r"""Diffusivity from mean squared displacements by generalised least squares.

Mean squared displacements at two lags share their data, so a straight line through them by
ordinary least squares wastes most of it. With the covariance of the lags the fit is the
best linear one (doi:10.1063/5.0008312, doi:10.1021/acs.jctc.4c01249).

**Covariance.** A defect that hops at the rate λ with jumps l is a compound Poisson process:
its increments over disjoint intervals are independent, and over an interval o

$$ E|W|^2 = \lambda o\langle l^2\rangle = 2dDo, \qquad
   \mathrm{Var}|W|^2
   = \lambda o\langle l^4\rangle + \tfrac2d(\lambda o\langle l^2\rangle)^2,
$$

for ⟨l⟩ = 0 and isotropic second moments: the fourth cumulant λo⟨l⁴⟩ comes on top of the
Gaussian walk. Windows [s, s+τ] and [s', s'+τ'] with overlap o are A + C and B + C with A, B
and C independent, so Cov(|A+C|², |B+C|²) = Var|C|². With ρ = ⟨l⁴⟩/⟨l²⟩ and the mean over
all pairs of windows, for W walkers,

$$ \mathrm{Cov}(M_\tau, M_{\tau'}) = \frac1W\left[2dD\rho\,\overline{o}
   + 8dD^2\,\overline{o^2} + 8dD\sigma^2\,\overline{o\epsilon}
   + 2d\sigma^4\,\overline{\epsilon^2}\right]. $$

The second term is that of Qian (doi:10.1016/S0006-3495(91)82125-7). The last two are those
of noise (localisation, vibration) of variance σ² per axis and frame, with ε the number of
ends shared: +1 for equal ends, -1 for an end that is the other's start. Jumps that are
undone are noise too, of an offset 2dσ² and with a memory: there ends count by their
correlation, which falls exponentially with their distance. At lags
below the time between hops the first term rules, and the fit is the count of hops.

**Interval.** With the weights fixed the variance of D̂ is v(D) = v0 + v1 D + v2 D². The
interval is normal on the scale g(D) = ∫dD/√v(D), on which the variance is constant: square
root for counts, logarithm for Gaussian walks, and in between.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import chi2

from jaxdiff import units
from jaxdiff.analysis.bootstrap import ratio_bootstrap
from jaxdiff.analysis.estimate import NORMAL_95, Estimate
from jaxdiff.analysis.rates import garwood

_DIMENSION = 3
_ITERATIONS = 50

Intercept = Literal["none", "noise", "memory"]
"""Of the straight line: none (site-projected, no memory); noise of the positions, 2dσ²;
memory, an offset that short-time correlations leave behind, with no noise."""


@dataclasses.dataclass(frozen=True)
class GlsFit:
    """A straight line through mean squared displacements.

    - `diffusivity`: cm^2/s, its error and interval by the covariance above.
    - `intercept`: Å^2. `covariance`: of the mean over replicas, Å^4.
    - `replica_diffusivity`: of each replica with the same weights, cm^2/s; their mean is
      the value.
    - `p_value`: of χ² of the residuals; small where the line is not straight. Approximate,
      NaN where nothing is left to test.
    """

    diffusivity: Estimate
    intercept: float
    replica_diffusivity: Float[np.ndarray, " replicas"]
    covariance: Float[np.ndarray, "lags lags"]
    p_value: float

    def replica_error(self, seed: int) -> Estimate:
        """The same value with error and interval from the scatter of the replicas.

        Free of the covariance: for memory of the defect, correlated cations, other rates.
        """
        d = self.replica_diffusivity
        return ratio_bootstrap(d, np.ones(len(d)), seed=seed, unit=self.diffusivity.unit)


def log_spaced_lags(
    n_frames: int, *, first: int = 1, last: int | None = None, n_lags: int = 10
) -> Int[np.ndarray, " lags"]:
    """At most `n_lags` lags, frames, evenly on a log scale from `first` to `last`.

    `last` is half of the frames if not given. Few lags lose nothing: neighbours are nearly
    the same number, which also makes the covariance of many ill-conditioned.
    """
    last = (n_frames - 1) // 2 if last is None else last
    if not 1 <= first <= last < n_frames:
        raise ValueError(
            f"first={first} and last={last} must be in order, at least 1 and below the "
            f"{n_frames} frames."
        )
    return np.unique(np.round(np.geomspace(first, last, n_lags)).astype(int))


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Means over all pairs of windows of two lags: o, o², oε and ε²; o in frames."""

    linear: Float[np.ndarray, "lags lags"]
    square: Float[np.ndarray, "lags lags"]
    mixed: Float[np.ndarray, "lags lags"]
    noise: Float[np.ndarray, "lags lags"]


def window_overlap(
    n_frames: int, lag: Int[np.ndarray, " lags"], memory_frames: float = 0.0
) -> Overlap:
    """Exact sums over the windows of a path of `n_frames`, by their distance.

    - `memory_frames`: e-folding time of the noise; 0: that of each frame is its own.
    """
    n = len(lag)
    result = np.zeros((4, n, n))
    for i in range(n):
        for j in range(i, n):
            pair = _pair(n_frames, int(lag[i]), int(lag[j]), memory_frames)
            result[:, i, j] = result[:, j, i] = pair
    return Overlap(*result)


def _pair(
    n_frames: int, a: int, b: int, memory: float
) -> tuple[float, float, float, float]:
    n_a, n_b = n_frames - a, n_frames - b
    shift = np.arange(-(n_a - 1), n_b)  # start of the window b minus that of a
    pairs = np.minimum(n_a, n_b - shift) - np.maximum(0, -shift)
    overlap = np.maximum(np.minimum(a, shift + b) - np.maximum(0, shift), 0)
    near = [_kept(shift - other, memory) for other in (0, a - b, -b, a)]
    ends = near[0] + near[1] - near[2] - near[3]
    weight = pairs / (n_a * n_b)
    return (
        float(weight @ overlap),
        float(weight @ overlap**2),
        float(weight @ (overlap * ends)),
        float(weight @ ends**2),
    )


def _kept(
    distance: Int[np.ndarray, " shifts"], memory: float
) -> Float[np.ndarray, " shifts"]:
    """Correlation of the noise of two frames, by their distance."""
    if memory == 0:
        return (distance == 0).astype(float)
    return np.exp(-np.abs(distance) / memory)


def fit_msd(
    msd: Float[np.ndarray, "replicas lags"],
    lag: Int[np.ndarray, " lags"],
    *,
    n_frames: int,
    frame_ps: float,
    moment_ratio: float,
    intercept: Intercept = "none",
    n_walkers: float = 1,
    memory_frames: float = 0.0,
) -> GlsFit:
    """Slope of the mean over replicas by generalised least squares.

    The covariance depends on D (and σ²): iterated until they agree.

    - `msd`: of each replica at `lag` (frames), averaged over time origins and over its
      `n_walkers`, Å^2.
    - `n_frames`: of every replica, `frame_ps` apart.
    - `moment_ratio`: ρ = ⟨l⁴⟩/⟨l²⟩, Å^2: 3a²/4 for collinear jumps of the defect; for the
      mean over cations ⟨w²⟩/⟨w⟩, w the sum of squared steps of a hop; 0: Gaussian walk.
    - `n_walkers`: cations in the mean. They are not independent: use `replica_error`. A
      walk in one dimension, its square times 3, is a third of a walker.
    - `memory_frames`: e-folding time of a memory whose offset, if positive, scatters like
      noise of that time; 0 leaves its scatter out.
    """
    _check(msd, lag, n_frames, frame_ps, intercept)
    mean, n_total = msd.mean(axis=0), len(msd) * n_walkers
    if not mean.any():
        return _at_rest(msd, n_total * (n_frames - 1) * frame_ps, moment_ratio)
    model = _Model(
        window_overlap(n_frames, lag, memory_frames), frame_ps, moment_ratio, n_total
    )
    time = lag * frame_ps
    columns = [time] if intercept == "none" else [time, np.ones(len(lag))]
    design = np.stack(columns, axis=1)
    noisy = intercept == "noise" or memory_frames > 0
    beta, weight, covariance = _iterate(mean, design, model, noisy)
    slope = weight[0] / (2 * _DIMENSION)
    offset = float(beta[1]) if len(beta) > 1 else 0.0
    variance = model.variance(slope, max(offset, 0.0) if noisy else 0.0)
    scale = units.CM2_PER_S
    return GlsFit(
        diffusivity=_estimate(float(slope @ mean), variance).scaled(scale, "cm^2/s"),
        intercept=offset,
        replica_diffusivity=msd @ slope * scale,
        covariance=covariance,
        p_value=_p_value(mean - design @ beta, covariance, len(lag) - len(beta)),
    )


def _check(
    msd: np.ndarray, lag: np.ndarray, n_frames: int, frame_ps: float, intercept: Intercept
) -> None:
    needed = 1 if intercept == "none" else 2
    if len(lag) < needed or np.any(np.diff(lag) <= 0) or lag[0] < 1 or lag[-1] >= n_frames:
        raise ValueError(
            f"lags={lag.tolist()} must be at least {needed}, increasing, from 1 to below "
            f"the {n_frames} frames."
        )
    if msd.ndim != 2 or msd.shape[1] != len(lag) or not frame_ps > 0:
        raise ValueError(
            f"msd has shape {msd.shape} and frame_ps={frame_ps}; expected (replicas, "
            f"{len(lag)}) and a positive time."
        )
    if not np.isfinite(msd).all():
        raise ValueError("msd has entries that are not finite; leave out those replicas.")


@dataclasses.dataclass(frozen=True)
class _Model:
    """Covariance of the mean as a function of D (Å^2/ps) and the offset 2dσ² (Å^2)."""

    overlap: Overlap
    frame_ps: float
    moment_ratio: float
    n_total: float

    def terms(self, offset: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrices of D^0, D^1 and D^2."""
        d, o, dt = _DIMENSION, self.overlap, self.frame_ps
        noise = offset / (2 * d)
        return (
            2 * d * noise**2 * o.noise / self.n_total,
            (2 * d * self.moment_ratio * dt * o.linear + 8 * d * noise * dt * o.mixed)
            / self.n_total,
            8 * d * dt**2 * o.square / self.n_total,
        )

    def covariance(self, diffusivity: float, offset: float) -> np.ndarray:
        """At this D and offset."""
        zero, one, two = self.terms(offset)
        return zero + diffusivity * one + diffusivity**2 * two

    def variance(self, weight: np.ndarray, offset: float) -> tuple[float, float, float]:
        """v0, v1, v2 of the linear estimate with these weights."""
        zero, one, two = (float(weight @ m @ weight) for m in self.terms(offset))
        return zero, one, two


def _iterate(
    mean: Float[np.ndarray, " lags"],
    design: Float[np.ndarray, "lags parameters"],
    model: _Model,
    noisy: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, their weights [parameters, lags] and the covariance, self-consistent."""
    fallback = float((mean / design[:, 0]).mean())

    def reweigh(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        slope = float(beta[0]) if beta[0] > 0 else fallback
        offset = max(float(beta[1]), 0.0) if noisy else 0.0
        covariance = model.covariance(slope / (2 * _DIMENSION), offset)
        scaled = np.linalg.solve(covariance, design)
        weight = np.linalg.solve(design.T @ scaled, scaled.T)
        return weight @ mean, weight, covariance

    result = reweigh(np.linalg.lstsq(design, mean, rcond=None)[0])
    for _ in range(_ITERATIONS):
        previous, result = result[0], reweigh(result[0])
        if np.abs(result[0] - previous).max() <= 1e-9 * np.abs(previous).max():
            break
    return result


def _p_value(residual: np.ndarray, covariance: np.ndarray, dof: int) -> float:
    if dof == 0:
        return math.nan
    return float(chi2.sf(residual @ np.linalg.solve(covariance, residual), dof))


def _estimate(value: float, variance: tuple[float, float, float]) -> Estimate:
    """Interval on the scale of constant variance, Å^2/ps; at least 0."""
    v0, v1, v2 = variance
    at = max(value, 0.0)
    error = math.sqrt(v0 + v1 * at + v2 * at**2)
    discriminant = v1**2 - 4 * v0 * v2
    root = math.sqrt(v2)
    here = 2 * root * error + 2 * v2 * at + v1
    bounds = []
    for sign in (-1, 1):
        there = here * math.exp(sign * NORMAL_95 * root)  # exp(√v2 g), shifted
        bounds.append(((there + discriminant / there) / 2 - v1) / (2 * v2))
    if here * math.exp(-NORMAL_95 * root) < 2 * math.sqrt(v2 * v0) + v1:
        bounds[0] = 0.0  # beyond the end of the scale
    interval = (max(bounds[0], 0.0), bounds[1])
    return Estimate(value, error, interval, (at / error) ** 2 if error else 0.0, "Å^2/ps")


def _at_rest(msd: np.ndarray, exposure: float, moment_ratio: float) -> GlsFit:
    """No displacement: an upper bound, as if for hops of squared length ρ."""
    n_replicas, n_lags = msd.shape
    high = float(garwood(0)[1]) * moment_ratio / (2 * _DIMENSION * exposure)
    none = Estimate(0.0, math.nan, (0.0, high * units.CM2_PER_S), 0.0, "cm^2/s")
    zero = np.zeros((n_lags, n_lags))
    return GlsFit(none, 0.0, np.zeros(n_replicas), zero, math.nan)
