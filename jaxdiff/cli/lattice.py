"""`jaxdiff lattice`: lattice constant, thermal expansion and bulk modulus of a model."""

import typer

from jaxdiff.cli.frame import computing
from jaxdiff.cli.options import Changes, RunToml
from jaxdiff.cli.simulate import run_in_folder
from jaxdiff.stop import DIVERGED


@computing
def lattice(
    run_file: RunToml,
    changes: Changes = None,
) -> None:
    """Run a crystal at constant pressure; report a(T), thermal expansion and bulk modulus.

    The run file has a section [barostat]. The lattice.json that is written gives each
    temperature of a study its own lattice constant (system.lattice_file).
    """
    directory, diverged = run_in_folder(run_file, changes or [], barostat=True)

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
