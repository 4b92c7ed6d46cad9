"""The temperature of the positions at the end of a run, as the run has recorded it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdiff.analysis.estimate import Estimate, normal, unknown
from jaxdiff.analysis.traces import Traces
from jaxdiff.io.provenance import units_of

KEY = "configurational_temperature"


@dataclasses.dataclass(frozen=True)
class Configurational:
    """Of the replicas at one temperature, one frame each (`md.configurational`).

    - `asked`, K; `seen`, K, of the positions; `expected`, K: with what the time step adds.
    """

    asked: float
    seen: Estimate
    expected: float

    @property
    def excess(self) -> Estimate:
        """How much hotter than expected, as a fraction; its error is that at `expected`."""
        relative = self.seen.standard_error / self.seen.value
        value = self.seen.value / self.expected - 1
        return normal(value, relative, self.seen.n_effective, "1")


def configurational(series: Traces) -> tuple[Configurational, ...]:
    """By temperature; those that were not recorded are left out.

    Units of a campaign count by their replicas.
    """
    rows = [row for unit in units_of(series.provenance) for row in unit.get(KEY) or ()]
    rows = [row for row in rows if _known(row)]
    by_kelvin: dict[float, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_kelvin.setdefault(float(row["temperature_kelvin"]), []).append(row)
    return tuple(_pooled(kelvin, by_kelvin[kelvin]) for kelvin in sorted(by_kelvin))


def _known(row: Mapping[str, Any]) -> bool:
    names = ("kelvin", "standard_error_kelvin", "timestep_error")
    values = [row.get(name) for name in names]
    return all(v is not None and math.isfinite(v) for v in values) and row["kelvin"] > 0


def _pooled(asked: float, rows: Sequence[Mapping[str, Any]]) -> Configurational:
    n = sum(row["replicas"] for row in rows)
    share = [row["replicas"] / n for row in rows]

    def mean(name: str) -> float:
        return sum(s * row[name] for s, row in zip(share, rows, strict=True))

    error = math.hypot(
        *(s * row["standard_error_kelvin"] for s, row in zip(share, rows, strict=True))
    )
    seen = normal(mean("kelvin"), error, n, "K")
    return Configurational(asked, seen, asked * (1 + mean("timestep_error")))


def configurational_temperature(series: Traces, asked: float) -> Estimate:
    """Of the replicas at one temperature, K; unknown where it was not recorded."""
    found = [row.seen for row in configurational(series) if row.asked == asked]
    return found[0] if found else unknown("K")
