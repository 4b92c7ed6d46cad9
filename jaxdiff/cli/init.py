"""`jaxdiff init`: a run file to begin with."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jaxdiff.cli.frame import command


@command
def init(
    directory: Annotated[
        Path, typer.Argument(help="Folder for the run file and, later, the run.")
    ] = Path("."),
    kind: Annotated[
        Literal["simulate", "lattice", "barrier", "finetune"],
        typer.Option(help="The command that it is for."),
    ] = "simulate",
    structure: Annotated[
        list[Path] | None,
        typer.Option(
            help="Structure of a crystal of your own; of a barrier two; without it, LiF."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A registered name, or a model file of your own.")
    ] = "lif-compact",
    mobile: Annotated[str, typer.Option(help="Element of the atoms that move.")] = "Li",
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled frames to train on; the last of several to validate."),
    ] = None,
) -> None:
    """Write a commented run file that runs as it is, with every key worth moving."""
    from jaxdiff.io import durable
    from jaxdiff.runs.templates import Case, run_file

    case = Case(kind, directory, model, mobile, tuple(structure or ()), tuple(data or ()))
    if case.path.exists():
        raise ValueError(
            f"{case.path} exists, and nothing is overwritten; give another folder, or move "
            "it away."
        )
    text = run_file(case)
    directory.mkdir(parents=True, exist_ok=True)
    durable.write_text(case.path, text)
    typer.echo(f"{case.path}: look at its keys, then\n  jaxdiff {kind} {case.path}")
