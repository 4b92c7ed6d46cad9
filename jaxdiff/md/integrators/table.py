"""The integrators by name: what run files allow, what programs hold, what reports say."""

from jaxdiff.md.integrators.cell_rescaling import CELL_RESCALING
from jaxdiff.md.integrators.csvr import CSVR
from jaxdiff.md.integrators.langevin import LANGEVIN
from jaxdiff.md.integrators.nose_hoover import NOSE_HOOVER
from jaxdiff.md.integrators.nve import NVE
from jaxdiff.md.integrators.record import Integrator

TABLE: dict[str, Integrator] = {
    integrator.name: integrator
    for integrator in (NVE, NOSE_HOOVER, LANGEVIN, CSVR, CELL_RESCALING)
}

_FORMER_NAMES = {"npt": "cell-rescaling"}  # in series of version 0.1


def names(*, varies_cell: bool) -> tuple[str, ...]:
    """What a run file may name: barostats, or thermostats."""
    return tuple(n for n, found in TABLE.items() if found.varies_cell is varies_cell)


def title(name: str) -> str:
    """What a report says of an integrator; the name itself where it is not known."""
    found = TABLE.get(_FORMER_NAMES.get(name, name))
    return name if found is None else found.title
