"""`jaxdiff report`: values, checks and figures of a run."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli.answer import tell
from jaxdiff.cli.frame import computing


@computing
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
    error_train: Annotated[
        list[str] | None,
        typer.Option(
            help="Labelled frames that the model was trained on; with --error-valid, and a "
            "run that kept crossings, the model's own error stands beside that of the hops."
        ),
    ] = None,
    error_valid: Annotated[
        list[str] | None,
        typer.Option(help="Other labelled frames, which calibrate that error."),
    ] = None,
) -> None:
    """Write the report of a run again, from its raw data."""
    if bool(error_train) != bool(error_valid):
        raise ValueError("--error-train and --error-valid go together; give both.")
    from jaxdiff.io.parts import PARTS, SERIES
    from jaxdiff.report import read_transport, write_transport_report
    from jaxdiff.runs import reports

    analyzed = not any((run_dir / name).exists() for name in (SERIES, PARTS))
    transport = read_transport(run_dir) if analyzed else None
    if transport is not None:
        tell(write_transport_report(*transport, run_dir))
        return
    if error_train and error_valid:
        from jaxdiff.runs.model_error import write_model_error

        write_model_error(run_dir, error_train, error_valid)
    tell(reports.write(run_dir, allow_incomplete=allow_incomplete))
