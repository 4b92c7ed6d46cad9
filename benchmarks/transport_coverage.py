"""Do 95 % intervals from displacements alone hold the truth? Counted on lattice walks.

Each repetition is one trajectory of a walk whose diffusivity, tensor and Haven ratio are
known: independent carriers, layers, channels, cages, a vacancy, few atoms.

python benchmarks/transport_coverage.py [RECORD.json] [--repetitions N]
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Record, finish

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.transport import Transport, measure

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from lattice_walks import KINDS, Kind  # noqa: E402

FRAMES = (200, 1000)


def inside(given: Estimate, truth: float) -> bool:
    """Whether the interval holds it."""
    return given.interval[0] <= truth <= given.interval[1]


def holds(kind: Kind, motion: Transport) -> dict[str, float]:
    """Of each value whether its interval holds the truth; of the axes the share."""
    truth, haven = 1e-4 * kind.diffusivity, kind.haven_ratio
    axes = [1e-4 * d for d in kind.principal]
    tracer, charge = motion.tracer, motion.charge
    return {
        "D*": inside(tracer.mean, truth),
        "D_sigma": inside(charge.mean, truth / haven),
        "Haven ratio": inside(motion.haven_ratio, haven),
        "D* along axes": np.mean([*map(inside, tracer.principal, axes)]),
        "D_sigma along axes": np.mean(
            [inside(e, d / haven) for e, d in zip(charge.principal, axes, strict=True)]
        ),
        "straight": motion.straight_p_value > 0.05,
    }


def study(kind: Kind, n_frames: int, repetitions: int) -> dict[str, float]:
    """Coverage; bias, scatter and reported error relative to the truth."""
    rows, value, error = [], [], []
    for seed in range(repetitions):
        motion = measure([kind.paths(1000 + seed, n_frames)])
        rows.append(holds(kind, motion))
        pair = motion.tracer.mean, motion.charge.mean
        value.append([e.value for e in pair])
        error.append([e.standard_error for e in pair])
    scale = 1e-4 * kind.diffusivity * np.array([1.0, 1 / kind.haven_ratio])
    value, error = np.array(value) / scale, np.array(error) / scale
    result = {name: round(float(np.mean([r[name] for r in rows])), 3) for name in rows[0]}
    for column, name in enumerate(("D*", "D_sigma")):
        result[f"{name} bias"] = round(float(value[:, column].mean()) - 1, 3)
        result[f"{name} s.d."] = round(float(value[:, column].std(ddof=1)), 3)
        result[f"{name} reported s.d."] = round(float(error[:, column].mean()), 3)
    return result


def main(
    record: Record = None,
    repetitions: Annotated[int, typer.Option(min=2, help="Of each walk.")] = 200,
) -> None:
    """How often does each 95 % interval of a single trajectory hold the truth?"""
    start = time.perf_counter()
    found = {"repetitions": repetitions, "walks": []}
    print("| walk | frames | D* % | D_σ % | Haven % | axes of D* % | axes of D_σ % |")
    print("|---|---|---|---|---|---|---|")
    for n_frames in FRAMES:
        for name, kind in KINDS.items():
            row = study(kind, n_frames, repetitions)
            found["walks"].append({"walk": name, "frames": n_frames, **row})
            shown = " | ".join(f"{100 * share:.0f}" for share in [*row.values()][:5])
            print(f"| {name} | {n_frames} | {shown} |", flush=True)
    finish(record, found, start)


if __name__ == "__main__":
    typer.run(main)
