"""Speed and memory of reading a LAMMPS dump of 1001 atoms.

python benchmarks/read_trajectory.py [RECORD.json] [--frames N]

Random positions, written to a temporary folder as `id type xu yu zu` (exact), as
`id type x y z` (unwrapped while reading) and as the first, packed with gzip. Peak memory is
of the whole process, of which a part was there before reading.
"""

import gzip
import json
import platform
import resource
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Record, write

from jaxdiff.io.trajectory import open_trajectory

ATOMS, EDGE = 1001, 20.417


def write_dump(path: Path, n_frames: int, columns: str) -> None:
    """A dump of atoms that jiggle about random places, some of them over the boundary."""
    rng = np.random.default_rng(0)
    place = rng.uniform(0, EDGE, size=(ATOMS, 3))
    rows = "".join(f"{k + 1} {1 + k % 2} %.8f %.8f %.8f\n" for k in range(ATOMS))
    box = "ITEM: BOX BOUNDS pp pp pp\n" + f"0.0 {EDGE}\n" * 3
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        for k in range(n_frames):
            position = place + 0.1 * rng.normal(size=place.shape)
            if columns == "x y z":
                position %= EDGE
            file.write(f"ITEM: TIMESTEP\n{100 * k}\nITEM: NUMBER OF ATOMS\n{ATOMS}\n{box}")
            file.write(f"ITEM: ATOMS id type {columns}\n")
            file.write(rows % tuple(position.ravel().tolist()))


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main(
    record: Record = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each dump.")] = 2000,
) -> None:
    """Time the reading of LAMMPS dumps of 1001 atoms."""
    found = {"atoms": ATOMS, "frames": frames, "chunk_frames": 256}
    cases = {"xu": ("xu yu zu", ""), "wrapped": ("x y z", ""), "gz": ("xu yu zu", ".gz")}
    with tempfile.TemporaryDirectory() as folder:
        for name, (columns, suffix) in cases.items():
            path = Path(folder) / f"{name}.lammpstrj{suffix}"
            write_dump(path, frames, columns)
            before = peak_megabytes()
            trajectory = open_trajectory(path, species={1: "Li", 2: "F"}, timestep_fs=1.0)
            start, start_cpu = time.perf_counter(), time.process_time()
            n_read = sum(len(chunk.time_ps) for chunk in trajectory.chunks())
            wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
            assert n_read == frames
            found[name] = {
                "file_megabytes": round(path.stat().st_size / 1e6, 1),
                "frames_per_s": round(n_read / wall),
                "frames_per_cpu_s": round(n_read / cpu),
                "peak_rss_megabytes": round(peak_megabytes()),
                "peak_rss_before_megabytes": round(before),
            }
            path.unlink()
    found["machine"] = platform.machine()
    found["versions"] = {"python": platform.python_version(), "numpy": version("numpy")}
    print(json.dumps(found, indent=1))
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
