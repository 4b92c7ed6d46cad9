"""Correct a barrier with three frames that lie near its path.

python training/three_images.py DATA MODEL OUT [--tiny]

MODEL has seen frames of dynamics alone (training/loop_alone.toml), which rarely pass a
saddle. The path is the collinear one of the embedded model, which has seen the pool; the
labelled frame of the pool nearest to its saddle, and those nearest to the images before and
behind, join the training data. Near means: the descriptors of the two lithium atoms that
move. Writes OUT/images.extxyz and OUT/images.json, trains training/three_images.toml in OUT
with the three and without, and prints for all models: the energy between saddle and minimum
at the atoms of the embedded model, the barrier of a search of its own, how wrong energies
of other frames near the saddle are beside those near the minimum, and forces on loop_valid.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import typer

from jaxdiff import checkpoints
from jaxdiff.calculator import predict_atoms
from jaxdiff.descriptors import describe_atoms
from jaxdiff.finetune import error_table, read_frames, results, train_to_folder
from jaxdiff.io.trainfile import TrainFile, read_train_file
from jaxdiff.models.mace import Mace
from jaxdiff.objectives.barrier import (
    Barrier,
    SearchFailed,
    Settings,
    energy_gap,
    find_barrier,
)
from jaxdiff.objectives.paths import Path as LithiumPath
from jaxdiff.objectives.paths import lithium_path
from jaxdiff.objectives.surface import Surface, make_surface
from jaxdiff.potential import cast
from jaxdiff.system import to_ase

POOL = ("pool_train", "pool_valid", "pool_test")


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is compared and trained.

    - `near`: frames on each side of the comparison; `read`: the first so many of each file,
      None: all. `n_images`: of a band. `drawn`: frames for training and validation, of one
      epoch; None: what the run file says.
    """

    near: int = 30
    read: int | None = None
    n_images: int = 7
    drawn: int | None = None


WHOLE, TINY = Size(), Size(near=2, read=12, n_images=3, drawn=2)


def setting(model: Mace) -> tuple[Mace, Surface, LithiumPath]:
    """The model in float64, the surface of 65 atoms and the collinear path."""
    double = cast(model, jnp.float64)
    path = lithium_path("collinear", (2, 2, 2))
    return double, make_surface(double, path.system), path


def pool_frames(data: Path, length: float, count: int | None) -> list[ase.Atoms]:
    """Interstitial frames of one cell, with where they are from."""
    found = []
    for name in POOL:
        frames = ase.io.read(data / f"lif_dft/{name}.extxyz", slice(count))
        for k, atoms in enumerate(frames):
            is_like = abs(atoms.cell[0, 0] - length) < 0.1
            if is_like and atoms.info["config_type"] == "interstitial":
                atoms.info["source"] = f"{name} {k}"
                found.append(atoms)
    return found


def jumping(model: Mace, atoms: ase.Atoms, which) -> np.ndarray:
    """Descriptors of the two that jump, or of all lithium; float64."""
    return np.asarray(describe_atoms(model, atoms), np.float64)[which]


def distances(wanted: np.ndarray, frames: list[np.ndarray]) -> np.ndarray:
    """Of each frame: how far its lithium is from being like the two."""
    apart = [np.linalg.norm(wanted[:, None] - own[None], axis=-1) for own in frames]
    return np.array([np.sqrt((x.min(axis=1) ** 2).sum()) for x in apart])


def choose(
    model: Mace, found: Barrier, crystal: ase.Atoms, data: Path, size: Size
) -> tuple[list[ase.Atoms], list, list, dict]:
    """The three frames; others near the saddle; those near the minimum; where from."""
    moved = np.linalg.norm(found.end.position - found.start.position, axis=1)
    two = np.argsort(moved)[-2:]
    frames = pool_frames(data, 12.25, size.read)
    features = [jumping(model, atoms, atoms.numbers == 3) for atoms in frames]

    def from_points(positions):
        crystal.positions = np.asarray(positions)
        return distances(jumping(model, crystal, two), features)

    band, top = found.band.position, int(np.argmax(found.band.energy))
    chosen: list[int] = []
    for position in (found.saddle.position, band[top - 1], band[top + 1]):
        order = np.argsort(from_points(position))
        chosen.append(next(int(k) for k in order if int(k) not in chosen))
    lead = from_points(found.start.position) - from_points(found.saddle.position)
    order = [int(k) for k in np.argsort(-lead) if int(k) not in chosen]
    near = [frames[k] for k in order[: size.near]]
    far = [frames[k] for k in order[-size.near :]]
    images = [frames[k] for k in chosen]
    record = {
        "images": [atoms.info["source"] for atoms in images],
        "near_saddle": [atoms.info["source"] for atoms in near],
        "near_minimum": [atoms.info["source"] for atoms in far],
    }
    return images, near, far, record


