"""Do two models differ in their activation energy? One regression on the counts of all.

Whether error bars overlap answers neither question that matters. That of a difference is a
test of equal Ea; that of agreement is an equivalence test: is the difference shown to be
smaller than a margin? Without the power for either the answer is "undecided".
"""

import dataclasses
import itertools
import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.stats import norm

from jaxdiff import units
from jaxdiff.analysis.arrhenius import check_identifiable, inverse_kt
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.profile import coefficient, signed_root
from jaxdiff.analysis.regression import (
    LogLinear,
    Noise,
    NotIdentifiableError,
    Solution,
    estimated_noise,
    known_noise,
    solve,
)

Verdict = Literal["different", "equivalent within margin", "undecided"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two models; every difference is `second` less `first`, the ratio second by first.

    - `activation_energy`: ΔEa, eV. `log_prefactor`: Δ ln A.
    - `rate_ratio`: of k, or of D if a scale was given, at `middle_temperature_kelvin`,
      where 1/T is the mean over the hops of both.
    - `p_value`: of equal Ea. `equivalence_p_value`: of |ΔEa| at the margin or beyond, the
      larger of two one-sided tests. Both times Holm's factor if there are several pairs.
    - `power`: probability that data like these show a difference of `detectable_ev` at 5 %.
    - `verdict`: "equivalent within margin" where the second p-value is below 5 %, also if
      the first one is: a margin says which differences do not matter.
    """

    first: str
    second: str
    activation_energy: Estimate
    log_prefactor: Estimate
    rate_ratio: Estimate
    middle_temperature_kelvin: float
    p_value: float
    equivalence_p_value: float
    margin_ev: float
    detectable_ev: float
    power: float
    verdict: Verdict


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Joint regression of several models.

    - `equal_energy_p_value`: of one Ea for all, each with its own prefactor.
    - `dispersion`: φ of all rows together, at least 1.
    """

    models: tuple[str, ...]
    pairs: tuple[Pair, ...]
    equal_energy_p_value: float
    dispersion: float
    noise: Noise


def compare_arrhenius(
    model: Shaped[np.ndarray, " rows"],
    temperature: Float[np.ndarray, " rows"],
    count: Real[np.ndarray, " rows"],
    exposure: Float[np.ndarray, " rows"],
    *,
    scale: Float[np.ndarray, " rows"] | float = 1.0,
    margin: float = 0.02,
    detectable: float = 0.02,
    dispersion: float | None = None,
) -> Comparison:
    r"""$n_r\sim\mathrm{Poisson}(t_r s_r^{-1} A_m e^{-E_m/kT_r})$ of all models m at once.

    Rows are replicas of any model, best not summed: the dispersion comes from all of them
    and is taken as common to the models. Temperatures need not be the same.

    - `model`: name of each row's model. `temperature`, K. `exposure`, ps. `scale` and
      `dispersion` as in `fit_arrhenius`.
    - `margin`: largest difference of Ea that does not matter, eV. `detectable`: difference
      that `Pair.power` refers to, eV.
    """
    for name, value in (("margin", margin), ("detectable", detectable)):
        if not value > 0:
            raise ValueError(f"{name}={value} must be positive, in eV, e.g. 0.02.")
    arrays = np.broadcast_arrays(model, temperature, count, exposure, scale)
    used = np.asarray(arrays[3]) > 0
    label, temperature, n, t, scale = (a[used] for a in arrays)
    x, n, t = inverse_kt(temperature), n.astype(float), t / scale
    names = tuple(dict.fromkeys(label.tolist()))
    if len(names) < 2:
        raise ValueError(f"a comparison needs two models at least, got {list(names)}.")
    _check_each(names, label, x, n)
    separate, common = _joint(names, label, x, n, t)
    full, equal = solve(separate), solve(common)
    if dispersion is None:
        noise = estimated_noise(n, full.mean, 2 * len(names))
    else:
        noise = known_noise(dispersion)
    pairs = []
    for first, second in itertools.combinations(names, 2):
        rows = (label == first) | (label == second)
        data = _Data(label[rows] == second, x[rows], n[rows], t[rows])
        pairs.append(_pair(str(first), str(second), data, noise, margin, detectable))
    return Comparison(
        models=tuple(str(name) for name in names),
        pairs=_adjusted(pairs),
        equal_energy_p_value=noise.p_value(equal.deviance - full.deviance, len(names) - 1),
        dispersion=noise.scale,
        noise=noise,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Data:
    """Rows of two models; `second` is true for those of the second."""

    second: np.ndarray
    x: Float[np.ndarray, " rows"]
    count: Float[np.ndarray, " rows"]
    exposure: Float[np.ndarray, " rows"]

    def model(self, center: float) -> LogLinear:
        """ln rate = a - E z + second · (Δa - ΔE z) with z = x - center."""
        (z, second), row = np.unique(
            np.stack([self.x - center, self.second]), axis=1, return_inverse=True
        )
        design = np.stack([np.ones_like(z), -z, second, -z * second], axis=1)
        n, t = np.bincount(row, self.count), np.bincount(row, self.exposure)
        return LogLinear(design, n, np.log(t), np.ones_like(n))


def _pair(
    first: str, second: str, data: _Data, noise: Noise, margin: float, detectable: float
) -> Pair:
    total = float(data.count.sum())
    center = float((data.count * data.x).sum() / total)
    centered, plain = data.model(center), data.model(0.0)
    best = solve(centered)
    energy = coefficient(centered, best, 3, noise, total, "eV")
    ratio = coefficient(centered, best, 2, noise, total, "1")
    with np.errstate(over="ignore"):
        low, high = np.exp(ratio.interval).tolist()
    root = signed_root(centered, best, 3, 0.0, noise.scale)
    p_value = 2 * noise.tail(abs(root))
    equivalence = _equivalence(centered, best, noise, margin)
    return Pair(
        first=first,
        second=second,
        activation_energy=energy,
        log_prefactor=coefficient(plain, solve(plain), 2, noise, total, "1"),
        rate_ratio=Estimate(
            value=math.exp(ratio.value),
            standard_error=math.exp(ratio.value) * ratio.standard_error,
            interval=(low, high),
            n_effective=total,
            unit="1",
        ),
        middle_temperature_kelvin=1 / (units.KB * center),
        p_value=p_value,
        equivalence_p_value=equivalence,
        margin_ev=margin,
        detectable_ev=detectable,
        power=detection_power(energy.standard_error, detectable, noise.quantile()),
        verdict=_verdict(p_value, equivalence),
    )


def detection_power(
    standard_error: float, difference: float, quantile: float = float(norm.isf(0.025))
) -> float:
    """Probability that a two-sided test finds a true `difference` of that error.

    - `quantile`: critical value in standard errors, 1.96 for 5 % and a known dispersion.
    """
    shift = abs(difference) / standard_error
    return float(norm.sf(quantile - shift) + norm.cdf(-quantile - shift))


def _equivalence(model: LogLinear, best: Solution, noise: Noise, margin: float) -> float:
    """Larger p-value of the tests of ΔE ≤ -margin and of ΔE ≥ margin."""
    above = signed_root(model, best, 3, -margin, noise.scale)
    below = -signed_root(model, best, 3, margin, noise.scale)
    return noise.tail(min(above, below))


def _verdict(p_value: float, equivalence_p_value: float) -> Verdict:
    if equivalence_p_value < 0.05:
        return "equivalent within margin"
    return "different" if p_value < 0.05 else "undecided"


def _adjusted(pairs: list[Pair]) -> tuple[Pair, ...]:
    """Holm's step-down factors on both families of p-values, and verdicts from those."""
    differ = holm(np.array([pair.p_value for pair in pairs]))
    equal = holm(np.array([pair.equivalence_p_value for pair in pairs]))
    return tuple(
        dataclasses.replace(
            pair,
            p_value=float(p),
            equivalence_p_value=float(q),
            verdict=_verdict(float(p), float(q)),
        )
        for pair, p, q in zip(pairs, differ, equal, strict=True)
    )


def holm(p_value: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """p-values of several tests so that 5 % bounds the chance of any false one.

    Holm, Scand. J. Statist. 6, 65 (1979), https://www.jstor.org/stable/4615733.
    """
    order = np.argsort(p_value)
    factor = len(p_value) - np.arange(len(p_value))
    adjusted = np.empty_like(p_value, dtype=float)
    adjusted[order] = np.minimum(np.maximum.accumulate(factor * p_value[order]), 1)
    return adjusted


def _joint(
    names: tuple,
    label: np.ndarray,
    x: Float[np.ndarray, " rows"],
    n: Float[np.ndarray, " rows"],
    t: Float[np.ndarray, " rows"],
) -> tuple[LogLinear, LogLinear]:
    """All rows with an energy of each model, and with one energy for all."""
    z = x - (n * x).sum() / n.sum()
    member = np.stack([label == name for name in names], axis=1).astype(float)
    weight = np.ones_like(n)
    separate = np.concatenate([member, -z[:, None] * member], axis=1)
    common = np.concatenate([member, -z[:, None]], axis=1)
    return (
        LogLinear(separate, n, np.log(t), weight),
        LogLinear(common, n, np.log(t), weight),
    )


def _check_each(
    names: tuple,
    label: np.ndarray,
    x: Float[np.ndarray, " rows"],
    n: Float[np.ndarray, " rows"],
) -> None:
    for name in names:
        try:
            check_identifiable(x[label == name], n[label == name])
        except NotIdentifiableError as error:
            raise NotIdentifiableError(f"Model {name!r}: {error}") from error
