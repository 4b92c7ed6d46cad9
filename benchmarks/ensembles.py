"""NVT steps of ensembles: against the number of replicas, and against the size of the cell.

python benchmarks/ensembles.py [RECORDS.jsonl] [--only embedded|mpa] [--tiny]

LiF with one interstitial lithium at 500 K, as `jaxdiff simulate` runs it: thermostat,
neighbour lists with a skin, detector of hops, float32 model and float64 state. The embedded
model with steps of 2.5 fs, and MACE-MPA-0's architecture with weak random forces and steps
of 0.5 fs, so that atoms stay about where they are. Each case has a process of its own; the
first chunk compiles, the median of the others counts. Nanoseconds per day are those of 1 fs
steps. Beside them Langevin steps of ASE and of torch-sim with mace-torch and the same
weights, in float32 (`[oracle]` and `[bench]` extras), where they are installed.
"""

import enum
import importlib.util
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import peer_steps
import typer
from harness import Records, Tiny, alone, append, n_cores, peak_gib, provenance, quiet

STRIDE = 8
CHUNKS, STEPS = 4, 40
LARGE, CHUNKS_IF_LARGE, STEPS_IF_LARGE = 8_000, 3, 16
"""From so many atoms in all on, fewer of both."""
TIMESTEP_FS = {"embedded": 2.5, "mpa": 0.5}
CASES = {
    "embedded": [
        *((3, replicas) for replicas in (1, 2, 4, 16, 64, 256)),
        *((5, replicas) for replicas in (1, 2, 4, 16)),
        *((edge, 2) for edge in (2, 4, 6, 8)),
    ],
    "mpa": [(3, 1), (3, 2), (3, 4), (2, 2), (4, 2), (5, 1), (5, 2), (5, 4)],
}
"""Model -> conventional cells along an edge, and replicas."""

TINY_CASES, TINY_CHUNKS, TINY_STEPS = [(2, 1), (2, 2), (3, 2)], 2, 8

PEER_CASES = {
    "embedded": [("ase", 3, 1), ("torch_sim", 3, 1), ("torch_sim", 3, 4)],
    "mpa": [("ase", 3, 1), ("torch_sim", 3, 2)],
}
"""Model -> module that has to be there, cells along an edge, and replicas."""

Model = enum.StrEnum("Model", list(CASES))


def write_models(folder: Path) -> None:
    """Both models: native, and as mace-torch reads them where that is installed."""
    from jaxdiff.checkpoints import load_default, save_native
    from jaxdiff.checkpoints.mace.to_torch import save_mace_torch

    for name, model in {"embedded": load_default(), "mpa": quiet()}.items():
        save_native(folder / f"{name}.safetensors", model)
        if importlib.util.find_spec("mace") is not None:
            save_mace_torch(folder / f"{name}.model", model)


def length(edge: int, replicas: int) -> tuple[int, int]:
    """Chunks of a case, and steps of each."""
    is_large = (8 * edge**3 + 1) * replicas >= LARGE
    return (CHUNKS_IF_LARGE, STEPS_IF_LARGE) if is_large else (CHUNKS, STEPS)


def run_of(model: str, timestep_fs: float, edge: int, replicas: int, steps: int):
    """The run file of a case, with so many steps in a chunk."""
    from jaxdiff.io.runfile import RunFile

    return RunFile.model_validate(
        {
            "model": {"name_or_path": model},
            "system": {"supercell": edge, "lattice_constant_angstrom": 4.083428},
            "ensemble": {
                "temperatures_kelvin": [500],
                "replicas_per_temperature": replicas,
                "timestep_fs": timestep_fs,
                "tdamp_fs": 100,
                "seed": 0,
            },
            "equilibration": {"duration_ps": 1, "friction_per_ps": 5},
            "production": {"duration_ps": 1},
            "neighbors": {"skin_angstrom": 0.3},
            "hops": {"stride_fs": timestep_fs * STRIDE},
            "output": {
                "directory": "unused",
                "chunk_ps": 1e-3 * timestep_fs * steps,
            },
        }
    )


