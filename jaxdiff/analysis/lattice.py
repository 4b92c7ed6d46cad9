r"""Lattice constant, thermal expansion and bulk modulus from runs at constant pressure.

With the volume V of n conventional cells, in the isothermal-isobaric ensemble
(doi:10.1063/1.443248; doi:10.1093/oso/9780198803195.001.0001, section 2.5),

$$ a = (\langle V\rangle/n)^{1/3}, \qquad
   B_T = \frac{k_BT\langle V\rangle}{\mathrm{Var}(V)}
       = -\langle V\rangle\frac{\mathrm{Cov}(V, P)}{\mathrm{Var}(V)}, \qquad
   \alpha_L = \frac1a\frac{da}{dT}, $$

the second form of B with the instantaneous pressure P, which has Cov(V, P) = -k_B T in that
ensemble whatever the crystal. a(T) is a polynomial through the temperatures.
"""

import dataclasses
import json
import math
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxdiff import units
from jaxdiff.analysis.blocks import AGREEMENT_LIMIT, Blocks, cut
from jaxdiff.analysis.bootstrap import Values
from jaxdiff.analysis.checks import Check, smallest_of
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.lattice_curve import CURVE_LIMIT, Polynomial, fit_curve
from jaxdiff.analysis.record import parse, plain

FORMAT, FORMAT_VERSION = "jaxdiff-lattice", 1

MARGIN_KELVIN = 25.0
"""How far outside of the temperatures run a(T) is still given."""

STEADY_LIMIT = 0.01
"""Smallest p-value, over all temperatures together, of halves that agree, and of the
pressure."""


APART_LIMIT = 0.1
"""Largest change of a replica's volume, from the first quarter of the time to the last."""


@dataclasses.dataclass(frozen=True)
class LatticePoint:
    """Averages of the replicas at one temperature.

    - `duration_ps`: of each of `n_replicas`; `n_left_out`: whose volumes end in NaN.
    - `correlation_ps`: τ of the volume, see `blocks`; NaN where it was not seen to end.
    - `drift_angstrom`: a of the second half of the time less that of the first;
      `halves_p_value`: of none. `agreement_p_value`: of replicas with the same mean.
    - `bulk_modulus_gpa`: by fluctuations of the volume; `bulk_modulus_by_pressure_gpa`,
      `mean_pressure_gpa` and `pressure_covariance`, -Cov(V, P)/kT, which is 1: None where
      pressures were not given.
    """

    temperature_kelvin: float
    n_replicas: int
    n_left_out: int
    duration_ps: float
    correlation_ps: float
    lattice_constant_angstrom: Estimate
    bulk_modulus_gpa: Estimate
    bulk_modulus_by_pressure_gpa: Estimate | None
    mean_pressure_gpa: Estimate | None
    pressure_covariance: Estimate | None
    drift_angstrom: float
    halves_p_value: float
    agreement_p_value: float


