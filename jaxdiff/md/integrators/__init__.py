"""Integrators: one file for each thermostat and barostat, and one table of them.

A new one is a file with an `Integrator` and a line of `table.py`; run files, programs,
checkpoints and reports know it from there.
"""

from jaxdiff.md.integrators.record import (
    BATH_NOISE,
    CELL_NOISE,
    Bath,
    Given,
    Heat,
    Integrator,
)
from jaxdiff.md.integrators.table import TABLE, names, title

__all__ = [
    "BATH_NOISE",
    "CELL_NOISE",
    "TABLE",
    "Bath",
    "Given",
    "Heat",
    "Integrator",
    "names",
    "title",
]
