"""Time and memory of `jaxdiff analyze` on a long LAMMPS dump of 1001 atoms.

python benchmarks/analyze_dump.py [RECORD.json] [--frames N] [--folder F]

A crystal of LiF with one interstitial, thermal noise of 0.15 Å per axis, a frame every
0.1 ps, as the reference study dumped its 9 ns (90,000 frames, 3.5 GB). The interstitial
hops directly every 1000 frames, so it is known what is to be found. Everything is counted:
reading, tracking, estimators, report.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Record, write

from jaxdiff.analysis import load_series
from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial

HOP_EVERY, NOISE = 1000, 0.15


def write_dump(path: Path, n_frames: int) -> int:
    """The dump; how many hops it holds."""
    system = rock_salt_interstitial(5)
    rng = np.random.default_rng(0)
    interstitial = int((system.atomic_number == 3).sum()) - 1
    position, edge = system.position.copy(), system.cell[0, 0]
    kind = np.where(system.atomic_number == 3, 1, 2)
    rows = "".join(f"{i + 1} {kind[i]} %.5f %.5f %.5f\n" for i in range(system.n_atoms))
    head = f"ITEM: NUMBER OF ATOMS\n{system.n_atoms}\nITEM: BOX BOUNDS pp pp pp\n"
    head += f"0.0 {edge}\n" * 3 + "ITEM: ATOMS id type xu yu zu\n"
    step = system.cell[0, 0] / 5 / 2
    n_hops = 0
    with path.open("w") as file:
        for k in range(n_frames):
            if k % HOP_EVERY == HOP_EVERY // 2:
                position[interstitial, rng.integers(3)] += step * rng.choice([-1, 1])
                n_hops += 1
            frame = position + NOISE * rng.normal(size=position.shape)
            file.write(f"ITEM: TIMESTEP\n{100 * k}\n{head}")
            file.write(rows % tuple(frame.ravel().tolist()))
    return n_hops


def main(
    record: Record = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of the dump.")] = 90_000,
    folder: Annotated[
        Path | None, typer.Option(help="Where there is room; none: the temporary folder.")
    ] = None,
) -> None:
    """Write a long dump, time `jaxdiff analyze` on it in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        inside = Path(name)
        dump, out = inside / "all.lammpstrj", inside / "out"
        n_hops = write_dump(dump, frames)
        command = [sys.executable, "-m", "jaxdiff", "analyze", str(dump)]
        command += ["--temperature-kelvin", "500", "--timestep-fs", "1"]
        command += ["--species", "1=Li", "--species", "2=F"]
        start = time.perf_counter()
        process = subprocess.Popen([*command, "--out", str(out)])
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        if status != 0:
            raise SystemExit(f"{' '.join(command)} failed")
        series = load_series(out / "series.h5")
        found = {
            "atoms": series.n_mobile + series.n_anion,
            "frames": int(series.frames["frames"][0]),
            "dump_gb": round(dump.stat().st_size / 1e9, 2),
            "wall_s": round(wall_s, 1),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
            "frames_per_s": round(frames / wall_s),
            "peak_memory_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),  # Linux: KiB
            "hops_put_in": n_hops,
            "hops_found": int(series.hop_count[0]),
            "jaxdiff": version("jaxdiff"),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
        }
    print(json.dumps(found, indent=1))
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
