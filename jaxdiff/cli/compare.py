"""`jaxdiff compare`: do runs differ in their activation energy, and could they tell?"""

from pathlib import Path
from typing import Annotated

import typer

BAD_INPUT = 2


def compare(
    run_dir: Annotated[
        list[Path], typer.Argument(help="Folders of two or more runs, with series.h5.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for compare.html, .md and .json.")],
    margin_ev: Annotated[
        float, typer.Option(help="Largest difference of Ea that does not matter.")
    ] = 0.02,
) -> None:
    """Compare runs by one joint regression on the counts of all replicas."""
    from jaxdiff.report.compare import write_comparison

    try:
        target = write_comparison(run_dir, out, margin_ev=margin_ev)
    except (ValueError, OSError) as error:
        typer.echo(f"jaxdiff compare: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    typer.echo(target)
