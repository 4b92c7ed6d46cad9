"""`jaxdiff model compare`: several models on one crystal at rest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdiff.cli import plain
from jaxdiff.cli.frame import computing
from jaxdiff.cli.options import model_names
from jaxdiff.io.shown import visible
from jaxdiff.stop import BAD_INPUT

if TYPE_CHECKING:
    from rich.console import Console


@computing
def compare(
    model: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Names or files; MODEL:HEAD for one head of several.",
            autocompletion=model_names,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for models.json, .csv and .md.")],
    structure: Annotated[
        Path | None,
        typer.Option(help="Any crystal, in a file that ASE reads; left out: LiF."),
    ] = None,
    supercell: Annotated[
        tuple[int, int, int],
        typer.Option(help="Cells along each axis, for phonons and defects."),
    ] = (2, 2, 2),
    dispersion: Annotated[
        str | None, typer.Option(help="d3bj: DFT-D3(BJ) added to every model.")
    ] = None,
    dispersion_functional: Annotated[
        str | None, typer.Option(help="Functional of the models' data; left out: pbe.")
    ] = None,
) -> None:
    """Lattice, bulk modulus, phonons, barrier, defects and cost of models, in one table.

    A number that the folder has already, of the same file, is not computed again, and the
    table has all models of the folder. A model that fails is told with the reason, and the
    others go on; exit status 2 where all do.
    """
    from jaxdiff.report.models import conditions, rows, sentences, write_models
    from jaxdiff.runs.model_comparison import compare_to_folder, quantities

    asked = _conditions(structure, supercell, dispersion, dispersion_functional)
    with _Follower(len(model) * len(quantities(asked))) as follow:
        content = compare_to_folder(model, asked, out, follow)
    console = plain.console()
    _show(console, conditions(content), *rows(content))
    for line in sentences(content):
        typer.echo(visible(line), err=True)
    for path in write_models(content, out):
        console.print(visible(str(path)), soft_wrap=True)
    if not content["models"]:
        raise typer.Exit(BAD_INPUT)


def _conditions(structure, supercell, dispersion, functional):
    from jaxdiff.io.runfile import CrystalSection, checked
    from jaxdiff.models.dispersion_tables import damping_of
    from jaxdiff.runs.model_comparison import Conditions

    if dispersion not in (None, "d3bj"):
        raise ValueError(
            f"--dispersion {dispersion} is not offered; give d3bj, DFT-D3 with "
            "Becke-Johnson damping, or leave it out."
        )
    if functional is not None:
        if dispersion is None:
            raise ValueError(
                "--dispersion-functional says nothing without dispersion; add "
                "--dispersion d3bj."
            )
        damping_of(functional)
    if structure is None:
        checked(CrystalSection, {"supercell": supercell})
    elif min(supercell) < 1:
        raise ValueError(f"--supercell {supercell}: give three numbers from 1 on.")
    return Conditions(structure, supercell, dispersion, functional)


def _show(console: "Console", title: str, header: list[str], body: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(*plain.cells(*header), title=visible(title))
    for column in table.columns[1:]:
        column.justify = "right"
        column.overflow = "fold"
    for row in body:
        table.add_row(*plain.cells(*row))
    console.print(table)


class _Follower:
    """A clock and a bar on the terminal; elsewhere a line for each number that is found."""

    def __init__(self, total: int):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self.console = Console(stderr=True, markup=False, emoji=False, highlight=False)
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("", total=total)

    def __enter__(self) -> "_Follower":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, label: str, quantity: str, found: dict[str, Any] | None) -> None:
        """See `runs.model_comparison.Report`."""
        if found is None:
            self.bar.update(self.task, description=visible(f"{label}: {quantity}"))
            return
        from jaxdiff.report.models import spoken

        self.bar.advance(self.task)
        line = f"{label}: {spoken(quantity, found)} ({found['seconds']:.0f} s)"
        self.console.print(visible(line), soft_wrap=True)
