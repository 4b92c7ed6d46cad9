"""Averages of the same ions under `fix nvt` in LAMMPS and Nosé–Hoover chains here.

217 ions of LiF with an interstitial (tests/md/ionic.py), started independently. Prints
means, errors over blocks of time and z-scores.

python benchmarks/compare_lammps.py [RECORD.json] [--frames N] [--equilibration N]
"""

import dataclasses
import math
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer
from harness import Record, write

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "md"))

import ionic  # noqa: E402

from jaxdiff import units  # noqa: E402
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial  # noqa: E402

CELLS, BLOCKS = 3, 8  # blocks per replica
LAGS = (5, 50, 200)  # frames of 10 fs; those that leave a frame for each block
UNIT = {"temperature": "K", "potential_energy": "eV/atom", "pressure": "GPa"}


def rows(record: ionic.Record, system) -> dict[str, list[float]]:
    """Name -> mean and error over blocks, in the units of the table."""
    lags = [lag for lag in LAGS if lag + BLOCKS <= len(record.temperature)]
    means = ionic.block_means(record, system.atomic_number, lags, BLOCKS)
    means["potential_energy"] = means["potential_energy"] / system.n_atoms
    means["pressure"] = means["pressure"] / units.GIGAPASCAL
    return {name: list(ionic.mean_and_error(blocks)) for name, blocks in means.items()}


def main(
    record: Record = None,
    frames: Annotated[
        int, typer.Option(min=min(LAGS) + BLOCKS, help="Frames of a replica, 10 fs apart.")
    ] = 2000,
    equilibration: Annotated[
        int, typer.Option(min=1, help="Steps of a replica before them.")
    ] = 3000,
) -> None:
    """Compare averages under Nosé-Hoover dynamics in LAMMPS and here."""
    jax.config.update("jax_enable_x64", True)
    protocol = ionic.Protocol(6.0, 900.0, 4, equilibration=equilibration, frames=frames)
    system = rock_salt_interstitial(CELLS)
    results, seconds = {}, {}
    for name, run in (("lammps", ionic.run_lammps), ("jaxdiff", ionic.run_jaxdiff)):
        start = time.perf_counter()
        results[name] = rows(run(system, protocol), system)
        seconds[name] = round(time.perf_counter() - start, 1)
    table = {}
    print("| quantity | LAMMPS | jaxdiff | z |\n|---|---|---|---|")
    for name in results["lammps"]:
        theirs, ours = results["lammps"][name], results["jaxdiff"][name]
        z = (ours[0] - theirs[0]) / math.hypot(ours[1], theirs[1])
        unit = UNIT.get(name, "Å^2")
        table[name] = {"unit": unit, "lammps": theirs, "jaxdiff": ours, "z": round(z, 2)}
        cells = (f"{value:.6g} ± {error:.2g}" for value, error in (theirs, ours))
        print(f"| {name}, {unit} | {' | '.join(cells)} | {z:+.2f} |")
    chi_squared = sum(row["z"] ** 2 for row in table.values())
    print(f"sum of z²: {chi_squared:.1f} for {len(table)} correlated quantities")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    found = {
        "atoms": system.n_atoms,
        "blocks": BLOCKS * protocol.replicas,
        "frame_ps": protocol.stride * protocol.timestep_ps,
        "protocol": dataclasses.asdict(protocol),
        "results": table,
        "wall_s": seconds,
        "device": f"{platform.machine()} CPU, {os.cpu_count()} cores, shared",
        "dtype": str(np.dtype(np.float64)),
        "commit": commit,
        "versions": {name: version(name) for name in ("jax", "jax-md", "lammps", "numpy")},
    }
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
