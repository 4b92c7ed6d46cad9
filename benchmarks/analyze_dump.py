"""Time and memory of `jaxdiff analyze` on a long LAMMPS dump of 1001 atoms.

python benchmarks/analyze_dump.py [FRAMES] [FOLDER]

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

import numpy as np

from jaxdiff.analysis import load_series
from jaxdiff.crystal import rock_salt_interstitial

HOP_EVERY, NOISE = 1000, 0.15
RESULT = Path(__file__).parent / "results" / "analyze_dump.json"


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


def main() -> None:
    """Write the dump, analyze it in a process of its own, record."""
    n_frames = int(sys.argv[1]) if len(sys.argv) > 1 else 90_000
    with tempfile.TemporaryDirectory(
        dir=sys.argv[2] if len(sys.argv) > 2 else None
    ) as name:
        folder = Path(name)
        dump = folder / "all.lammpstrj"
        n_hops = write_dump(dump, n_frames)
        command = ["jaxdiff", "analyze", str(dump), "--temperature-kelvin", "500"]
        command += ["--species", "1=Li", "--species", "2=F", "--timestep-fs", "1"]
        start = time.perf_counter()
        process = subprocess.Popen([*command, "--out", str(folder / "out")])
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        if status != 0:
            raise SystemExit(f"{' '.join(command)} failed")
        series = load_series(folder / "out" / "series.h5")
        record = {
            "atoms": series.n_mobile + series.n_anion,
            "frames": int(series.frames["frames"][0]),
            "dump_gb": round(dump.stat().st_size / 1e9, 2),
            "wall_s": round(wall_s, 1),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
            "frames_per_s": round(n_frames / wall_s),
            "peak_memory_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),  # Linux: KiB
            "hops_put_in": n_hops,
            "hops_found": int(series.hop_count[0]),
            "jaxdiff": version("jaxdiff"),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
        }
    RESULT.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
