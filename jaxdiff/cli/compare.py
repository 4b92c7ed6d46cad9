"""`jaxdiff compare`: do runs differ in their activation energy, and could they tell?"""

from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli.frame import command


@command
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

    typer.echo(write_comparison(run_dir, out, margin_ev=margin_ev))
