"""Molecular dynamics of ensembles: many replicas, one compiled program.

plan = Plan(cutoff, skin, steps_per_frame, frames_per_chunk)
run_chunk = make_chunk(plan, energy_and_force, observe)
state = evaluate(run_chunk, params, conditions, initialize(...))
for part in advance(run_chunk, plan, params, conditions, state, n_steps=..., ...):
    ...  # part.series: frames; part.state: where the ensemble now is
"""

from jaxdiff.md.chunk import Plan, Series, evaluate, make_chunk
from jaxdiff.md.ensemble import (
    Conditions,
    EnsembleState,
    conditions,
    initialize,
    temperature_grid,
)
from jaxdiff.md.run import Part, advance, restart, why
from jaxdiff.md.thermostats import CSVR, LANGEVIN, NOSE_HOOVER, NPT, NVE

__all__ = [
    "CSVR",
    "LANGEVIN",
    "NOSE_HOOVER",
    "NPT",
    "NVE",
    "Conditions",
    "EnsembleState",
    "Part",
    "Plan",
    "Series",
    "advance",
    "conditions",
    "evaluate",
    "initialize",
    "make_chunk",
    "restart",
    "temperature_grid",
    "why",
]
