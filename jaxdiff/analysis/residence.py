"""Residence times of the defect from the times of its hops, with censoring.

Between two hops the defect resides. The residence during which observation ends is censored
on the right; the one during which it began has an unknown start. Residences that are seen
whole are short ones: their mean is far below the residence time where a replica has few
hops (0.28 of it at one hop per replica). All time counts instead.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats
from scipy.optimize import root_scalar

from jaxdiff.analysis.estimate import NORMAL_95, Estimate
from jaxdiff.analysis.rates import garwood

_EXACT = 2**40  # frames of all observation, where times are exact
_COUNTED = 20  # simulations beyond the value, that the p of a count needs


@dataclasses.dataclass(frozen=True)
class Residences:
    """Times between hops, also the incomplete ones.

    - `length`, ps. `replica`: where from.
    - `ended`: by a hop, otherwise by the end of observation.
    - `entered`: by a hop, otherwise it was going on when observation began.
    """

    length: Float[np.ndarray, " residences"]
    replica: Int[np.ndarray, " residences"]
    ended: Bool[np.ndarray, " residences"]
    entered: Bool[np.ndarray, " residences"]


def residences(
    time: Float[np.ndarray, " events"],
    replica: Int[np.ndarray, " events"],
    start: Float[np.ndarray, " replicas"],
    stop: Float[np.ndarray, " replicas"],
) -> Residences:
    """Cut the observation of each replica, from `start` to `stop`, at its hops; all ps."""
    n_replicas = len(start)
    if np.any(time < start[replica]) or np.any(time > stop[replica]):
        raise ValueError(
            "there are hops outside of the observation of their replica; give the start "
            "and stop between which the defect was followed, in the unit of the times."
        )
    who = np.concatenate([np.arange(n_replicas), replica, np.arange(n_replicas)])
    when = np.concatenate([start, time, stop])
    kind = np.repeat([0, 1, 2], [n_replicas, len(time), n_replicas])
    order = np.lexsort((kind, when, who))
    who, when, kind = who[order], when[order], kind[order]
    inner = who[1:] == who[:-1]
    return Residences(
        length=np.diff(when)[inner],
        replica=who[1:][inner],
        ended=kind[1:][inner] == 1,
        entered=kind[:-1][inner] == 1,
    )


def mean_residence(data: Residences) -> Estimate:
    """Maximum likelihood of exponential residences: all time by hops, ps; exact interval.

    Without memory an incomplete residence is as good as a complete one, at either end. The
    interval is that of the rate (`garwood`); without hops it is open above.
    """
    exposure, n = float(data.length.sum()), int(data.ended.sum())
    if not exposure > 0:
        raise ValueError("no time was observed: no replica had a known defect.")
    low, high = (float(bound) for bound in garwood(n))
    if n == 0:
        return Estimate(math.inf, math.nan, (exposure / high, math.inf), 0, "ps")
    value = exposure / n
    return Estimate(value, value / math.sqrt(n), (exposure / high, exposure / low), n, "ps")


def mean_complete_residence(data: Residences) -> float:
    """Mean of the residences seen from hop to hop, ps: biased, for comparison only."""
    whole = data.ended & data.entered
    return float(data.length[whole].mean()) if whole.any() else math.nan


@dataclasses.dataclass(frozen=True)
class Survival:
    """Kaplan-Meier estimate of the probability to stay longer than `time` (ps).

    A step function: values from each `time` on, first at 0. `low`, `high`: pointwise 95 %
    band; NaN where nobody is left. `at_risk`: residences seen up to then.
    """

    time: Float[np.ndarray, " steps"]
    probability: Float[np.ndarray, " steps"]
    low: Float[np.ndarray, " steps"]
    high: Float[np.ndarray, " steps"]
    at_risk: Int[np.ndarray, " steps"]

    def at(self, time: float) -> tuple[float, float, float]:
        """Probability, low and high at a time, ps."""
        step = int(np.searchsorted(self.time, time, side="right")) - 1
        return float(self.probability[step]), float(self.low[step]), float(self.high[step])


def survival(data: Residences, *, include_first: bool = False) -> Survival:
    r"""Product-limit estimate with Greenwood's variance on the scale ln(-ln S).

    $$ S(t) = \prod_{t_i\le t}\left(1-\frac{d_i}{n_i}\right), \quad
       \mathrm{Var}\ln(-\ln S) = \frac{1}{\ln^2 S}\sum_{t_i\le t}\frac{d_i}{n_i(n_i-d_i)} $$

    (doi:10.1080/01621459.1958.10501452). Residences of one replica share its observation
    time; that does not bias the estimate (doi:10.1198/016214501753381922).

    - `include_first`: take the residences that were going on at the start as if they had
      begun there. Right only for residences without memory, which is what this checks.
    """
    use = data.entered | include_first
    length, ended = data.length[use], data.ended[use]
    time = np.unique(length[ended])
    n = len(length) - np.searchsorted(np.sort(length), time, side="left")
    d = np.diff(np.searchsorted(np.sort(length[ended]), np.append(time, np.inf)))
    probability = np.cumprod(1 - d / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.cumsum(d / (n * (n - d)))) / np.abs(np.log(probability))
        low = probability ** np.exp(NORMAL_95 * spread)
        high = probability ** np.exp(-NORMAL_95 * spread)
    dead = probability == 0
    return Survival(
        time=np.append(0.0, time),
        probability=np.append(1.0, probability),
        low=np.append(1.0, np.where(dead, np.nan, low)),
        high=np.append(1.0, np.where(dead, np.nan, high)),
        at_risk=np.append(len(length), n),
    )


@dataclasses.dataclass(frozen=True)
class Exponentiality:
    """Are residences exponential, that is hops without memory and of one rate?

    - `shape`: of a Weibull distribution; 1 for exponential, below for bursts or a mixture
      of rates, above for hops that keep a distance. NaN without hops.
    - `p_value`: two-sided.
    """

    shape: float
    p_value: float


def exponentiality(
    data: Residences,
    *,
    seed: int,
    frame_ps: float = 0.0,
    dwell_frames: int = 1,
    n_simulations: int = 999,
) -> Exponentiality:
    """Score test of the Weibull shape being 1, against simulated runs of the same design.

    Given their number, hops of one constant rate are spread evenly over all the time
    observed, whatever the rate: so the distribution of the statistic is simulated without
    knowing it, with the same censoring (Monte Carlo test,
    doi:10.1111/j.2517-6161.1968.tb00759.x). A count of simulations has a floor, so the
    tails come from a Pearson distribution of the mean, width and skewness simulated: p can
    be as small as it is. One temperature at a time: the rates must be the same.

    - `frame_ps`: hop times are known to a frame only, and a defect that hops twice in a
      frame is seen to hop once, or not at all. Residences in frames are then geometric, and
      so they are simulated; 0 for times that are exact.
    - `dwell_frames`: a new site counts after so many; no residence is shorter.
    """
    n, total = int(data.ended.sum()), float(data.length.sum())
    if n < 2:
        return Exponentiality(math.nan, math.nan)
    frame_ps = frame_ps or total / _EXACT
    edge = np.cumsum(np.bincount(data.replica, data.length)) / frame_ps
    edge = np.append(0, np.round(edge).astype(int))
    frames = np.round(data.length / frame_ps).astype(int)
    least = frames[data.ended & data.entered].min(initial=dwell_frames)
    dead = int(np.clip(least, 0, dwell_frames)) - 1
    rng = np.random.default_rng(seed)
    simulated = np.array([_simulate(rng, n, edge, dead) for _ in range(n_simulations)])
    seen = _score(_exceeding(frames, data.entered, dead), data.ended)
    shape = _shape(_exceeding(frames, data.entered, dead), data.ended)
    return Exponentiality(shape, _two_sided(seen, simulated))


def _simulate(
    rng: np.random.Generator, n: int, edge: Int[np.ndarray, " edges"], dead: int
) -> float:
    """The score of n hops at random, each with `dead` frames after it free of others.

    Below zero two may share a frame.
    """
    together = dead < 0  # two hops in a frame are two
    room = max(int(edge[-1]) - n * max(dead, 0), n)
    hop = 1 + np.sort(rng.choice(room, n, replace=together, shuffle=False))
    hop = np.minimum(hop + max(dead, 0) * np.arange(n), edge[-1])
    # a cut at every edge: the length of an ended residence is from hop or edge to hop
    cuts = np.concatenate([hop, edge])
    is_hop = np.repeat([True, False], [n, len(edge)])
    order = np.argsort(cuts, kind="stable")
    length, is_hop = np.diff(cuts[order]), is_hop[order]
    return _score(_exceeding(length, is_hop[:-1], dead), is_hop[1:])


def _exceeding(
    frames: Int[np.ndarray, " residences"],
    entered: Bool[np.ndarray, " residences"],
    dead: int,
) -> Float[np.ndarray, " residences"]:
    """Residences beyond the shortest that can be seen, which counts half a frame."""
    return np.maximum(frames - max(dead, 0) * entered - 0.5, 0.5)


def _two_sided(seen: float, simulated: Float[np.ndarray, " simulations"]) -> float:
    """p of a value as far out on its side, times two."""
    above, below = int((simulated >= seen).sum()), int((simulated <= seen).sum())
    fewer, n = min(above, below), len(simulated)
    if fewer >= _COUNTED:
        return min(1.0, 2 * (1 + fewer) / (n + 1))
    score = (seen - simulated.mean()) / simulated.std()
    tail = stats.pearson3(stats.skew(simulated))
    return float(2 * min(tail.sf(score), tail.cdf(score)))


def _score(
    length: Float[np.ndarray, " residences"], ended: Bool[np.ndarray, " residences"]
) -> float:
    """d ln L/dk of a Weibull distribution at k = 1 and the best scale there."""
    relative = length * ended.sum() / length.sum()
    log = np.log(relative)
    return float((1 + log[ended]).sum() - relative @ log)


def _shape(
    length: Float[np.ndarray, " residences"], ended: Bool[np.ndarray, " residences"]
) -> float:
    """Maximum-likelihood shape with censoring: 1/k + ⟨ln t⟩_ended = Σ t^k ln t / Σ t^k."""
    log = np.log(length)
    log = log - log.max()
    mean = log[ended].mean()

    def equation(k: float) -> float:
        power = np.exp(k * log)
        return float(1 / k + mean - power @ log / power.sum())

    if equation(100.0) > 0:
        return math.inf
    return float(root_scalar(equation, bracket=(1e-3, 100.0)).root)
