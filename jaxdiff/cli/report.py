"""`jaxdiff report`: values, checks and figures of a run."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli.answer import tell
from jaxdiff.cli.frame import command


@command
def report(
    run_dir: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_DIR", help="The folder of a run, or of `jaxdiff analyze`."
        ),
    ],
    allow_incomplete: Annotated[
        bool,
        typer.Option(
            "--allow-incomplete", help="Also report on a run that has not finished."
        ),
    ] = False,
) -> None:
    """Write the report of a run again, from its raw data."""
    from jaxdiff.io.parts import PARTS, SERIES
    from jaxdiff.report import read_transport, write_transport_report
    from jaxdiff.runs import reports

    analyzed = not any((run_dir / name).exists() for name in (SERIES, PARTS))
    transport = read_transport(run_dir) if analyzed else None
    if transport is not None:
        tell(write_transport_report(*transport, run_dir))
        return
    tell(reports.write(run_dir, allow_incomplete=allow_incomplete))
