"""`jaxdiff barrier`: barriers of jumps by nudged elastic bands."""

from pathlib import Path

import typer

from jaxdiff.cli.frame import computing
from jaxdiff.cli.options import Changes, RunToml
from jaxdiff.stop import BAD_INPUT

FIGURE = "barriers.png"


@computing
def barrier(
    run_file: RunToml,
    changes: Changes = None,
) -> None:
    """Find the barriers of jumps by nudged elastic bands.

    Writes barriers.json, the minima, bands and saddles, and a figure. Where a path has no
    barrier the reason is given, and the others go on; exit code 2 where none has one.
    """
    from jaxdiff.io import barrierfile
    from jaxdiff.report.figures import barriers, save
    from jaxdiff.runs.barriers import diffusion, search_to_folder

    run = barrierfile.load(run_file, changes or [])
    found = search_to_folder(run, _say)
    figure, *_ = save(barriers(found), Path(run.output.directory) / FIGURE)
    for defect, result in diffusion(run, found).items():
        _say_diffusion(defect, result)
    typer.echo(figure)
    if all("failed" in entry for entry in found.values()):
        raise typer.Exit(BAD_INPUT)


def _say(name: str, entry: dict) -> None:
    if "failed" in entry:
        typer.echo(f"no barrier: {entry['failed']}", err=True)
        return
    error = entry.get("forward_model_error_ev")
    known = "" if error is None else f" ± {error:.4f} (model)"
    lowest = entry["lowest_frequencies_thz"][0]
    prefactor = entry.get("prefactor_thz")
    tries = "" if prefactor is None else f", prefactor {prefactor:.2f} THz"
    typer.echo(
        f"{name}: {entry['forward_ev']:.4f}{known} eV forward, "
        f"{entry['backward_ev']:.4f} eV backward; "
        f"one imaginary mode, {-lowest:.2f} THz{tries}; "
        f"{entry['force_calls']} force calls, {entry['seconds']:.0f} s"
    )
    if "no_prefactor" in entry:
        typer.echo(f"{name}: no prefactor: {entry['no_prefactor']}", err=True)


def _say_diffusion(defect: str, result: dict) -> None:
    typer.echo(f"{defect} ({', '.join(result['paths'])}), harmonic:")
    for row in result["rows"]:
        typer.echo(
            f"  {row['temperature_kelvin']:g} K: D_def "
            f"{row['defect_diffusivity_cm2_per_s']:.3g} cm²/s, Ea "
            f"{row['activation_energy_ev']:.4f} eV"
        )