@dataclasses.dataclass(frozen=True)
class LatticeStudy:
    """Lattice of a crystal over temperature, at `target_pressure_gpa`.

    `points` are in order of temperature. `n_cells`: conventional cells in the supercell.
    """

    n_cells: float
    target_pressure_gpa: float
    points: tuple[LatticePoint, ...]
    fit: Polynomial
    checks: tuple[Check, ...]

    @property
    def range_kelvin(self) -> tuple[float, float]:
        """Lowest and highest temperature at which the curve may be read."""
        kelvin = [point.temperature_kelvin for point in self.points]
        return max(kelvin[0] - MARGIN_KELVIN, 0.0), kelvin[-1] + MARGIN_KELVIN

    def lattice_constant_at(self, kelvin: float) -> Estimate:
        """a of the fitted curve, Å; ValueError outside of `range_kelvin`."""
        return self.fit.value(self._inside(kelvin))

    def expansion_at(self, kelvin: float) -> Estimate:
        """α_L of the fitted curve, 1/K; ValueError outside of `range_kelvin`."""
        return self.fit.expansion(self._inside(kelvin))

    def to_json(self) -> str:
        """As text; NaN becomes null."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return json.dumps(head | plain(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "LatticeStudy":
        """What `to_json` wrote."""
        return parse(cls, _read(text), "lattice")

    def _inside(self, kelvin: float) -> float:
        low, high = self.range_kelvin
        if not low <= kelvin <= high:
            raise ValueError(
                f"{kelvin:g} K is outside of {low:g} to {high:g} K, the temperatures that "
                f"were run and {MARGIN_KELVIN:g} K beyond; run the lattice there too."
            )
        return kelvin


def study_lattice(
    volume: Float[np.ndarray, "replicas frames"],
    time_ps: Float[np.ndarray, " frames"],
    temperature: Float[np.ndarray, " replicas"],
    *,
    n_cells: float,
    target_pressure: float = 0.0,
    pressure: Float[np.ndarray, "replicas frames"] | None = None,
) -> LatticeStudy:
    """All results of a series at constant pressure, after equilibration.

    Every frame given is used, but not replicas with a NaN: they diverged, and are counted.
    A temperature without a result is named in a check, and the curve goes through the
    others; ValueError where fewer than two remain.

    - `volume` of the supercell, Å^3; `temperature`, K: target of each replica.
    - `target_pressure`, and instantaneous `pressure`, eV/Å^3.
    """
    _check_input(volume, time_ps, temperature, n_cells, pressure)
    columns = volume[..., None]
    if pressure is not None:
        columns = np.stack([volume, pressure], axis=2)
    interval = float(time_ps[1] - time_ps[0])
    points, failed = [], []
    for t in np.unique(temperature):
        try:
            points.append(_point(columns[temperature == t], interval, float(t), n_cells))
        except ValueError as error:
            failed.append(str(error))
    if failed and len(points) < 2:
        raise ValueError(" ".join(failed))
    fit = fit_curve(
        np.array([p.temperature_kelvin for p in points]),
        np.array([p.lattice_constant_angstrom.value for p in points]),
        np.array([p.lattice_constant_angstrom.standard_error for p in points]),
    )
    target = target_pressure / units.GIGAPASCAL
    checks = _checks(tuple(points), fit, target, failed)
    return LatticeStudy(n_cells, target, tuple(points), fit, checks)


def _check_input(
    volume: np.ndarray,
    time_ps: np.ndarray,
    temperature: np.ndarray,
    n_cells: float,
    pressure: np.ndarray | None,
) -> None:
    shape = (len(temperature), len(time_ps))
    for name, given in (("volume", volume), ("pressure", pressure)):
        if given is not None and given.shape != shape:
            raise ValueError(
                f"{name} has shape {given.shape}, expected {shape} (replicas, times)."
            )
    if len(time_ps) < 8 or not np.allclose(np.diff(time_ps), time_ps[1] - time_ps[0]):
        raise ValueError(
            f"time_ps has {len(time_ps)} entries; there must be 8 or more, evenly spaced."
        )
    if not (n_cells > 0 and np.all(temperature > 0)):
        raise ValueError(
            f"n_cells={n_cells} and the lowest temperature, {temperature.min()} K, must be "
            "positive."
        )


def _point(
    columns: Float[np.ndarray, "replicas frames columns"],
    interval: float,
    kelvin: float,
    n_cells: float,
) -> LatticePoint:
    whole = np.isfinite(columns).all(axis=(1, 2))
    used = columns[whole]
    if len(used) == 0 or not np.ptp(used, axis=(0, 1)).all():
        what = "fluctuates" if len(used) else "is finite throughout"
        raise ValueError(
            f"No volume (or pressure) at {kelvin:g} K {what}; the lattice needs runs at "
            "constant pressure that did not diverge."
        )
    quarters = [part[..., 0].mean(axis=1) for part in np.array_split(used, 4, axis=1)]
    growth = quarters[-1] / quarters[0]
    if np.abs(np.log(growth)).max() > APART_LIMIT:
        worst = growth[np.abs(np.log(growth)).argmax()]
        raise ValueError(
            f"Volumes at {kelvin:g} K: the last quarter of the time has {worst:.2f} times "
            "the volume of the first, so there is no steady crystal: it melts, comes "
            "apart, or began far from its volume. Run colder or under pressure, begin at "
            "another lattice constant, or take a model that knows such volumes."
        )
    center = used.mean(axis=(0, 1))
    try:
        blocks = cut(_moments(used - center))
    except ValueError as error:
        raise ValueError(f"Volumes at {kelvin:g} K: {error}") from None
    constant = blocks.estimate(
        lambda m: ((center[0] + m[..., 0]) / n_cells) ** (1 / 3), "Å", logarithmic=True
    )
    half = used.shape[1] // 2
    drift = used[:, half:, 0].mean() - used[:, :half, 0].mean()
    by_pressure, mean_pressure, covariance = _pressures(blocks, center, kelvin)
    return LatticePoint(
        temperature_kelvin=kelvin,
        n_replicas=len(used),
        n_left_out=int((~whole).sum()),
        duration_ps=used.shape[1] * interval,
        correlation_ps=blocks.correlation_frames * interval,
        lattice_constant_angstrom=constant,
        bulk_modulus_gpa=_bulk_modulus(blocks, center[0], kelvin),
        bulk_modulus_by_pressure_gpa=by_pressure,
        mean_pressure_gpa=mean_pressure,
        pressure_covariance=covariance,
        drift_angstrom=float(drift / center[0] / 3 * constant.value),
        halves_p_value=blocks.halves_p_value,
        agreement_p_value=blocks.agreement_p_value,
    )


def _moments(
    deviation: Float[np.ndarray, "replicas frames columns"],
) -> Float[np.ndarray, "replicas frames moments"]:
    """δV, δV², and with pressures δP, δV δP."""
    volume = deviation[..., 0]
    parts = [volume, volume**2]
    if deviation.shape[2] > 1:
        parts += [deviation[..., 1], volume * deviation[..., 1]]
    return np.stack(parts, axis=2)


def _missing_variance(blocks: Blocks) -> float:
    """Of the mean volume, Å^6: by so much the variance around it is too small."""
    return blocks.estimate(lambda m: m[..., 0], "Å^3").standard_error ** 2


def _bulk_modulus(blocks: Blocks, volume: float, kelvin: float) -> Estimate:
    missing = _missing_variance(blocks)

    def modulus(m: np.ndarray) -> Values:
        variance = m[..., 1] - m[..., 0] ** 2 + missing
        return units.KB * kelvin * (volume + m[..., 0]) / variance / units.GIGAPASCAL

    return blocks.estimate(modulus, "GPa", logarithmic=True)


def _pressures(
    blocks: Blocks, center: Float[np.ndarray, " columns"], kelvin: float
) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """B from the covariance, GPa; mean pressure, GPa; -Cov(V, P)/kT."""
    if len(center) < 2:
        return None, None, None
    volume, pressure = center
    missing = _missing_variance(blocks)

    def variance(m: np.ndarray) -> Values:
        return m[..., 1] - m[..., 0] ** 2

    def covariance(m: np.ndarray) -> Values:
        return m[..., 3] - m[..., 0] * m[..., 2]

    def modulus(m: np.ndarray) -> Values:
        scale = (volume + m[..., 0]) / units.GIGAPASCAL
        return -scale * covariance(m) / variance(m)

    def ratio(m: np.ndarray) -> Values:
        unbiased = covariance(m) * (1 + missing / variance(m))
        return -unbiased / (units.KB * kelvin)

    return (
        blocks.estimate(modulus, "GPa"),
        blocks.estimate(lambda m: (pressure + m[..., 2]) / units.GIGAPASCAL, "GPa"),
        blocks.estimate(ratio, "1"),
    )


def _checks(
    points: tuple[LatticePoint, ...], fit: Polynomial, target: float, failed: list[str]
) -> tuple[Check, ...]:
    left_out = sum(p.n_left_out for p in points)
    return (
        Check(
            "every temperature has a lattice",
            not failed,
            " ".join(failed) or "a, with its error, is known at each",
            "The curve is fitted to the others.",
        ),
        Check(
            "replicas are whole",
            left_out == 0,
            f"{left_out} replicas were left out because their volume was not finite"
            if left_out
            else "no replica was left out",
            "They diverged: shorten timestep_fs, or look at their final frames.",
        ),
        _smallest(
            "volume is steady",
            {p.temperature_kelvin: p.halves_p_value for p in points},
            STEADY_LIMIT,
            "The second half of the time differs from the first: equilibrate longer.",
        ),
        _smallest(
            "replicas agree",
            {p.temperature_kelvin: p.agreement_p_value for p in points},
            AGREEMENT_LIMIT,
            "Replicas have volumes of their own, and errors are from their scatter: look "
            "for defects or another phase, and run longer.",
        ),
        Check(
            "one smooth curve",
            None if math.isnan(fit.p_value) else fit.p_value >= CURVE_LIMIT,
            f"χ² = {fit.chi_square:.2f}, degrees of freedom: {fit.degrees_of_freedom}",
            "A polynomial does not describe a(T) within its errors, which have been "
            "widened accordingly: look for a phase transition, and add temperatures in "
            "between.",
        ),
        _smallest(
            "pressure and volume",
            {p.temperature_kelvin: _pressure_p_value(p, target) for p in points},
            STEADY_LIMIT,
            "The mean pressure is not the target or Cov(V, P) is not -kT, so the barostat "
            "does not sample constant pressure: shorten timestep_fs, or run longer.",
        ),
    )


def _smallest(name: str, p_value: dict[float, float], limit: float, advice: str) -> Check:
    """The smallest p-value of several temperatures, times their number (Bonferroni)."""
    known = {t: p for t, p in p_value.items() if math.isfinite(p)}
    if not known:
        return Check(name, None, "nothing to compare at any temperature")
    kelvin = min(known, key=known.__getitem__)
    joint = min(1.0, known[kelvin] * len(known))
    detail = f"p = {joint:.2g} at {kelvin:g} K{smallest_of(len(known))}; limit {limit}"
    return Check(name, joint >= limit, detail, advice)


def _pressure_p_value(point: LatticePoint, target: float) -> float:
    """Of the mean pressure being the target and of -Cov(V, P)/kT being 1, by Student's t.

    NaN without pressures.
    """
    p_values = [
        2 * float(stats.t.sf(abs(e.value - expected) / e.standard_error, e.n_effective - 1))
        for e, expected in (
            (point.mean_pressure_gpa, target),
            (point.pressure_covariance, 1.0),
        )
        if e is not None
    ]
    return min(1.0, 2 * min(p_values)) if p_values else math.nan


def _read(text: str) -> dict[str, Any]:
    """The entries of the study, without those that say which file it is."""
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"The lattice file is not JSON ({error}).") from None
    given = record if isinstance(record, dict) else {}
    found = given.pop("format", None), given.pop("format_version", None)
    if found != (FORMAT, FORMAT_VERSION):
        raise ValueError(
            f"The lattice file has format={found[0]!r}, format_version={found[1]}; this "
            f"version reads {FORMAT!r}, {FORMAT_VERSION}. Give the lattice.json of a study "
            "of the lattice."
        )
    return given
