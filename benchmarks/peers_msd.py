"""D_def and its error by kinisi and by us, on the same simulated walks of a defect.

python benchmarks/peers_msd.py [RECORD.json] [--walks N]

Needs kinisi 2, of the `[peers]` extra.
"""

import json
import math
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from ase import Atoms
from harness import Record, write

from jaxdiff.analysis.gls import fit_msd, log_spaced_lags
from jaxdiff.analysis.msd import mean_squared_displacement, site_paths

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from kinetic_walk import simulate  # noqa: E402

REPLICAS, HOPS = 16, 10  # per replica
# Frames in a residence time, 1 ps. A power of two: with 10, kinisi 2.1 truncates four of
# its lags (0.1 · 43 / 0.1 < 43) to the one below, and their values are up to 3 % off.
FRAMES = 8
BOX = 1000.0  # Å
TRUTH = 12 / 6 * 1e-4  # cm^2/s: 1/ps, 12 Å^2


def kinisi(path: np.ndarray, seed: int) -> tuple[dict[str, float], np.ndarray]:
    """All lags, as its documentation does; the defect as Li, and F at rest."""
    import scipp as sc
    from kinisi.analyze import DiffusionAnalyzer

    trajectories = []
    for replica in range(path.shape[1]):
        frames = [np.stack([p + BOX / 2, np.zeros(3)]) for p in path[:, replica]]
        trajectories.append(
            [Atoms("LiF", positions=f, cell=[BOX] * 3, pbc=True) for f in frames]
        )
    np.random.seed(seed)  # noqa: NPY002 (it draws from the global generator)
    analyzer = DiffusionAnalyzer.from_ase(
        trajectories,
        specie="Li",
        time_step=sc.scalar(1 / FRAMES, unit="ps"),
        step_skip=sc.scalar(1, unit="dimensionless"),
        dtype="identical",
        progress=False,
    )
    analyzer.diffusion(sc.scalar(1 / FRAMES, unit="ps"), progress=False)
    sample = analyzer.D.values
    low, high = np.percentile(sample, [2.5, 97.5])
    result = {"value": sample.mean(), "error": sample.std(), "low": low, "high": high}
    return result, analyzer.msd.values


def ours(path: np.ndarray) -> dict[str, float]:
    """Ten lags, no intercept."""
    n_frames = len(path)
    lag = log_spaced_lags(n_frames)
    fit = fit_msd(
        mean_squared_displacement(path)[lag].T,
        lag,
        n_frames=n_frames,
        frame_ps=1 / FRAMES,
        moment_ratio=12.0,
    )
    d = fit.diffusivity
    return {
        "value": d.value,
        "error": d.standard_error,
        "low": d.interval[0],
        "high": d.interval[1],
    }


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Relative to the truth."""
    value, error, low, high = (
        np.array([row[k] for row in rows]) / TRUTH
        for k in ("value", "error", "low", "high")
    )
    return {
        "bias": round(float(value.mean()) - 1, 4),
        "relative_sd": round(float(value.std(ddof=1)), 4),
        "mean_reported_error": round(float(error.mean()), 4),
        "coverage": round(float(np.mean((low < 1) & (high > 1))), 4),
    }


def main(
    record: Record = None,
    walks: Annotated[int, typer.Option(min=2, help="Runs of 16 replicas.")] = 40,
) -> None:
    """Compare D_def and its error by kinisi and by us on the same walks."""
    n = REPLICAS * walks
    walk = simulate(
        np.ones(n), np.full(n, float(HOPS)), probability=(1, 0, 0, 0), cells=2, seed=1
    )
    paths = site_paths(
        walk.time,
        walk.replica,
        walk.jump,
        n_walkers=n,
        n_frames=HOPS * FRAMES + 1,
        frame_ps=1 / FRAMES,
    )
    rows, seconds, difference = {"kinisi": [], "jaxdiff": []}, [0.0, 0.0], 0.0
    for k in range(walks):
        path = paths[:, k * REPLICAS : (k + 1) * REPLICAS]
        start = time.perf_counter()
        theirs, msd = kinisi(path, k)
        middle = time.perf_counter()
        rows["kinisi"].append(theirs)
        rows["jaxdiff"].append(ours(path))
        seconds = [seconds[0] + middle - start, seconds[1] + time.perf_counter() - middle]
        # its reader of ASE trajectories has the first frame twice (kinisi 2.1)
        twice = np.concatenate([path[:1], path])
        mean = mean_squared_displacement(twice).mean(axis=1)[1 : len(msd) + 1]
        difference = max(difference, float(np.abs(msd / mean - 1).max()))
    values = [[row["value"] for row in rows[name]] for name in ("kinisi", "jaxdiff")]
    found = {
        "walks": walks,
        "replicas": REPLICAS,
        "hops_per_replica": HOPS,
        "largest_relative_difference_of_msd_with_first_frame_twice": difference,
        "correlation_of_d": round(float(np.corrcoef(values)[0, 1]), 3),
        "poisson_limit_relative_sd": round(1 / math.sqrt(REPLICAS * HOPS), 4),
        "kinisi": summary(rows["kinisi"]) | {"s_per_walk": round(seconds[0] / walks, 3)},
        "jaxdiff": summary(rows["jaxdiff"]) | {"s_per_walk": round(seconds[1] / walks, 4)},
        "versions": {name: version(name) for name in ("kinisi", "scipp", "numpy", "scipy")},
    }
    print(json.dumps(found, indent=1))
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
