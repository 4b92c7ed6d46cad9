"""What each strategy of fine-tuning learns, and what it forgets.

python training/forgetting.py DATA OUT [--tiny]

DATA holds lif_dft/*.extxyz, and `runs/standin-foundation` the model that
training/standin_foundation.toml trains. Every run file of training/strategies is run in OUT
(or goes on where it was), then: errors on LiF frames, errors of the same weights on frames
of what the start had learnt, and energies of dimers to 0.7 Å. Writes OUT/forgetting.json,
forgetting.md and forgetting.png.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import ase
import jax
import numpy as np
import typer

from jaxdiff import checkpoints
from jaxdiff.calculator import predict_atoms
from jaxdiff.finetune import (
    error_table,
    prepare,
    read_frames,
    results,
    train_to_folder,
)
from jaxdiff.io.frames import with_small_forces
from jaxdiff.io.trainfile import TrainFile, read_train_file
from jaxdiff.models.mace import Mace
from jaxdiff.report.figures.files import as_bytes
from jaxdiff.report.figures.style import LINES, SERIES, new_figure

STRATEGIES = ("naive", "replay", "pseudolabels", "lora", "frozen", "scratch")
START = Path("runs/standin-foundation/model.safetensors")
DIMERS = (("Li", "Li"), ("Li", "F"), ("F", "F"))
DISTANCES = np.linspace(0.7, 3.0, 47)
FAR = 50.0  # Å
LARGEST_FORCE = 10.0  # eV/Å, of replay frames


TINY = 2  # frames of each set


def run_of(name: str, data: Path, out: Path, tiny: bool = False) -> TrainFile:
    """The run file of a strategy, with its folder in `out`; tiny: one epoch."""
    run = read_train_file(Path(__file__).parent / "strategies" / f"{name}.toml", data)
    run = run.model_copy(update={"directory": out / name})
    if not tiny:
        return run
    drawn = {"frames_of_type": {"interstitial": TINY}, "valid": [], "valid_fraction": 0.5}
    changes = {
        "data": run.data.model_copy(update=drawn),
        "optimizer": run.optimizer.model_copy(update={"epochs": 1}),
    }
    if run.replay is not None:
        changes["replay"] = run.replay.model_copy(update={"count": TINY})
    return run.model_copy(update=changes)


def trained(run: TrainFile) -> Mace:
    """The fine-tuned model of a run, which is made where it is not there yet."""
    path = run.directory / results.MODEL
    if not path.exists():
        train_to_folder(run)
    return checkpoints.load(path)


def measured(
    model: Mace,
    data: Path,
    isolated: np.ndarray | None,
    head: int = 0,
    count: int | None = None,
) -> dict:
    """Errors of a head on LiF and on replay frames, and dimer curves.

    Replay energies are compared without isolated atoms: those of the start, `isolated`.
    `count`: the first so many frames of a file; None: all.
    """
    heads = model.architecture.heads
    model = checkpoints.restrict_heads(model, [heads[head]]) if len(heads) > 1 else model
    rows = {}
    if head == 0:
        target = read_frames([data / "lif_dft/pool_test.extxyz"])[:count]
        rows["lif"] = error_table(model, {"lif": target}, batch_size=2)[0]
    if isolated is not None:
        constants = model.constants | {"atomic_energies": isolated}
        as_start = dataclasses.replace(model, constants=constants)
        for name in ("train", "valid"):
            frames = read_frames([data / f"lif_dft/replay_mp_{name}.extxyz"])
            frames = with_small_forces(frames, LARGEST_FORCE)[:count]
            rows[f"replay_{name}"] = error_table(as_start, {name: frames}, batch_size=8)[0]
    curves = {"-".join(pair): dimer(model, pair).tolist() for pair in DIMERS}
    return {
        "errors": {name: dataclasses.asdict(row) for name, row in rows.items()},
        "dimers": curves,
    }


def dimer(model, pair: tuple[str, str]) -> np.ndarray:
    """Energy of two atoms at each distance less that of the two far apart, eV."""

    def energy(distance: float) -> float:
        atoms = ase.Atoms(pair, positions=[[0, 0, 0], [distance, 0, 0]])
        return float(predict_atoms(model, atoms).energy)

    return np.array([energy(r) for r in DISTANCES]) - energy(FAR)


def turning(curve: np.ndarray) -> float:
    """The shortest distance, Å, from which on inwards the energy only rises."""
    rises = np.flatnonzero(np.diff(curve) > 0)  # outwards: attraction
    return float(DISTANCES[rises[0]]) if len(rises) else float(DISTANCES[-1])


def table(found: dict[str, dict]) -> str:
    """Markdown: a row per model."""
    lines = [
        "| | LiF E | LiF F | replay E | replay F | Li-Li | Li-F | F-F |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in found.items():
        errors = entry["errors"]
        cells = [
            f"{errors['lif'][key]:.1f}" if "lif" in errors else "–"
            for key in ("energy_rmse", "forces_rmse")
        ]
        for key in ("energy_mae", "forces_mae"):
            pairs = [
                errors[k][key] for k in ("replay_train", "replay_valid") if k in errors
            ]
            cells.append(" / ".join(f"{value:.0f}" for value in pairs) or "–")
        for curve in map(np.array, entry["dimers"].values()):
            cells.append(f"{curve[0]:.0f} ({turning(curve):.2f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: dict[str, dict]) -> bytes:
    """Errors as bars, dimer curves below."""
    figure = new_figure(10.0, 7.0)
    axes = figure.subplots(2, 3)
    names = list(found)
    bars = (
        ("lif", "forces_rmse", "LiF, forces RMSE  (meV/Å)"),
        ("replay_train", "forces_mae", "replay, forces MAE  (meV/Å)"),
        ("replay_train", "energy_mae", "replay, energy MAE  (meV/atom)"),
    )
    for column, (one, (data, key, label)) in enumerate(zip(axes[0], bars, strict=True)):
        values = [found[n]["errors"].get(data, {}).get(key, 0.0) for n in names]
        drawn = one.barh(range(len(names)), values, color=SERIES[0])
        one.bar_label(drawn, [f"{v:.0f}" if v else "–" for v in values], padding=3, size=7)
        one.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
        one.set_xlim(0, 1.15 * max(values))
        one.invert_yaxis()
        one.set_title(label, fontsize=9)
    curves = [name for name in names if not name.endswith("head")]
    for one, pair in zip(axes[1], found[names[0]]["dimers"], strict=True):
        for k, name in enumerate(curves):
            look = {"color": SERIES[k % len(SERIES)], "ls": LINES[k % len(LINES)]}
            one.plot(DISTANCES, found[name]["dimers"][pair], label=name, **look)
        one.set_title(pair, fontsize=9)
        one.set_xlabel("distance  (Å)")
        one.set_yscale("symlog", linthresh=1.0)
        one.grid(True, color="0.9", lw=0.6)
    axes[1, 0].set_ylabel("energy  (eV)")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, fontsize=8, ncols=len(curves), loc="outside lower center"
    )
    return as_bytes(figure)


def main(
    data: Annotated[Path, typer.Argument(help="Folder that has lif_dft/*.extxyz.")],
    out: Annotated[Path, typer.Argument(help="Folder of the runs and of what is found.")],
    tiny: Annotated[
        bool, typer.Option("--tiny", help="As small as it goes: a test that it works.")
    ] = False,
) -> None:
    """Fine-tune by each strategy, and see what was learnt and what forgotten."""
    jax.config.update("jax_enable_x64", True)
    count = TINY if tiny else None
    start = checkpoints.load(START)
    isolated = np.asarray(start.constants["atomic_energies"])
    first = prepare(run_of(STRATEGIES[0], data, out, tiny)).model
    found = {"start": measured(first, data, isolated, count=count)}
    for name in STRATEGIES:
        model = trained(run_of(name, data, out, tiny))
        known = None if name == "scratch" else isolated
        found[name] = measured(model, data, known, count=count)
        if len(model.architecture.heads) > 1:
            own = measured(model, data, isolated, head=1, count=count)
            found[f"{name}, its head"] = own
        print(table(found), flush=True)
    (out / "forgetting.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "forgetting.md").write_text(table(found) + "\n")
    (out / "forgetting.png").write_bytes(draw(found))


if __name__ == "__main__":
    typer.run(main)
