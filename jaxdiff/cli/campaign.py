"""`jaxdiff campaign`: one study in parts that run anywhere, joined to one series."""

import collections
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jaxdiff.cli import plain
from jaxdiff.cli.answer import tell
from jaxdiff.cli.frame import command
from jaxdiff.cli.launching import Launch, launch
from jaxdiff.cli.options import Changes, RunToml
from jaxdiff.io.shown import counted
from jaxdiff.stop import DIVERGED, FAILED

if TYPE_CHECKING:
    from jaxdiff.io.runfile import RunFile
    from jaxdiff.runs.campaign import Campaign, Unit, UnitStatus
    from jaxdiff.runs.launchers import Outcome
    from jaxdiff.runs.slurm import Queued

app = typer.Typer(
    no_args_is_help=True, help="Split a study into units, run them anywhere, join them."
)

Directory = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The folder of the campaign.")
]


@app.command()
@command
def plan(
    run_file: RunToml,
    units: Annotated[
        int | None, typer.Option(metavar="N", help="Number of units, of nearly equal size.")
    ] = None,
    replicas_per_unit: Annotated[
        int | None, typer.Option(metavar="N", help="In place of --units: replicas in each.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the campaign. Default: output.directory of the run file.",
        ),
    ] = None,
    changes: Changes = None,
) -> None:
    """Split a study into units; to plan again changes nothing."""
    from jaxdiff.cli.simulate import check_barostat
    from jaxdiff.io import runfile
    from jaxdiff.runs import campaign

    if (units is None) == (replicas_per_unit is None):
        raise ValueError("give either --units or --replicas-per-unit.")
    place = [] if directory is None else [f"output.directory={json.dumps(str(directory))}"]
    run = runfile.load(run_file, [*(changes or []), *place])
    check_barostat(run, False)
    planned = campaign.plan(
        run,
        run.output.directory,
        n_units=units,
        replicas_per_unit=replicas_per_unit,
    )
    _say_plan(run, planned)


@app.command("status")
@command
def show_status(directory: Directory) -> None:
    """Show how far each unit has come."""
    from jaxdiff.runs import campaign, slurm

    loaded = campaign.load(directory)
    _print_status(campaign.status(loaded), slurm.queued(loaded))


@app.command()
@command
def run(
    directory: Directory,
    launcher: Annotated[
        Literal["local", "slurm", "parsl"],
        typer.Option(help="On this machine, as a Slurm array job, or by Parsl."),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Units at a time. Default: one, or one for each accelerator.",
        ),
    ] = None,
    accelerators: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS", help="GPUs or TPUs, such as 0,1: one for each worker."
        ),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(metavar="N", help="How often a unit that died is started again."),
    ] = 2,
    parsl_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A Python file that defines `config`, a parsl.Config."
        ),
    ] = None,
) -> None:
    """Run the units that are not complete, each from its last checkpoint."""
    from jaxdiff.runs import campaign, launchers, slurm

    loaded = campaign.load(directory)
    left = _left(campaign.status(loaded), slurm.queued(loaded))
    how = Launch(launcher, workers, retries, parsl_config, accelerators)
    outcome = launch(how, loaded, left, launchers.SIMULATE)
    if outcome is None:
        return
    after = campaign.status(loaded)
    _end(directory, outcome, after)


@app.command()
@command
def merge(directory: Directory) -> None:
    """Join the units and report on them as on a single run."""
    from jaxdiff.runs import reports
    from jaxdiff.runs.campaign import load
    from jaxdiff.runs.campaign_merge import merge as join

    typer.echo(join(load(directory)))
    # no unit is incomplete; some replica may have been frozen
    tell(reports.write(directory))


def _say_plan(run: "RunFile", planned: "Campaign") -> None:
    """How much it is, and what to run next; only a run can tell what it costs."""
    sizes = sorted({unit.stop - unit.first for unit in planned.units})
    total_ns = run.n_replicas * run.production.duration_ps / 1e3
    more_ns = run.n_replicas * run.equilibration.duration_ps / 1e3
    place = shlex.quote(run.output.directory)
    typer.echo(
        f"{counted(run.n_replicas, 'replica')} in {counted(len(planned.units), 'unit')} of "
        f"{' or '.join(map(str, sizes))}, {total_ns:.4g} ns in all, after {more_ns:.4g} ns "
        f"of equilibration, in {run.output.directory}.\nNext:\n"
        f"  jaxdiff campaign run {place}     (each log begins with the cost of its unit)\n"
        f"  jaxdiff campaign status {place}\n"
        f"  jaxdiff campaign merge {place}"
    )


def _left(found: "list[UnitStatus]", queued: "dict[int, Queued]") -> "list[Unit]":
    """Units to run: not complete, and nobody runs them or has them in a queue."""
    left: list[Unit] = []
    for state in found:
        if state.is_final:
            continue
        if state.state == "running":
            typer.echo(f"{state.unit.name}: running already, left alone")
        elif state.unit.index in queued:
            words = queued[state.unit.index].words
            typer.echo(f"{state.unit.name}: {words}; left alone")
        else:
            left.append(state.unit)
    return left


def _end(directory: Path, outcome: "Outcome", found: "list[UnitStatus]") -> None:
    """Say what is next, and leave with the exit code of the whole."""
    place = shlex.quote(str(directory))
    if outcome.signal is not None:
        typer.echo(f"Stopped. To go on: jaxdiff campaign run {place}", err=True)
        raise typer.Exit(128 + outcome.signal)
    failed = [s.unit.name for s in found if s.state in ("failed", "waiting")]
    if failed:
        units = counted(len(failed), "unit")
        typer.echo(f"{units} did not complete: {'; '.join(failed)}", err=True)
        raise typer.Exit(FAILED)
    if all(state.is_final for state in found):
        typer.echo(f"All units are complete. Next: jaxdiff campaign merge {place}")
    if any(state.state == "diverged" for state in found):
        raise typer.Exit(DIVERGED)


def _print_status(found: "list[UnitStatus]", queued: "dict[int, Queued]") -> None:
    from rich.table import Table

    table = Table("unit", "replicas", "state", "phase")
    for title in ("done/ps", "of/ps", "ns/day"):
        table.add_column(title, justify="right")
    table.add_column("updated")
    for s in found:
        numbers = (s.done_ps, s.total_ps, s.ns_per_day)
        table.add_row(
            f"{s.unit.index:04d}",
            f"{s.unit.first}–{s.unit.stop - 1}",
            *plain.cells(s.state, s.phase or ""),
            *("-" if x is None else f"{x:.4g}" for x in numbers),
            *plain.cells(s.updated or ""),
        )
    plain.console().print(table)
    for s in found:
        entry = queued.get(s.unit.index)
        if entry is None or s.is_final or (s.state, entry.state) == ("running", "RUNNING"):
            continue
        typer.echo(f"{s.unit.name}: {entry.words}")
    counts = collections.Counter(s.state for s in found)
    typer.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
