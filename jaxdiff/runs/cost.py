"""What an evaluation of a model costs on this machine, as dynamics makes it."""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from jaxdiff import neighbors
from jaxdiff.io.runfile import ModelSection
from jaxdiff.runs.build import load_potential
from jaxdiff.runs.levels import terms_of
from jaxdiff.system import System

_LEAST_CALLS, _MOST_CALLS, _LONG_ENOUGH_S = 3, 20, 2.0
_SKIN, _HEADROOM = 0.5, 1.1  # Å, and places in rows, as in runs


def cost(section: ModelSection, system: System) -> dict[str, Any]:
    """The median time of energy, forces and strain, per atom; neighbours are known.

    Of the evaluator and the precision that a run file's section means. What is compiled
    and what was first is not counted. Beside it stands the time of all cores together,
    which says more on a machine that others use as well.
    """
    terms = terms_of(section, system, dtype=section.precision)
    field = load_potential(section, system).beside(terms)
    position, cell = jnp.asarray(system.position), jnp.asarray(system.cell)
    edges = neighbors.neighbor_rows(system.position, system.cell, field.cutoff)[0].shape[1]
    close = round(_HEADROOM * edges)
    lists = neighbors.allocate(position, cell, field.cutoff, _SKIN, close=close)
    given = field.params, position, cell, lists
    program = jax.jit(field.energy_and_force).lower(*given).compile()
    jax.block_until_ready(program(*given))
    seconds: list[float] = []
    processor: list[float] = []
    while len(seconds) < _LEAST_CALLS or (
        sum(seconds) < _LONG_ENOUGH_S and len(seconds) < _MOST_CALLS
    ):
        begin = time.perf_counter(), time.process_time()
        jax.block_until_ready(program(*given))
        seconds.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
    wall, own = (1e6 * statistics.median(t) / system.n_atoms for t in (seconds, processor))
    return {
        "microseconds_per_atom": wall,
        "processor_microseconds_per_atom": own,
        "calls": len(seconds),
        "atoms": system.n_atoms,
        "edges_per_atom": edges,
        "precision": section.precision,
        "evaluator": field.evaluator,
    }
