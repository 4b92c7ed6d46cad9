"""`jaxdiff label`: energies, forces and stress of frames, by a DFT program."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jaxdiff.cli import plain
from jaxdiff.cli.frame import command
from jaxdiff.cli.launching import Launch, launch
from jaxdiff.cli.options import Changes, RunToml
from jaxdiff.io.shown import counted, visible
from jaxdiff.stop import FAILED

if TYPE_CHECKING:
    from jaxdiff.runs.labels import Collected, LabelRun, LabelUnit


@command
def label(
    run_file: RunToml,
    frames: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FRAMES",
            help="Files of frames that ASE reads. Default: those of its folder.",
        ),
    ] = None,
    changes: Changes = None,
    launcher: Annotated[
        Literal["local", "slurm", "parsl"],
        typer.Option(help="Here, as a Slurm array job, or through Parsl."),
    ] = "local",
    workers: Annotated[int, typer.Option(metavar="N", help="Frames at a time.")] = 1,
    retries: Annotated[
        int, typer.Option(help="How often a frame is started again whose program died.")
    ] = 2,
    parsl_config: Annotated[
        Path | None,
        typer.Option(help="A Python file that defines `config`, a parsl.Config."),
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Start nothing; join what is there.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also frames that have failed before.")
    ] = False,
) -> None:
    """Label frames with energies, forces and stress by DFT; goes on where it was cut off.

    Exit status 1 where frames are left without a label.
    """
    from jaxdiff.io import labelfile
    from jaxdiff.runs import labels, slurm
    from jaxdiff.runs.label_unit import LABEL_UNIT

    run = labelfile.load(run_file, changes or [])
    sources = labels.read_sources(frames or [])
    outcome = None
    with labels.label_folder(run).claimed():
        planned = labels.plan(run, sources)
        typer.echo(f"{counted(len(planned.units), 'frame')} in {planned.directory}")
        typer.echo(visible(f"{planned.settings.words}."))
        if again:
            labels.forget_failed(planned)
        left = _left(planned, slurm.queued(planned) if launcher == "slurm" else {})
        if left and not collect:
            if launcher == "local":
                labels.require_program(run)
            how = Launch(launcher, workers, retries, parsl_config)
            outcome = launch(how, planned, left, LABEL_UNIT)
        found = labels.collect(planned)
    _show(planned, found)
    if outcome is not None and outcome.signal is not None:
        place = " ".join(map(shlex.quote, ["jaxdiff", "label", str(run_file)]))
        typer.echo(f"Stopped. To go on: {place}", err=True)
        raise typer.Exit(128 + outcome.signal)
    if found.failed or (found.unfinished and (launcher == "local" or collect)):
        raise typer.Exit(FAILED)


@command
def label_unit(
    run_file: Annotated[Path, typer.Argument(help="The file of one frame.")],
    wait: Annotated[
        float | None,
        typer.Option(help="Wait so many seconds for another process at it.", min=0),
    ] = None,
) -> None:
    """Label one frame of a folder; what `jaxdiff label` starts."""
    from jaxdiff.runs.label_unit import Died
    from jaxdiff.runs.label_unit import label_unit as run_unit

    try:
        content = run_unit(run_file, wait)
    except Died as error:
        typer.echo(visible(str(error)), err=True)
        raise typer.Exit(FAILED) from None
    said = content.get("failed") or f"{content['energy_ev']:.6f} eV"
    typer.echo(visible(f"{said}, after {content['seconds']:g} s"))


def _left(planned: "LabelRun", queued: dict) -> "list[LabelUnit]":
    """Frames without an end that nobody runs or has in a queue."""
    left = []
    for unit in planned.units:
        if unit.result() is not None:
            continue
        if unit.index in queued:
            typer.echo(visible(f"{unit.name}: {queued[unit.index].words}; left alone"))
        else:
            left.append(unit)
    return left


def _show(planned: "LabelRun", found: "Collected") -> None:
    from jaxdiff.runs import labels

    console = plain.console()
    for index, reason in found.failed.items():
        text = f"{planned.units[index].name}: {reason}"
        console.print(visible(text), soft_wrap=True)
    for note in found.notes:
        console.print(visible(note), soft_wrap=True)
    counts = (len(found.labelled), len(found.failed), len(found.unfinished))
    console.print("{} labelled, {} failed, {} not finished".format(*counts))
    written = ((labels.LABELS, found.labelled), (labels.FAILED, found.failed))
    for name, there in written:
        if there:
            console.print(visible(str(planned.directory / name)), soft_wrap=True)
