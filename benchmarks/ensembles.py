"""NVT steps of ensembles: against the number of replicas, and against the size of the cell.

python benchmarks/ensembles.py [RESULTS.jsonl] [--only embedded|mpa]

LiF with one interstitial lithium at 500 K, as `jaxdiff simulate` runs it: thermostat,
neighbour lists with a skin, detector of hops, float32 model and float64 state. The embedded
model with steps of 2.5 fs, and MACE-MPA-0's architecture with weak random forces and steps
of 0.5 fs, so that atoms stay about where they are. Each case has a process of its own; the
first chunk compiles, the median of the others counts. Nanoseconds per day are those of 1 fs
steps.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import alone, append, n_cores, peak_gib, provenance, start

STEPS, STRIDE = 40, 8
TIMESTEP_FS = {"embedded": 2.5, "mpa": 0.5}
CASES = {
    "embedded": [(3, 1), (3, 2), (3, 4), (3, 8), (3, 16), (3, 64)]
    + [(edge, 2) for edge in (2, 4, 5, 6, 8)],
    "mpa": [(3, 1), (3, 2), (3, 4), (2, 2), (4, 2), (5, 2)],
}
"""Model -> conventional cells along an edge, and replicas."""


def write_quiet(path: Path) -> None:
    """MACE-MPA-0's architecture with weak forces."""
    import dataclasses

    from jaxdiff.checkpoints import save_native

    model = start()
    scale = 1e-3 * np.asarray(model.constants["scale"])
    save_native(
        path, dataclasses.replace(model, constants={**model.constants, "scale": scale})
    )


def run_of(model: str, timestep_fs: float, edge: int, replicas: int):
    """The run file of a case."""
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
            "output": {"directory": "unused", "chunk_ps": 1e-3 * timestep_fs * STEPS},
        }
    )


def measure(model: str, timestep_fs: float, edge: int, replicas: int) -> dict:
    """One case: microseconds per atom and step, and what belongs to it."""
    import jax

    from jaxdiff.devices import use_every_core

    jax.config.update("jax_enable_x64", True)
    use_every_core()
    from jaxdiff import md
    from jaxdiff.runs.build import EQUILIBRATION, build

    begin = time.perf_counter()
    ensemble = build(run_of(model, timestep_fs, edge, replicas))
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
        n_steps=4 * STEPS,
        thermostat=ensemble.thermostat(EQUILIBRATION),
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
    sender = np.asarray(state.neighbors.sender)
    edges = int((sender < n_atoms).sum())
    return {
        "atoms": n_atoms,
        "replicas": replicas,
        "us_per_atom_and_step": round(1e6 * step / (n_atoms * replicas), 2),
        "us_per_edge_and_step": round(1e6 * step / edges, 4),
        "ns_per_day": round(1e-6 * 86400 / step * replicas, 2),
        "first_chunk_s": round(first or 0.0, 1),
        "peak_gib": round(peak_gib(), 2),
        "diverged": int((np.asarray(state.bad_step) >= 0).sum()),
    }


def exponent(rows: list[dict]) -> float:
    """Of the time per step against the number of atoms, by least squares of logarithms."""
    atoms = np.array([row["atoms"] for row in rows], float)
    time_ = atoms * [row["us_per_atom_and_step"] for row in rows]
    return float(np.polyfit(np.log(atoms), np.log(time_), 1)[0])


def main() -> None:
    """All cases, a record for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--only", choices=tuple(CASES))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        quiet = Path(folder) / "mpa.safetensors"
        alone(write_quiet, quiet)
        for name in [given.only] if given.only else CASES:
            model, rows = {"embedded": "lif-compact", "mpa": str(quiet)}[name], []
            for edge, replicas in CASES[name]:
                rows.append(alone(measure, model, TIMESTEP_FS[name], edge, replicas))
                print(name, rows[-1], flush=True)
            two = sorted((r for r in rows if r["replicas"] == 2), key=lambda r: r["atoms"])
            record = {
                "model": name,
                "rows": rows,
                "size_exponent": round(exponent(two), 3),
                **provenance("jaxdiff", "jax", "jaxlib"),
            }
            print(f"{name}: time ~ atoms^{record['size_exponent']}", flush=True)
            if given.results is not None:
                append(given.results, record)


if __name__ == "__main__":
    print(f"{n_cores()} cores", flush=True)
    main()
