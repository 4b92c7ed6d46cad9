"""What a training run leaves: error tables, predictions, the model with its provenance."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from jaxdiff import checkpoints
from jaxdiff.finetune import errors
from jaxdiff.finetune.errors import ErrorRow
from jaxdiff.finetune.loop import Reports, Trained, train
from jaxdiff.finetune.prepare import DataSet, Problem
from jaxdiff.finetune.provenance import training_provenance
from jaxdiff.finetune.targets import outcome
from jaxdiff.io import durable
from jaxdiff.io.trainfile import TrainFile
from jaxdiff.models.contract import Model

ERRORS, PREDICTIONS, MODEL = "errors.json", "predictions.npz", "model.safetensors"
TARGETS = "targets.json"


def train_to_folder(
    run: TrainFile,
    reports: Reports = Reports(),  # noqa: B008
) -> list[ErrorRow]:
    """Train as `train` does, and write errors, predictions and the model; the errors."""
    before = []

    def start(problem: Problem) -> None:
        before.extend(errors_before(run.directory, problem))
        reports.start(problem)

    trained = train(run, dataclasses.replace(reports, start=start))
    return write_results(run, trained, before)


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


def table(model: Model, problem: Problem) -> list[ErrorRow]:
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
    checkpoints.save_native(directory / MODEL, trained.model, training_provenance(run))
    if run.targets:
        found = outcome(directory, trained.model, run.targets)
        durable.write_json(directory / TARGETS, found)
    return rows


def _write_errors(path: Path, before: list[ErrorRow], after: list[ErrorRow]) -> None:
    content = {
        "units": "energy meV/atom, forces meV/Å, forces_relative %, stress meV/Å^3",
        "before": [_nulls(dataclasses.asdict(row)) for row in before],
        "after": [_nulls(dataclasses.asdict(row)) for row in after],
    }
    durable.write_json(path, content)


def _nulls(row: dict) -> dict:
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}


def _numbers(row: dict) -> dict:
    return {k: float("nan") if v is None else v for k, v in row.items()}


def write_predictions(path: Path, model: Model, problem: Problem) -> None:
    """Labels and predictions of validation and test sets, without isolated atoms.

    For each set `NAME.energy` [frames, 2] eV/atom and `NAME.forces` [components, 2] eV/Å:
    label, prediction.
    """
    arrays = {}
    for data in [*problem.valid, *problem.test]:
        pairs = errors.label_pairs(model, data.graphs, problem.plan)
        arrays |= {f"{data.name}.{kind}": array for kind, array in pairs.items()}
    with durable.replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