def energy_error(model: Mace, frames: list[ase.Atoms]) -> np.ndarray:
    """Model less DFT of each frame, eV."""
    reference = np.array([atoms.info["REF_energy"] for atoms in frames])
    return np.array([float(predict_atoms(model, a).energy) for a in frames]) - reference


def measured(
    model: Mace, found: Barrier, data: Path, near: list, far: list, size: Size
) -> dict:
    """The energies and errors of the table."""
    double, surface, path = setting(model)
    gap = energy_gap(double, surface, found.saddle.position, found.start.position)
    try:
        barrier = find_barrier(double, surface, path, Settings(size.n_images)).forward_ev
    except SearchFailed as error:
        barrier = str(error)
    high, low = energy_error(model, near), energy_error(model, far)
    frames = read_frames([data / "lif_dft/loop_valid.extxyz"])[: size.read]
    row = error_table(model, {"loop_valid": frames}, batch_size=2)[0]
    return {
        "gap_ev": float(gap),
        "barrier_ev": barrier,
        "gap_error_ev": float(high.mean() - low.mean()),
        "gap_error_se_ev": float(np.sqrt(high.var() / len(high) + low.var() / len(low))),
        "loop_valid": dataclasses.asdict(row),
    }


def run_of(
    data: Path, start: Path, out: Path, images: Path | None, size: Size
) -> TrainFile:
    """The run file, from this start; without the images, the same number of updates."""
    run = read_train_file(Path(__file__).with_suffix(".toml"), data)
    section = run.model.model_copy(update={"name_or_path": str(start.resolve())})
    train = [*run.data.train, *([images.resolve()] if images else [])]
    frames, optimizer = run.data.model_copy(update={"train": train}), run.optimizer
    if size.drawn is not None:
        drawn = {"interstitial": size.drawn} | ({"image": 3} if images else {})
        few = {"frames_of_type": drawn, "valid": [], "valid_fraction": 0.5}
        frames = frames.model_copy(update=few)
        optimizer = optimizer.model_copy(update={"epochs": 1})
    changes = {
        "model": section,
        "data": frames,
        "optimizer": optimizer,
        "directory": out / ("with" if images else "without"),
    }
    return run.model_copy(update=changes)


def main(
    data: Annotated[Path, typer.Argument(help="Folder that has lif_dft/*.extxyz.")],
    model: Annotated[Path, typer.Argument(help="What training begins from.")],
    out: Annotated[Path, typer.Argument(help="Folder of the runs and of what is found.")],
    tiny: Annotated[
        bool, typer.Option("--tiny", help="As small as it goes: a test that it works.")
    ] = False,
) -> None:
    """Choose three frames near a jump, train with them and without, and compare."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    size = TINY if tiny else WHOLE
    out.mkdir(parents=True, exist_ok=True)
    start, embedded = (checkpoints.load(x) for x in (model, "lif-compact"))
    double, surface, way = setting(embedded)
    found = find_barrier(double, surface, way, Settings(size.n_images))
    images, near, far, record = choose(embedded, found, to_ase(way.system), data, size)
    for atoms in images:
        atoms.info["config_type"] = "image"
    path = out / "images.extxyz"
    ase.io.write(path, images, format="extxyz")
    print(f"images: {', '.join(record['images'])}", flush=True)

    models = {"dynamics alone": start}
    for name, extra in (("trained on, without the three", None), ("with them", path)):
        run = run_of(data, model, out, extra, size)
        if not (run.directory / results.MODEL).exists():
            train_to_folder(run)
        models[name] = checkpoints.load(run.directory / results.MODEL)
    models["embedded"] = embedded

    print("| model | gap, eV | error of frames, eV | forces, meV/Å | barrier, eV |")
    for name, one in models.items():
        row = record[name] = measured(one, found, data, near, far, size)
        print(
            f"| {name} | {row['gap_ev']:.3f} | {row['gap_error_ev']:+.3f} ± "
            f"{row['gap_error_se_ev']:.3f} | {row['loop_valid']['forces_rmse']:.1f} | "
            f"{row['barrier_ev']} |",
            flush=True,
        )
    (out / "images.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    typer.run(main)
