"""The temperatures of a report: of the momenta, and of the positions."""

import math

from jaxdiff.analysis.study import Study
from jaxdiff.report.document import Block, Heading, Table, Text


def temperatures(study: Study) -> list[Block]:
    """Of momenta over the run, and of positions at its end, where these were recorded."""
    rows = [r for r in study.rows if math.isfinite(r.mean_temperature.value)]
    if not rows:
        return []
    header = ("target (K)", "momenta (K)", "positions at the end (K)")
    shown = []
    for row in rows:
        estimates = row.mean_temperature, row.configurational_temperature
        values = [f"{e.value:.1f} ± {e.standard_error:.1f}" for e in estimates]
        known = math.isfinite(row.configurational_temperature.value)
        values[1] = values[1] if known else "not recorded"
        shown.append((f"{row.temperature_kelvin:.0f}", *values))
    note = (
        "Values with standard errors. Momenta: the mean kinetic temperature. Positions: "
        "⟨|∇U|²⟩ / ⟨∇²U⟩ of the last frame of each replica, so its error is that of a few "
        "frames. Hops depend on the positions. A finite time step makes the two differ: "
        "see the checks."
    )
    return [Heading("Temperatures"), Table(header, shown), Text(note)]
