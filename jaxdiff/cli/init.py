"""`jaxdiff init`: a run file to begin with."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jaxdiff.cli.frame import command
from jaxdiff.cli.options import Mobile, model_names


@command
def init(
    directory: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="For the run file and, later, the run."),
    ] = Path("."),
    kind: Annotated[
        Literal["simulate", "lattice", "barrier", "finetune"],
        typer.Option(help="Which command it is for."),
    ] = "simulate",
    structure: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Structure of your crystal; for a barrier two, before and after the jump. "
            "Default: LiF.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="A model file, or the name of a model.",
            autocompletion=model_names,
        ),
    ] = "lif-compact",
    mobile: Mobile = "Li",
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Labelled frames to train on; the last of several is for validation.",
        ),
    ] = None,
) -> None:
    """Write a commented run file to start from."""
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
