"""`jaxdiff schema`: what may stand in a run file."""

import json
from typing import Annotated, Literal

import typer

from jaxdiff.cli.frame import command


@command
def schema(
    kind: Annotated[
        Literal["simulate", "lattice", "campaign", "finetune", "barrier", "label", "loop"]
        | None,
        typer.Argument(help="The command whose run file it is. Default: all, by name."),
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Print every key in Markdown tables instead.")
    ] = False,
) -> None:
    """Print the JSON schema of run files."""
    from jaxdiff.runs import reference

    if keys:
        typer.echo(reference.tables(), nl=False)
        return
    every = {name: reference.schema(name) for name in reference.RUN_FILES}
    typer.echo(json.dumps(reference.schema(kind) if kind else every, indent=1))
