"""`jaxdiff report`: values, checks and figures of a run."""

from pathlib import Path
from typing import Annotated

import typer

BAD_INPUT = 2


def report(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run, with series.h5.")],
    allow_incomplete: Annotated[
        bool, typer.Option(help="Also report on a run that has not finished.")
    ] = False,
) -> None:
    """Write report.html, .md, .json, .csv and figures into the folder of a run."""
    from jaxdiff.report import write_report

    try:
        target = write_report(run_dir, allow_incomplete=allow_incomplete)
    except (ValueError, OSError) as error:
        typer.echo(f"jaxdiff report: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    typer.echo(target)
