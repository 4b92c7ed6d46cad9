"""How the errors fall with the number of frames, from scratch and fine-tuned.

python training/data_efficiency.py DATA OUT [--tiny]

DATA holds lif_dft/*.extxyz, and `runs/standin-foundation` the model that
training/standin_foundation.toml trains. Frames are drawn, for each seed anew, from all LiF
training sets together, interstitial and bulk in their proportion; the number of updates is
the same for all. Writes OUT/efficiency.json, efficiency.md and efficiency.png; a run that
is there is not made again.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

from jaxdiff import checkpoints
from jaxdiff.finetune import error_table, read_frames, results, train_to_folder
from jaxdiff.io.trainfile import TrainFile, read_train_file
from jaxdiff.report.figures import style
from jaxdiff.report.figures.files import as_bytes


@dataclasses.dataclass(frozen=True)
class Study:
    """How much is trained, and on how many frames of each set it is measured.

    - `frames`: how many in all -> interstitial, bulk. `updates`: of one frame each.
    - `train`: the files that they are drawn from; `valid`: those of validation, none: half
      of what is drawn.
    - `measured`: the first so many frames of a set; None: all.
    """

    frames: dict[int, tuple[int, int]]
    seeds: tuple[int, ...]
    updates: int
    train: tuple[str, ...]
    valid: tuple[str, ...] = ()
    measured: int | None = None


# the most frames are all without large forces
WHOLE = Study(
    frames={76: (63, 13), 156: (129, 27), 300: (248, 52), 604: (493, 111)},
    seeds=(1, 2, 3),
    updates=2000,
    train=("pool_train", "loop_step0_train", "loop_ft1_train", "loop_ft2_train"),
    valid=("pool_valid",),
)
TINY = Study(
    frames={4: (3, 1)},
    seeds=(1, 2),
    updates=4,
    train=("loop_step0_train",),
    measured=2,
)

LARGEST_FORCE = 10.0  # eV/Å

STARTS = {"scratch": "scratch", "naive": "fine-tuned"}
"""Strategy -> its name in the table and the figure."""

SETS = ("pool_test", "loop_valid")


def run_of(
    study: Study, start: str, n_frames: int, seed: int, data: Path, out: Path
) -> TrainFile:
    """The strategy's run file with other frames, epochs and seed."""
    run = read_train_file(Path(__file__).parent / "strategies" / f"{start}.toml", data)
    interstitial, bulk = study.frames[n_frames]
    section = run.data.model_copy(
        update={
            "train": [data / f"lif_dft/{name}.extxyz" for name in study.train],
            "valid": [data / f"lif_dft/{name}.extxyz" for name in study.valid],
            "valid_fraction": 0.5,  # without files of validation
            "frames_of_type": {"interstitial": interstitial, "bulk": bulk},
            "draw_seed": seed,
            "largest_force_ev_per_angstrom": LARGEST_FORCE,
        }
    )
    epochs = round(study.updates / n_frames)
    schedule = {"batch_size": 1, "epochs": epochs, "cosine_floor": 0.02}
    optimizer = run.optimizer.model_copy(update=schedule)
    folder = out / f"{start}_{n_frames}_{seed}"
    changes = {"data": section, "optimizer": optimizer, "seed": seed, "directory": folder}
    return run.model_copy(update=changes)


def measured(run: TrainFile, data: Path, count: int | None) -> dict:
    """Errors on frames that no training saw; trains where that is not done."""
    path = run.directory / "efficiency.json"
    if not path.exists():
        train_to_folder(run)
        model = checkpoints.load(run.directory / results.MODEL)
        sets = {
            name: read_frames([data / f"lif_dft/{name}.extxyz"])[:count] for name in SETS
        }
        rows = [row for row in error_table(model, sets, batch_size=2) if row.name in SETS]
        path.write_text(json.dumps([dataclasses.asdict(row) for row in rows]))
    return {row["name"]: row for row in json.loads(path.read_text())}


def spread(
    study: Study, found: dict, start: str, n_frames: int, data: str, key: str
) -> np.ndarray:
    """The value of each seed."""
    names = [f"{start}_{n_frames}_{seed}" for seed in study.seeds]
    return np.array([found[name][data][key] for name in names])


def table(study: Study, found: dict) -> str:
    """Markdown: mean and standard deviation over seeds."""
    lines = [
        "| frames | start | pool_test energy | pool_test forces | loop_valid energy | "
        "loop_valid forces |",
        "|---|---|---|---|---|---|",
    ]
    for n_frames in study.frames:
        for start in STARTS:
            values = [
                spread(study, found, start, n_frames, data, key)
                for data in SETS
                for key in ("energy_rmse", "forces_rmse")
            ]
            cells = " | ".join(f"{v.mean():.1f} ± {v.std(ddof=1):.1f}" for v in values)
            lines.append(f"| {n_frames} | {STARTS[start]} | {cells} |")
    return "\n".join(lines)


def draw(study: Study, found: dict) -> bytes:
    """Energy and force errors over the number of frames, bars from least to largest."""
    frames = list(study.frames)
    figure = style.new_figure(9.0, 3.6)
    axes = figure.subplots(1, 2)
    labels = {
        "energy_rmse": "energy RMSE  (meV/atom)",
        "forces_rmse": "forces RMSE  (meV/Å)",
    }
    for one, (key, label) in zip(axes, labels.items(), strict=True):
        for k, start in enumerate(STARTS):
            for m, data in enumerate(SETS):
                values = np.array(
                    [spread(study, found, start, n, data, key) for n in frames]
                )
                bound = np.stack([values.min(axis=1), values.max(axis=1)])
                number = 2 * k + m
                name = f"{STARTS[start]}, {data}"
                x = np.array(frames) * 1.02 ** (number - 1.5)
                middle, look = (
                    values.mean(axis=1),
                    (style.MARKERS[number], style.SERIES[number]),
                )
                style.intervals(one, x, middle, bound, *look, name)
                one.plot(x, middle, color=style.SERIES[number], lw=0.8)
        one.set_xscale("log")
        one.set_ylim(0, None)
        one.set_xticks(frames, [str(n) for n in frames], minor=False)
        one.minorticks_off()
        one.set_xlabel("frames for training")
        one.set_ylabel(label)
        one.grid(True, color="0.9", lw=0.6)
    entries = axes[0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside upper center", ncols=4, fontsize=8)
    return as_bytes(figure)


def main(
    data: Annotated[Path, typer.Argument(help="Folder that has lif_dft/*.extxyz.")],
    out: Annotated[Path, typer.Argument(help="Folder of the runs and of what is found.")],
    tiny: Annotated[
        bool, typer.Option("--tiny", help="As small as it goes: a test that it works.")
    ] = False,
) -> None:
    """Train on more and more frames, from scratch and fine-tuned, and compare errors."""
    jax.config.update("jax_enable_x64", True)
    study, found = TINY if tiny else WHOLE, {}
    for seed in study.seeds:
        for n_frames in study.frames:
            for start in STARTS:
                run = run_of(study, start, n_frames, seed, data, out)
                found[run.directory.name] = measured(run, data, study.measured)
                print(run.directory.name, found[run.directory.name], flush=True)
    (out / "efficiency.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "efficiency.md").write_text(table(study, found) + "\n")
    (out / "efficiency.png").write_bytes(draw(study, found))
    print(table(study, found))


if __name__ == "__main__":
    typer.run(main)
