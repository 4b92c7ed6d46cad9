"""`jaxdiff finetune`: from labelled frames to a model file, its errors and figures."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli import plain
from jaxdiff.cli.frame import computing
from jaxdiff.cli.options import Changes, RunToml
from jaxdiff.io.shown import visible


@computing
def finetune(
    run_file: RunToml,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Paths of data are relative to it. Default: the folder of the run file.",
        ),
    ] = None,
    changes: Changes = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check the data, show the errors before training, and stop."
        ),
    ] = False,
) -> None:
    """Train or fine-tune a model; an interrupted training goes on where it was."""
    from jaxdiff.io.trainfile import read_train_file

    run = read_train_file(run_file, data, changes)
    if check:
        _check(run)
    else:
        _train(run)


def _check(run) -> None:
    from jaxdiff.finetune import prepare, results

    problem = prepare(run)
    console = plain.console()
    for note in problem.notes:
        console.print(visible(note))
    console.print(_table(results.table(problem.model, problem)))


def _train(run) -> None:
    from jaxdiff.finetune import Reports, results
    from jaxdiff.finetune.verdict import verdict
    from jaxdiff.report.training import write_figures

    console = plain.console()
    held_out, before = set(), []

    def start(problem) -> None:
        held_out.update(data.name for data in (*problem.valid, *problem.test))
        before.extend(results.errors_before(run.directory, problem))
        for note in problem.notes:
            console.print(visible(note))
        console.print(_table(before, title="before training"))

    def targets(values) -> None:
        for name, (value, goal) in values.items():
            console.print(f"target {name}: {value:.4f} now, {goal:.4f} wanted")

    def epoch(record) -> None:
        console.print(_line(record))

    def note(text) -> None:
        console.print(visible(text))

    with _progress() as progress:
        rows = results.train_to_folder(run, Reports(start, progress, targets, epoch, note))
    console.print(_table(rows, title="after training"))
    for sentence in verdict(before, rows, held_out):
        console.print(visible(sentence))
    if run.targets:
        for name, found in json.loads(
            (run.directory / results.TARGETS).read_text()
        ).items():
            console.print(
                f"target {name}: {found['value']:.4f}, {found['goal']:.4f} wanted"
            )
    for path in (run.directory / results.MODEL, *write_figures(run.directory)):
        console.print(visible(str(path)), soft_wrap=True)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, float], None]]:
    """A bar over the batches of an epoch; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)

        def show(epoch: int, fraction: float) -> None:
            bar.update(task, completed=fraction, description=f"epoch {epoch}")

        yield show


def _line(record: dict) -> str:
    return (
        f"epoch {record['epoch']:4d}  loss {record['train_loss']:.5g}  "
        f"valid {record['valid_loss']:.5g}: "
        f"energy {record['energy_rmse']:.2f} meV/atom, "
        f"forces {record['forces_rmse']:.1f} meV/Å, "
        f"stress {record['stress_rmse']:.2f} meV/Å^3  "
        f"rate {record['learning_rate']:.2e}  {record['seconds']:.0f} s"
        + "".join(f"  {k} {v:.4f}" for k, v in record.get("targets", {}).items())
    )


def _error(value: float) -> str:
    """A dash where no frame of the set has the label."""
    return "–" if math.isnan(value) else f"{value:.2f}"


def _table(rows, title: str | None = None):
    from rich.table import Table

    table = Table(
        "set",
        "frames",
        "energy\nmeV/atom",
        "forces\nmeV/Å",
        "forces\n%",
        "stress\nmeV/Å^3",
        title=title,
    )
    for row in rows:
        numbers = (row.energy_rmse, row.forces_rmse, row.forces_relative, row.stress_rmse)
        table.add_row(*plain.cells(row.name, row.frames), *map(_error, numbers))
    return table
