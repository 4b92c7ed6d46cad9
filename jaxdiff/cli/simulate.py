"""`jaxdiff simulate`: from a run file to a raw series and a report."""

from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli.answer import tell
from jaxdiff.cli.frame import computing
from jaxdiff.cli.options import Changes, RunToml
from jaxdiff.cli.progress import progress_bar
from jaxdiff.stop import DIVERGED


@computing
def simulate(
    run_file: RunToml,
    changes: Changes = None,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Wait this long for another process in its folder.",
            min=0,
        ),
    ] = None,
) -> None:
    """Run an ensemble of replicas; report diffusivities and the activation energy.

    A run that was interrupted goes on from its last checkpoint.
    """
    directory, diverged = run_in_folder(
        run_file, changes or [], barostat=False, wait_s=wait
    )
    _report(directory)
    _tell_trajectory(directory)
    if diverged:
        raise typer.Exit(DIVERGED)


def run_in_folder(
    run_file: Path, overrides: list[str], *, barostat: bool, wait_s: float | None = None
) -> tuple[Path, tuple[str, ...]]:
    """Run what the file says; its folder, and why replicas diverged.

    - `barostat`: whether the cell is to vary.
    - `wait_s`: how long another process in the folder is waited for; None: a moment.
    """
    from jaxdiff.devices import use_every_core

    use_every_core()

    from jaxdiff.io import runfile
    from jaxdiff.runs import simulation

    run = runfile.load(run_file, overrides)
    check_barostat(run, barostat)
    directory = Path(run.output.directory)
    with progress_bar() as progress:
        diverged = simulation.simulate(
            run, directory, progress, typer.echo, patience_s=wait_s
        )
    for why in diverged:
        typer.echo(
            f"diverged: {why}. It was stopped there, the others went on; use a shorter "
            "timestep, a longer equilibration from a relaxed structure, or a model that "
            "knows these configurations.",
            err=True,
        )
    return directory, diverged


def check_barostat(run, wanted: bool) -> None:
    """A cell varies in `jaxdiff lattice`, and only there."""
    if wanted and run.barostat is None:
        raise ValueError(
            "the run file has no section [barostat], which jaxdiff lattice needs; add it, "
            "with pressure_gpa = 0."
        )
    if wanted and len(run.ensemble.temperatures_kelvin) < 2:
        raise ValueError(
            f"ensemble.temperatures_kelvin = {list(run.ensemble.temperatures_kelvin)}: "
            "thermal expansion needs two temperatures or more; add others."
        )
    if wanted and run.system.supercell is None:
        raise ValueError(
            "the run file has no system.supercell; jaxdiff lattice measures the lattice "
            "constant of rock salt, so give it."
        )
    if run.barostat is not None and not wanted:
        raise ValueError(
            "the run file has a section [barostat]; hops are counted at a fixed cell, so "
            "remove it, or use jaxdiff lattice."
        )


def _tell_trajectory(directory: Path) -> None:
    """The command that makes a file for OVITO, of the hottest replica that kept frames."""
    import shlex

    import h5py
    import numpy as np

    from jaxdiff.analysis.traces import diverged_ps, n_kept

    path = directory / "series.h5"
    with h5py.File(path) as series:
        kept = n_kept(np.asarray(series["positions/time_ps"]), diverged_ps(path, series))
        kelvin = np.where(kept > 0, np.asarray(series["temperature_kelvin"]), -1.0)
    if not kept.any():
        return
    hottest = int(kelvin.argmax())
    file = directory / f"replica{hottest}.lammpstrj"
    words = ["jaxdiff", "export", str(directory), str(file), "--replica", str(hottest)]
    typer.echo(f"To see a trajectory in OVITO: {shlex.join(words)}")


def _report(directory: Path) -> None:
    from jaxdiff.runs import reports

    try:
        path = reports.write(directory)
    except ValueError as error:
        typer.echo(f"The series is complete, but there is no report: {error}", err=True)
        return
    tell(path)
