"""`jaxdiff finetune`: from labelled frames to a model file, its errors and figures."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

BAD_INPUT, DIVERGED = 2, 3


def finetune(
    run_file: Annotated[Path, typer.Argument(help="The run file (TOML).")],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder that data paths are relative to; else the run file's."),
    ] = None,
    set: Annotated[  # the name of the option
        list[str] | None,
        typer.Option(help="Change a key: --set optimizer.epochs=10 --set seed=2."),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Read and check everything, show errors, train nothing.")
    ] = False,
) -> None:
    """Train a MACE model, or fine-tune one; goes on where it was interrupted."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")

    from jaxdiff.checkpoints import CheckpointError
    from jaxdiff.io.trainfile import read_train_file
    from jaxdiff.stop import Stopped

    try:
        run = read_train_file(run_file, data, set)
        if check:
            _check(run)
        else:
            _train(run)
    except Stopped as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    except FloatingPointError as error:
        typer.echo(f"diverged: {error}", err=True)
        raise typer.Exit(DIVERGED) from None
    except (ValueError, OSError, CheckpointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None


def _check(run) -> None:
    from rich.console import Console

    from jaxdiff.finetune import prepare, results

    problem = prepare(run)
    console = Console()
    for note in problem.notes:
        console.print(note, highlight=False)
    console.print(_table(results.table(problem.model, problem)))


def _train(run) -> None:
    from rich.console import Console

    from jaxdiff.finetune import Reports, results
    from jaxdiff.report.training import write_figures

    console = Console()

    def start(problem) -> None:
        for note in problem.notes:
            console.print(note, highlight=False)
        before = results.errors_before(run.directory, problem)
        console.print(_table(before, title="before training"))

    def targets(values) -> None:
        for name, (value, goal) in values.items():
            console.print(f"target {name}: {value:.4f} now, {goal:.4f} wanted")

    def epoch(record) -> None:
        console.print(_line(record), highlight=False)

    with _progress() as progress:
        rows = results.train_to_folder(run, Reports(start, progress, targets, epoch))
    console.print(_table(rows, title="after training"))
    if run.targets:
        for name, found in json.loads(
            (run.directory / results.TARGETS).read_text()
        ).items():
            console.print(
                f"target {name}: {found['value']:.4f}, {found['goal']:.4f} wanted"
            )
    for path in (run.directory / results.MODEL, *write_figures(run.directory)):
        console.print(str(path), highlight=False, soft_wrap=True)


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
        table.add_row(row.name, str(row.frames), *(f"{n:.2f}" for n in numbers))
    return table
