"""What models cost beside each other: energy, forces and strain of 64 atoms of LiF.

python benchmarks/foundation_cost.py RECORD.json MODEL ... [--precision float64]

Each model, a file or a name, FILE:HEAD where it has several heads, in a process of its own
and by the evaluator that runs would take; the median of the calls of two seconds, three at
least. Weights may be random: cost does not depend on them.
"""

import time
from pathlib import Path
from typing import Annotated

import jax
import typer
from harness import alone, finish, provenance

from jaxdiff.io.runfile import ModelSection
from jaxdiff.lattice.lithium_fluoride import rock_salt
from jaxdiff.runs.cost import cost

CELLS = 2  # conventional, along each axis


def measure(model: str, precision: str) -> dict:
    """Of one model."""
    jax.config.update("jax_enable_x64", True)
    name, head = model, None
    if not Path(model).exists() and ":" in model:
        name, _, head = model.rpartition(":")
    given = {"name_or_path": name, "head": head, "precision": precision}
    return cost(ModelSection.model_validate(given), rock_salt(CELLS))


def main(
    record: Annotated[Path, typer.Argument(help="JSON file to write.")],
    model: Annotated[list[str], typer.Argument(help="Files or names; FILE:HEAD.")],
    precision: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
) -> None:
    """Print and record the cost of each."""
    start, found = time.perf_counter(), {}
    for one in model:
        name = Path(one).name
        found[name] = alone(measure, one, precision)
        wall, own = (found[name][f"{of}microseconds_per_atom"] for of in ("", "processor_"))
        print(f"{name}: {wall:.3g} µs/atom, {own:.3g} of processor time", flush=True)
    finish(record, provenance("jax", "jaxlib") | {"models": found}, start)


if __name__ == "__main__":
    typer.run(main)