def measure(
    model: str, timestep_fs: float, edge: int, replicas: int, chunks: int, steps: int
) -> dict:
    """One case: microseconds per atom and step, and what belongs to it."""
    import jax

    from jaxdiff.devices import use_every_core

    jax.config.update("jax_enable_x64", True)
    use_every_core()
    from jaxdiff import md, neighbors
    from jaxdiff.runs.build import EQUILIBRATION, build

    begin = time.perf_counter()
    ensemble = build(run_of(model, timestep_fs, edge, replicas, steps))
    conditions = ensemble.conditions(EQUILIBRATION)
    state = md.evaluate(
        ensemble.run_chunk, ensemble.potential.params, conditions, ensemble.first_state()
    )
    parts = md.advance(
        ensemble.run_chunk,
        ensemble.plan,
        ensemble.potential.params,
        conditions,
        state,
        n_steps=chunks * steps,
        integrator=ensemble.run.integrator(EQUILIBRATION),
    )
    seconds, first = [], None
    for part in parts:
        if first is None:
            first = time.perf_counter() - begin
        else:
            seconds.append(part.wall_s / part.n_steps)
        state = part.state
    n_atoms = len(ensemble.is_mobile)
    step = statistics.median(seconds)
    placed = state.motion.position, state.motion.cell, state.neighbors
    vector = np.asarray(jax.vmap(neighbors.displacement)(*placed))
    pairs = int((np.linalg.norm(vector, axis=-1) < ensemble.plan.cutoff).sum())
    return {
        **rates(n_atoms, replicas, step),
        "pairs_per_atom": round(pairs / n_atoms / replicas, 1),
        "first_chunk_s": round(first or 0.0, 1),
        "peak_gib": round(peak_gib(), 2),
        "diverged": int((np.asarray(state.bad_step) >= 0).sum()),
    }


def rates(n_atoms: int, replicas: int, step: float) -> dict:
    """A step's seconds in the units of the table."""
    return {
        "atoms": n_atoms,
        "replicas": replicas,
        "us_per_atom_and_step": round(1e6 * step / (n_atoms * replicas), 2),
        "ns_per_day": float(f"{1e-6 * 86400 / step * replicas:.3g}"),
    }


def peer_rows(model: str, path: Path) -> list[dict]:
    """The same of other programs; `not_run` with the reason where there is no result."""
    rows, timestep_fs = [], TIMESTEP_FS[model]
    for module, edge, replicas in PEER_CASES[model]:
        row = {"engine": peer_steps.NAMES[module], "replicas": replicas}
        missing = [m for m in (module, "mace") if importlib.util.find_spec(m) is None]
        if missing:
            row["not_run"] = f"{missing[0]} is not installed"
        else:
            try:
                program = getattr(peer_steps, f"{module}_step")
                found = alone(program, path, edge, timestep_fs, replicas)
                row |= rates(found.pop("atoms"), replicas, found.pop("step_s")) | found
            except EOFError:
                row["not_run"] = "its process ended without a result"
        rows.append(row)
        print(row, flush=True)
    return rows


def exponent(rows: list[dict]) -> float:
    """Of the time per step against the number of atoms, by least squares of logarithms."""
    atoms = np.array([row["atoms"] for row in rows], float)
    time_ = atoms * [row["us_per_atom_and_step"] for row in rows]
    return float(np.polyfit(np.log(atoms), np.log(time_), 1)[0])


def main(
    records: Records = None,
    only: Annotated[Model | None, typer.Option(help="One of the models alone.")] = None,
    tiny: Tiny = False,
) -> None:
    """Time steps of ensembles against replicas and atoms, a record for each model."""
    print(f"{n_cores()} cores", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(write_models, folder)
        for model in [only.value] if only else CASES:
            rows, timestep_fs = [], TIMESTEP_FS[model]
            for edge, replicas in TINY_CASES if tiny else CASES[model]:
                path = str(folder / f"{model}.safetensors")
                many = (TINY_CHUNKS, TINY_STEPS) if tiny else length(edge, replicas)
                row = alone(measure, path, timestep_fs, edge, replicas, *many)
                rows.append({"engine": "jaxdiff", **row})
                print(model, rows[-1], flush=True)
            two = sorted((r for r in rows if r["replicas"] == 2), key=lambda r: r["atoms"])
            record = {
                "benchmark": "ensembles",
                "model": model,
                "rows": rows + peer_rows(model, folder / f"{model}.model"),
                "size_exponent": round(exponent(two), 3),
                **provenance("jaxdiff", "jax", "jaxlib"),
            }
            print(f"{model}: time ~ atoms^{record['size_exponent']}", flush=True)
            if records is not None:
                append(records, record)


if __name__ == "__main__":
    typer.run(main)
