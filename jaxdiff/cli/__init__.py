"""The command line: `jaxdiff`."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.cli import campaign, model
from jaxdiff.cli.analyze import analyze
from jaxdiff.cli.barrier import barrier
from jaxdiff.cli.compare import compare
from jaxdiff.cli.export import export
from jaxdiff.cli.finetune import finetune
from jaxdiff.cli.lattice import lattice
from jaxdiff.cli.report import report
from jaxdiff.cli.select import select
from jaxdiff.cli.simulate import simulate

BAD_INPUT = 2

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Lithium diffusion from MACE force fields in JAX.",
)
app.command()(simulate)
app.command()(analyze)
app.command()(report)
app.command()(compare)
app.command()(export)
app.command()(finetune)
app.command()(select)
app.command()(lattice)
app.command()(barrier)
app.add_typer(campaign.app, name="campaign")
app.add_typer(model.app, name="model")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"jaxdiff {version('jaxdiff')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    compilation_cache: Annotated[
        Path | None,
        typer.Option(
            envvar="JAXDIFF_COMPILATION_CACHE",
            help="Directory of your own that keeps compiled programs from run to run.",
        ),
    ] = None,
) -> None:
    """Options of the program itself."""
    if compilation_cache is not None:
        from jaxdiff.devices import keep_programs

        try:
            keep_programs(compilation_cache)
        except ValueError as error:
            typer.echo(f"jaxdiff: {error}", err=True)
            raise typer.Exit(BAD_INPUT) from None
