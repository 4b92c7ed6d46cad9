"""`jaxdiff compare`: do runs differ in their activation energy, and could they tell?"""

from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli.frame import command


@command
def compare(
    run_dir: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_DIR", help="Folders of two or more runs."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for compare.html, .md and .json."),
    ],
    margin_ev: Annotated[
        float,
        typer.Option(
            metavar="EV", help="Largest difference of Ea that does not matter, eV."
        ),
    ] = 0.02,
) -> None:
    """Compare activation energies by one joint regression on the hops of all runs."""
    from jaxdiff.report.compare import write_comparison

    typer.echo(write_comparison(run_dir, out, margin_ev=margin_ev))
