"""Training here and in mace-torch: errors over seeds, seconds per epoch.

python benchmarks/training_seeds.py DATA [RECORD.json] [--tiny]

DATA holds loop_step0_train.extxyz and loop_valid.extxyz (76 and 100 frames of LiF). The
same small architecture, frames, epochs, loss, optimiser, schedule and float32 in both, from
random weights of their own; both by their commands, in turn, on all cores. Errors are those
of the averaged weights on the validation frames, in the epoch with the lowest validation
loss. Needs the `[oracle]` extra.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import ase.io
import typer
from harness import Record, Tiny, write

BATCH, RATE = 2, 0.01
ISOLATED = {"Li": -202.82202355577203, "F": -803.8441491412796}
VALID_STRIDE = 4  # of the validation frames one in so many

RUN = """
seed = {seed}
directory = "{directory}"
precision = "float32"
[data]
train = ["train.extxyz"]
valid = ["valid.extxyz"]
isolated_atom_ev = {{ Li = {Li}, F = {F} }}
[scratch]
cutoff_angstrom = 4.5
channels = 16
max_ell = 2
hidden = [[0, 1], [0]]
correlation = [2, 2]
interactions = ["RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"]
radial_mlp = [32]
[loss]
kind = "universal"
energy_weight = 1.0
forces_weight = 10.0
stress_weight = 10.0
huber_delta = 0.01
[optimizer]
epochs = {epochs}
batch_size = {batch}
learning_rate = {rate}
kind = "amsgrad"
average_decay = 0.99
"""

UPSTREAM = """
--model=ScaleShiftMACE --name=upstream --device=cpu --default_dtype=float32 --num_workers=0
--train_file=train.extxyz --valid_file=valid.extxyz --energy_key=REF_energy
--forces_key=REF_forces --stress_key=REF_stress --compute_stress=True
--r_max=4.5 --max_ell=2 --hidden_irreps=16x0e+16x1o --num_interactions=2 --correlation=2
--interaction_first=RealAgnosticInteractionBlock
--interaction=RealAgnosticResidualInteractionBlock --radial_MLP=[32] --MLP_irreps=16x0e
--num_radial_basis=8 --num_cutoff_basis=5 --scaling=rms_forces_scaling
--loss=universal --energy_weight=1 --forces_weight=10 --stress_weight=10 --huber_delta=0.01
--amsgrad --ema --ema_decay=0.99 --clip_grad=10 --weight_decay=5e-7
--scheduler_patience=50 --error_table=PerAtomRMSEstressvirials --eval_interval=1
--plot=False
"""

ERRORS = {  # ours -> mace-torch's, in the units of ours
    "energy_rmse": ("rmse_e_per_atom", 1e3),
    "forces_rmse": ("rmse_f", 1e3),
    "stress_rmse": ("rmse_stress", 1e3),
}


def here(folder: Path, seed: int, epochs: int) -> dict:
    """Train with `jaxdiff finetune`; errors of the best epoch, seconds of each."""
    directory, run = folder / f"jaxdiff_{seed}", folder / f"run_{seed}.toml"
    settings = {"epochs": epochs, "batch": BATCH, "rate": RATE}
    run.write_text(RUN.format(seed=seed, directory=directory, **settings, **ISOLATED))
    _call([sys.executable, "-m", "jaxdiff", "finetune", str(run)], folder)
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    best = min(records, key=lambda r: r["valid_loss"])
    return {
        "best_epoch": best["epoch"],
        **{name: best[name] for name in ERRORS},
        "seconds_per_epoch": [r["seconds"] for r in records],
    }


def upstream(folder: Path, seed: int, epochs: int) -> dict:
    """The same with `mace_run_train`."""
    ions = {3: ISOLATED["Li"], 9: ISOLATED["F"]}
    command = [
        str(Path(sys.executable).parent / "mace_run_train"),
        *UPSTREAM.split(),
        f"--E0s={ions}",
        f"--seed={seed}",
        f"--batch_size={BATCH}",
        f"--valid_batch_size={BATCH}",
        f"--max_num_epochs={epochs}",
        f"--lr={RATE}",
        f"--work_dir={folder / f'upstream_{seed}'}",
    ]
    _call(command, folder)
    (results,) = folder.glob(f"upstream_{seed}/results/*train.txt")
    (log,) = (
        p for p in folder.glob(f"upstream_{seed}/logs/*.log") if "debug" not in p.name
    )
    lines = (json.loads(line) for line in results.read_text().splitlines())
    records = [r for r in lines if r["mode"] == "eval" and r["epoch"] is not None]
    best = min(records, key=lambda r: r["loss"])
    ends = [
        datetime.fromisoformat(line[:23])
        for line in log.read_text().splitlines()
        if re.search(r"(Epoch \d+|Initial): .*loss=", line)
    ]
    seconds = [(b - a).total_seconds() for a, b in zip(ends, ends[1:], strict=False)]
    return {
        "best_epoch": best["epoch"] + 1,
        **{name: factor * best[key] for name, (key, factor) in ERRORS.items()},
        "seconds_per_epoch": seconds,
    }


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}")


def table(record: dict) -> str:
    """Mean and standard deviation over seeds, as Markdown."""
    rows = [
        "| | energy, meV/atom | forces, meV/Å | stress, meV/Å³ | s per epoch (least) |",
        "|---|---|---|---|---|",
    ]
    for program in ("jaxdiff", "mace_torch"):
        runs = record[program]
        cells = []
        for name in ERRORS:
            values = [run[name] for run in runs]
            cells.append(f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
        seconds = [s for run in runs for s in run["seconds_per_epoch"]]
        cells.append(f"{statistics.median(seconds):.1f} ({min(seconds):.1f})")
        rows.append(f"| {program} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the LiF frames.")],
    record: Record = None,
    tiny: Tiny = False,
) -> None:
    """Train here and with mace-torch, and compare errors and times."""
    seeds, epochs, count = ((1, 2), 1, 4) if tiny else ((1, 2, 3), 12, None)
    found = {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "versions": {n: version(n) for n in ("jax", "jaxlib", "mace-torch", "torch")},
        "epochs": epochs,
        "seeds": seeds,
        "jaxdiff": [],
        "mace_torch": [],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train = ase.io.read(data / "loop_step0_train.extxyz", index=":")
        valid = ase.io.read(data / "loop_valid.extxyz", index=f"::{VALID_STRIDE}")
        ase.io.write(folder / "train.extxyz", train[:count])
        ase.io.write(folder / "valid.extxyz", valid[:count])
        for seed in seeds:
            found["jaxdiff"].append(here(folder, seed, epochs))
            found["mace_torch"].append(upstream(folder, seed, epochs))
            print(seed, json.dumps([found["jaxdiff"][-1], found["mace_torch"][-1]]))
    print(table(found))
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
