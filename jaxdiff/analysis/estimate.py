"""A number with its uncertainty."""

import dataclasses
import math

NORMAL_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value, its standard error and its 95 % interval.

    - `interval`: need not be symmetric; exact where the counting statistics allow it.
    - `n_effective`: independent observations behind the value, e.g. hops.
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    n_effective: float | int
    unit: str

    def scaled(self, factor: float, unit: str) -> "Estimate":
        """The estimate times an exact positive factor."""
        low, high = self.interval
        return Estimate(
            value=factor * self.value,
            standard_error=factor * self.standard_error,
            interval=(factor * low, factor * high),
            n_effective=self.n_effective,
            unit=unit,
        )

    def __str__(self) -> str:
        """Value with the half-width of its 95 % interval, to two digits of that."""
        unit = "" if self.unit == "1" else f" {self.unit}"
        half = (self.interval[1] - self.interval[0]) / 2
        if not (math.isfinite(half) and half > 0 and math.isfinite(self.value)):
            return f"{self.value:.3g}{unit}, error unknown"
        if max(abs(self.value), half) < 1e-3:
            return f"{self.value:.2e} ± {half:.1e}{unit}"
        digits = max(0, 1 - math.floor(math.log10(half)))
        return f"{self.value:.{digits}f} ± {half:.{digits}f}{unit}"


def normal(
    value: float, standard_error: float, n_effective: float | int, unit: str
) -> Estimate:
    """An estimate with the symmetric interval of a normal distribution."""
    half = NORMAL_95 * standard_error
    return Estimate(value, standard_error, (value - half, value + half), n_effective, unit)


def unknown(unit: str) -> Estimate:
    """Nothing was observed: all NaN, no observations."""
    return Estimate(math.nan, math.nan, (math.nan, math.nan), 0, unit)
