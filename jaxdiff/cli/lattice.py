"""`jaxdiff lattice`: lattice constant, thermal expansion and bulk modulus of a model."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli.frame import computing
from jaxdiff.cli.simulate import run_in_folder
from jaxdiff.stop import DIVERGED


@computing
def lattice(
    run_file: Annotated[
        Path, typer.Argument(help="A run file (TOML) with a section [barostat].")
    ],
    set: Annotated[  # the name of the option
        list[str] | None,
        typer.Option(help="Change a key: --set production.duration_ps=10."),
    ] = None,
) -> None:
    """Run a crystal at constant pressure; report a(T), its expansion and bulk modulus.

    `lattice.json` then gives every temperature of a study its own lattice constant
    (system.lattice_file).
    """
    directory, diverged = run_in_folder(run_file, set or [], barostat=True)

    from jaxdiff.report.lattice import write_lattice_report
    from jaxdiff.runs.lattice import study_of_run

    try:
        study = study_of_run(directory)
    except ValueError as error:
        raise ValueError(
            f"{error} What was run is in {directory}; the same command with a larger "
            "production.duration_ps goes on from there."
        ) from None
    path = write_lattice_report(study, directory)
    for point in study.points:
        a, b = point.lattice_constant_angstrom, point.bulk_modulus_gpa
        typer.echo(
            f"{point.temperature_kelvin:.0f} K: a = {a.value:.4f} ± {a.standard_error:.4f} "
            f"Å, B = {b.value:.0f} ± {b.standard_error:.0f} GPa"
        )
    for check in study.checks:
        if check.passed is False:
            detail = check.detail.rstrip(".")
            typer.echo(f"failed: {check.name}: {detail}. {check.advice}", err=True)
    typer.echo(path)
    if diverged:
        raise typer.Exit(DIVERGED)
