"""Cost and memory of a step against the number of atoms, one replica of the embedded model.

python benchmarks/scale.py RECORD.json [--edge N ...] [--tiny]

LiF with one interstitial at 500 K, as `jaxdiff simulate` runs it, in a process of its own
for each size. Time is that of the processor, all cores together, for a step of a chunk that
compiles nothing. Memory is what the process takes beyond what it had once the program was
compiled, beside what was said before the run. Sizes that the record has already stay in it.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Annotated

import jax
import typer
from ensembles import run_of
from harness import Tiny, alone, now_gib, peak_gib, provenance, write

EDGES = (3, 5, 8, 12, 18, 24)
"""Conventional cells along an edge: 217 to 110,593 atoms."""
CHUNKS, STEPS = 4, 16


def measure(edge: int) -> dict:
    """Of one size."""
    from jaxdiff.devices import devices_for, use_every_core

    jax.config.update("jax_enable_x64", True)
    use_every_core()
    from jaxdiff import md
    from jaxdiff.runs.build import PRODUCTION, build

    ensemble = build(run_of("lif-compact", 2.5, edge, 1, STEPS))
    state, conditions = ensemble.first_state(), ensemble.conditions(PRODUCTION)
    ensemble = ensemble.measured(PRODUCTION, state)
    before = now_gib()
    program, params = ensemble.run_chunk, ensemble.potential.params
    state = md.evaluate(program, params, conditions, state)
    seconds, begin = [], time.process_time()
    for part in md.advance(
        program,
        ensemble.plan,
        params,
        conditions,
        state,
        n_steps=CHUNKS * STEPS,
        integrator=ensemble.run.integrator(PRODUCTION),
    ):
        now = time.process_time()
        seconds.append((now - begin) / part.n_steps)
        begin = now
    n_atoms = len(ensemble.is_mobile)
    return {
        "atoms": n_atoms,
        "processor_us_per_atom_and_step": 1e6 * statistics.median(seconds) / n_atoms,
        "said_gib": len(devices_for(1)) * ensemble.memory.total(1) / 2**30,
        "taken_gib": peak_gib() - before,
        "process_gib": peak_gib(),
    }


def table(found: dict) -> str:
    """In Markdown, by size."""
    rows = ["| atoms | µs per atom and step | said, GiB | taken, GiB | process, GiB |"]
    rows.append("|---|---|---|---|---|")
    for row in sorted(found.values(), key=lambda row: row["atoms"]):
        time_, *memory = list(row.values())[1:5]
        sizes = " | ".join(f"{value:.2f}" for value in memory)
        rows.append(f"| {row['atoms']} | {time_:.1f} | {sizes} |")
    return "\n".join(rows)


def main(
    record: Annotated[Path, typer.Argument(help="JSON file to write.")],
    edge: Annotated[list[int] | None, typer.Option(help="Sizes; all without it.")] = None,
    tiny: Tiny = False,
) -> None:
    """Measure and record each size, and print the table."""
    found = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for n in edge or ((2,) if tiny else EDGES):
        if str(n) not in found:
            found[str(n)] = alone(measure, n) | provenance("jaxdiff", "jax", "jaxlib")
            write(record, found)
    print(table(found))


if __name__ == "__main__":
    typer.run(main)
