"""How the errors fall with the number of frames, from scratch and fine-tuned.

python training/data_efficiency.py DATA OUT

DATA holds lif_dft/*.extxyz, and `runs/standin-foundation` the model that
training/standin_foundation.toml trains. Frames are drawn, for each seed anew, from all LiF
training sets together, interstitial and bulk in their proportion; the number of updates is
the same for all. Writes OUT/efficiency.json, efficiency.md and efficiency.png; a run that
is there is not made again.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from jaxdiff import checkpoints  # noqa: E402
from jaxdiff.finetune import error_table, read_frames, results, train_to_folder  # noqa: E402
from jaxdiff.io.trainfile import TrainFile, read_train_file  # noqa: E402
from jaxdiff.report.figures import style  # noqa: E402

FRAMES = {76: (63, 13), 156: (129, 27), 300: (248, 52), 604: (493, 111)}
"""How many in all -> interstitial, bulk; the last are all without large forces."""

LARGEST_FORCE = 10.0  # eV/Å

STARTS = {"scratch": "scratch", "naive": "fine-tuned"}
"""Strategy -> its name in the table and the figure."""

SEEDS, UPDATES = (1, 2, 3), 2000  # of one frame each
SETS = ("pool_test", "loop_valid")
TRAIN = ("pool_train", "loop_step0_train", "loop_ft1_train", "loop_ft2_train")


def run_of(start: str, n_frames: int, seed: int, data: Path, out: Path) -> TrainFile:
    """The strategy's run file with other frames, epochs and seed."""
    run = read_train_file(Path(__file__).parent / "strategies" / f"{start}.toml", data)
    interstitial, bulk = FRAMES[n_frames]
    section = run.data.model_copy(
        update={
            "train": [data / f"lif_dft/{name}.extxyz" for name in TRAIN],
            "valid": [data / "lif_dft/pool_valid.extxyz"],
            "frames_of_type": {"interstitial": interstitial, "bulk": bulk},
            "draw_seed": seed,
            "largest_force_ev_per_angstrom": LARGEST_FORCE,
        }
    )
    schedule = {"batch_size": 1, "epochs": round(UPDATES / n_frames), "cosine_floor": 0.02}
    optimizer = run.optimizer.model_copy(update=schedule)
    folder = out / f"{start}_{n_frames}_{seed}"
    changes = {"data": section, "optimizer": optimizer, "seed": seed, "directory": folder}
    return run.model_copy(update=changes)


def measured(run: TrainFile, data: Path) -> dict:
    """Errors on frames that no training saw; trains where that is not done."""
    path = run.directory / "efficiency.json"
    if not path.exists():
        train_to_folder(run)
        model = checkpoints.load(run.directory / results.MODEL)
        sets = {name: read_frames([data / f"lif_dft/{name}.extxyz"]) for name in SETS}
        rows = [row for row in error_table(model, sets, batch_size=2) if row.name in SETS]
        path.write_text(json.dumps([dataclasses.asdict(row) for row in rows]))
    return {row["name"]: row for row in json.loads(path.read_text())}


def spread(found: dict, start: str, n_frames: int, data: str, key: str) -> np.ndarray:
    """The value of each seed."""
    return np.array([found[f"{start}_{n_frames}_{seed}"][data][key] for seed in SEEDS])


def table(found: dict) -> str:
    """Markdown: mean and standard deviation over seeds."""
    lines = [
        "| frames | start | pool_test energy | pool_test forces | loop_valid energy | "
        "loop_valid forces |",
        "|---|---|---|---|---|---|",
    ]
    for n_frames in FRAMES:
        for start in STARTS:
            values = [
                spread(found, start, n_frames, data, key)
                for data in SETS
                for key in ("energy_rmse", "forces_rmse")
            ]
            cells = " | ".join(f"{v.mean():.1f} ± {v.std(ddof=1):.1f}" for v in values)
            lines.append(f"| {n_frames} | {STARTS[start]} | {cells} |")
    return "\n".join(lines)


def draw(found: dict) -> bytes:
    """Energy and force errors over the number of frames, bars from least to largest."""
    figure = style.new_figure(9.0, 3.6)
    axes = figure.subplots(1, 2)
    labels = {
        "energy_rmse": "energy RMSE  (meV/atom)",
        "forces_rmse": "forces RMSE  (meV/Å)",
    }
    for one, (key, label) in zip(axes, labels.items(), strict=True):
        for k, start in enumerate(STARTS):
            for m, data in enumerate(SETS):
                values = np.array([spread(found, start, n, data, key) for n in FRAMES])
                bound = np.stack([values.min(axis=1), values.max(axis=1)])
                number = 2 * k + m
                name = f"{STARTS[start]}, {data}"
                x = np.array(list(FRAMES)) * 1.02 ** (number - 1.5)
                middle, look = (
                    values.mean(axis=1),
                    (style.MARKERS[number], style.SERIES[number]),
                )
                style.intervals(one, x, middle, bound, *look, name)
                one.plot(x, middle, color=style.SERIES[number], lw=0.8)
        one.set_xscale("log")
        one.set_ylim(0, None)
        one.set_xticks(list(FRAMES), [str(n) for n in FRAMES], minor=False)
        one.minorticks_off()
        one.set_xlabel("frames for training")
        one.set_ylabel(label)
        style.grid(one)
    entries = axes[0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside upper center", ncols=4, fontsize=8)
    return style.to_png(figure)


def main() -> None:
    """Train all that is not there, measure, write."""
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    found = {}
    for seed in SEEDS:
        for n_frames in FRAMES:
            for start in STARTS:
                run = run_of(start, n_frames, seed, data, out)
                found[run.directory.name] = measured(run, data)
                print(run.directory.name, found[run.directory.name], flush=True)
    (out / "efficiency.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "efficiency.md").write_text(table(found) + "\n")
    (out / "efficiency.png").write_bytes(draw(found))
    print(table(found))


if __name__ == "__main__":
    main()
