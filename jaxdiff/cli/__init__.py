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
from jaxdiff.cli.frame import command
from jaxdiff.cli.init import init
from jaxdiff.cli.label import label, label_unit
from jaxdiff.cli.lattice import lattice
from jaxdiff.cli.loop import loop
from jaxdiff.cli.report import report
from jaxdiff.cli.required import AsksAtOnce
from jaxdiff.cli.schema import schema
from jaxdiff.cli.select import select
from jaxdiff.cli.simulate import simulate

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Diffusion of ions in crystals from machine-learned force fields, in JAX.",
)
app.command()(init)
app.command()(simulate)
app.command(cls=AsksAtOnce)(analyze)
app.command()(report)
app.command()(compare)
app.command(cls=AsksAtOnce)(export)
app.command()(finetune)
app.command()(select)
app.command()(label)
app.command()(loop)
app.command(hidden=True)(label_unit)
app.command()(lattice)
app.command()(barrier)
app.command()(schema)
app.add_typer(campaign.app, name="campaign")
app.add_typer(model.app, name="model")


def _print_version(asked: bool | None) -> None:
    if asked:
        typer.echo(f"jaxdiff {version('jaxdiff')}")
        raise typer.Exit


@app.callback()
@command
def main(
    _version: Annotated[
        bool | None,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = None,
    compilation_cache: Annotated[
        Path | None,
        typer.Option(
            envvar="JAXDIFF_COMPILATION_CACHE",
            metavar="FOLDER",
            help="Folder that keeps compiled programs from run to run.",
        ),
    ] = None,
) -> None:
    """Options of the program itself."""
    if compilation_cache is not None:
        from jaxdiff.devices import keep_programs

        keep_programs(compilation_cache)
