"""Averages of the same ions under `fix nvt` in LAMMPS and `md.NOSE_HOOVER` here.

217 ions of LiF with an interstitial (tests/md/ionic.py), started independently. Prints
means, errors over blocks of time and z-scores, and writes
`benchmarks/results/compare_lammps.json`: `python benchmarks/compare_lammps.py [frames]`.
"""

import dataclasses
import json
import math
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "md"))

import ionic  # noqa: E402

from jaxdiff import units  # noqa: E402
from jaxdiff.crystal import rock_salt_interstitial  # noqa: E402

OUTPUT = HERE / "results" / "compare_lammps.json"
CELLS, BLOCKS = 3, 8  # blocks per replica
LAGS = (5, 50, 200)  # frames of 10 fs
UNIT = {"temperature": "K", "potential_energy": "eV/atom", "pressure": "GPa"}


def rows(record: ionic.Record, system) -> dict[str, list[float]]:
    """Name -> mean and error over blocks, in the units of the table."""
    means = ionic.block_means(record, system.atomic_number, LAGS, BLOCKS)
    means["potential_energy"] = means["potential_energy"] / system.n_atoms
    means["pressure"] = means["pressure"] / units.GIGAPASCAL
    return {name: list(ionic.mean_and_error(blocks)) for name, blocks in means.items()}


def main() -> None:
    """Run both, print and record."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    protocol = ionic.Protocol(6.0, 900.0, 4, equilibration=3000, frames=frames)
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
    record = {
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
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
