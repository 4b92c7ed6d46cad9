"""Molecular dynamics of ensembles: many replicas, one compiled program.

plan = Plan(cutoff, skin, steps_per_frame, frames_per_chunk)
run_chunk = make_chunk(plan, energy_and_force, observe)
state = evaluate(run_chunk, params, conditions, initialize(...))
for part in advance(run_chunk, plan, params, conditions, state, n_steps=..., ...):
    ...  # part.series: frames; part.state: where the ensemble now is
"""

from jaxdiff.md.chunk import Series, evaluate, make_chunk
from jaxdiff.md.ensemble import (
    Conditions,
    EnsembleState,
    Info,
    conditions,
    initialize,
    temperature_grid,
)
from jaxdiff.md.plan import Plan
from jaxdiff.md.run import Part, advance, hold, restart, why

__all__ = [
    "Conditions",
    "EnsembleState",
    "Info",
    "Part",
    "Plan",
    "Series",
    "advance",
    "conditions",
    "evaluate",
    "hold",
    "initialize",
    "make_chunk",
    "restart",
    "temperature_grid",
    "why",
]
