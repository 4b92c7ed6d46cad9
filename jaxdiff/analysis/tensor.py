"""Diffusivities as tensors: principal values and axes, with intervals."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxdiff.analysis.estimate import NORMAL_95, Estimate

Vector = tuple[float, float, float]

DISTINCT = 3.0
"""Principal values nearer than so many standard errors of their difference are one."""

PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components of a symmetric tensor in the order of its six numbers (Voigt's)."""

_FEW = 4.0  # observations, below which χ² says too little


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A symmetric tensor, Cartesian, in the unit of its values.

    - `matrix`: rows. `error`: standard error of each entry.
    - `mean`: a third of the trace.
    - `principal`: in the order of `axes`, unit vectors, the largest first. Those that
      cannot be told apart have their mean. `group`: which value each axis has, by number;
      all 0 where no direction differs from another.
    """

    matrix: tuple[Vector, Vector, Vector]
    error: tuple[Vector, Vector, Vector]
    mean: Estimate
    principal: tuple[Estimate, Estimate, Estimate]
    axes: tuple[Vector, Vector, Vector]
    group: tuple[int, int, int]


def positive(
    value: float, error: float, unit: str, *, still: float | None = None, bound: float = 0.0
) -> Estimate:
    """An estimate of what cannot be negative, as the variance of a walk or a count.

    It is worth n = (value/error)² observations: the upper end is that of χ² of 2n degrees
    of freedom, the lower one is normal on the scale of logarithms. A value within 1.96
    `still` of zero has an interval that begins there.

    - `still`: the error if the true value were zero; as `error` if not given.
    - `bound`: the upper end is at least this, e.g. what one unseen hop is worth.
    """
    if not (math.isfinite(value) and math.isfinite(error)):
        return Estimate(value, error, (0.0, math.inf), 0.0, unit)
    if error == 0:
        return Estimate(value, error, (value, max(value, bound)), 0.0, unit)
    size, root = max(value, 0.0) / error, math.sqrt(_FEW)
    if size >= root:
        high = value * _upper(size**2)
    else:
        steepest = (_upper(_FEW) - 1) * root  # the two cases meet at n = 4
        high = max(value, 0.0) + error * (3 + (steepest - 3) * size / root)
    seen = value > NORMAL_95 * (error if still is None else still)
    low = value * math.exp(-NORMAL_95 / size) if seen else 0.0
    return Estimate(value, error, (low, max(high, bound)), size**2, unit)


def _upper(worth: float) -> float:
    """Upper end of a variance over its estimate."""
    return 2 * worth / float(stats.chi2.ppf(0.025, 2 * worth))


def tensor(
    component: Float[np.ndarray, "6"],
    covariance: Float[np.ndarray, "6 6"],
    unit: str,
    *,
    like: Tensor | None = None,
    still: Float[np.ndarray, "6 6"] | None = None,
    bound: float = 0.0,
) -> Tensor:
    """From the six numbers of `PAIRS` and their covariance.

    - `like`: a tensor whose axes are taken, and which of its values are told apart.
    - `still`: the covariance of a crystal that does not diffuse. `bound`: see `positive`.
    """
    matrix = _square(component)
    value, vector = np.linalg.eigh(matrix)
    value, axes = value[::-1], vector[:, ::-1].T
    axes = np.where(axes.sum(axis=1, keepdims=True) < 0, -axes, axes)
    if like is not None:
        axes = np.array(like.axes)
    weight = np.stack([_projector(axis) for axis in axes])
    group = like.group if like is not None else _groups(value, weight, covariance)

    def along(mine: Float[np.ndarray, "6"]) -> Estimate:
        """The value that these weights give."""
        error, rest = (
            math.sqrt(max(float(mine @ matrix @ mine), 0.0))
            for matrix in (covariance, covariance if still is None else still)
        )
        return positive(float(mine @ component), error, unit, still=rest, bound=bound)

    principal = [along(weight[[g == n for g in group]].mean(axis=0)) for n in group]
    return Tensor(
        matrix=_rows(matrix),
        error=_rows(_square(np.sqrt(np.diag(covariance)))),
        mean=along(np.array([1, 1, 1, 0, 0, 0]) / 3),
        principal=(principal[0], principal[1], principal[2]),
        axes=_rows(axes),
        group=group,
    )


def ratio(one: Estimate, other: Estimate, unit: str = "1") -> Estimate:
    """Of two positive estimates, taken as independent; by the distribution of F.

    Each is worth as many squares of normal numbers as its error says. Where one is worth
    none only a lower bound is known.
    """
    if not (one.n_effective >= 1 and other.n_effective >= 1):
        bound = one.interval[0] / other.interval[1] if other.interval[1] > 0 else 0.0
        return Estimate(math.nan, math.nan, (bound, math.inf), 0.0, unit)
    value = one.value / other.value
    n, m = 2 * one.n_effective, 2 * other.n_effective
    low, high = (value / float(stats.f.ppf(p, n, m)) for p in (0.975, 0.025))
    spread = math.hypot(one.standard_error / one.value, other.standard_error / other.value)
    return Estimate(value, value * spread, (low, high), spread**-2, unit)


def _groups(
    value: Float[np.ndarray, "3"],
    weight: Float[np.ndarray, "3 6"],
    covariance: Float[np.ndarray, "6 6"],
) -> tuple[int, int, int]:
    """Number of each principal value among the distinct ones, from the largest on."""
    apart = []
    for one, two, difference in (
        (weight[0], weight[1], value[0] - value[1]),
        (weight[1], weight[2], value[1] - value[2]),
    ):
        error = math.sqrt(float((one - two) @ covariance @ (one - two)))
        apart.append(difference > DISTINCT * error)
    if not any(apart) and value[0] - value[2] > DISTINCT * math.sqrt(
        float((weight[0] - weight[2]) @ covariance @ (weight[0] - weight[2]))
    ):
        apart[int(value[1] - value[2] > value[0] - value[1])] = True
    first = int(apart[0])
    return 0, first, first + int(apart[1])


def _projector(axis: Float[np.ndarray, "3"]) -> Float[np.ndarray, "6"]:
    """Weights of the six numbers in n·D·n."""
    return np.array([axis[a] * axis[b] * (1 if a == b else 2) for a, b in PAIRS])


def _square(six: Float[np.ndarray, "6"]) -> Float[np.ndarray, "3 3"]:
    matrix = np.zeros((3, 3))
    for number, (a, b) in zip(six, PAIRS, strict=True):
        matrix[a, b] = matrix[b, a] = number
    return matrix


def _rows(matrix: Float[np.ndarray, "3 3"]) -> tuple[Vector, Vector, Vector]:
    x, y, z = (tuple(row) for row in matrix.tolist())
    return x, y, z
