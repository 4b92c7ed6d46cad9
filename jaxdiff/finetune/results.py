"""What a training run leaves: error tables, predictions, the model with its provenance."""

import dataclasses
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from jaxdiff import checkpoints
from jaxdiff.finetune import errors
from jaxdiff.finetune.errors import ErrorRow
from jaxdiff.finetune.loop import Trained
from jaxdiff.finetune.prepare import DataSet, Problem
from jaxdiff.io.atomic import write_text
from jaxdiff.io.trainfile import TrainFile
from jaxdiff.models.architecture import Mace

ERRORS, PREDICTIONS, MODEL = "errors.json", "predictions.npz", "model.safetensors"
_PACKAGES = ("jaxdiff", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def data_sets(problem: Problem) -> list[DataSet]:
    """Training, validation and test sets of all heads."""
    return [*problem.train_sets, *problem.valid, *problem.test]


def errors_before(directory: Path, problem: Problem) -> list[ErrorRow]:
    """Errors of the starting model; kept in the folder, for a restart knows it no more."""
    path = directory / ERRORS
    if path.exists():
        return [ErrorRow(**_numbers(row)) for row in json.loads(path.read_text())["before"]]
    rows = table(problem.model, problem)
    _write_errors(path, rows, [])
    return rows


def table(model: Mace, problem: Problem) -> list[ErrorRow]:
    """A row per set, and one per config_type within it."""
    rows = []
    for data in data_sets(problem):
        found = errors.frame_errors(model, data.graphs, problem.plan)
        rows += errors.rows_of_types(data.name, found, data.frames)
    return rows


def write_results(
    run: TrainFile, trained: Trained, before: list[ErrorRow]
) -> list[ErrorRow]:
    """Write model, error tables and predictions into the run's folder; the errors now."""
    directory, problem = run.directory, trained.problem
    rows = table(trained.model, problem)
    _write_errors(directory / ERRORS, before, rows)
    write_predictions(directory / PREDICTIONS, trained.model, problem)
    checkpoints.save_native(directory / MODEL, trained.model, provenance(run))
    return rows


def _write_errors(path: Path, before: list[ErrorRow], after: list[ErrorRow]) -> None:
    content = {
        "units": "energy meV/atom, forces meV/Å, forces_relative %, stress meV/Å^3",
        "before": [_nulls(dataclasses.asdict(row)) for row in before],
        "after": [_nulls(dataclasses.asdict(row)) for row in after],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def _nulls(row: dict) -> dict:
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}


def _numbers(row: dict) -> dict:
    return {k: float("nan") if v is None else v for k, v in row.items()}


def write_predictions(path: Path, model: Mace, problem: Problem) -> None:
    """Labels and predictions of validation and test sets, without isolated atoms.

    For each set `NAME.energy` [frames, 2] eV/atom and `NAME.forces` [components, 2] eV/Å:
    label, prediction.
    """
    arrays = {}
    for data in [*problem.valid, *problem.test]:
        isolated = np.asarray(model.constants["atomic_energies"], np.float64)[data.head]
        found = errors.predictions(model, data.frames, head=data.head)
        energy, forces = [], []
        for label, said, graph in zip(data.frames, found, data.graphs, strict=True):
            rest = isolated[graph.arrays.species].sum()
            if label.energy is not None and said.energy is not None:
                energy.append(
                    [(e - rest) / label.n_atoms for e in (label.energy, said.energy)]
                )
            if label.forces is not None and said.forces is not None:
                forces.append(np.stack([label.forces, said.forces], -1).reshape(-1, 2))
        arrays[f"{data.name}.energy"] = np.array(energy).reshape(-1, 2)
        arrays[f"{data.name}.forces"] = np.concatenate([*forces, np.zeros((0, 2))])
    np.savez_compressed(path, **arrays)


def provenance(run: TrainFile) -> dict:
    """Run file, hashes of all data and of the starting model, versions, device."""
    files = [*run.data.train, *run.data.valid]
    files += [path for paths in run.data.test.values() for path in paths]
    files += [*run.replay.train, *run.replay.valid] if run.replay else []
    record = {
        "run_file": run.model_dump_json(exclude={"directory", "data", "replay"}),
        "data": run.data.model_dump(mode="json", exclude={"train", "valid", "test"}),
        "data_sha256": {path.name: _sha256(path) for path in files},
        "versions": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()})",
        "precision": run.precision,
    }
    if run.model is not None:
        with checkpoints.locate(run.model.name_or_path) as path:
            record["starting_model"] = run.model.name_or_path
            record["starting_model_sha256"] = _sha256(path)
    return record


def _sha256(path: Path) -> str:
    """Of a file, or of all files of a folder in their order."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for part in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(part.name.encode() + part.read_bytes())
    return total.hexdigest()
