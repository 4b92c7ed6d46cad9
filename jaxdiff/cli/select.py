"""`jaxdiff select`: which frames to label or to train on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdiff.cli import plain
from jaxdiff.cli.frame import computing
from jaxdiff.io.shown import visible

if TYPE_CHECKING:
    from jaxdiff.finetune.candidates import Request, Selection


@computing
def select(
    frames: Annotated[
        list[Path], typer.Argument(help="Files of frames that ASE reads; no labels needed.")
    ],
    model: Annotated[
        list[str],
        typer.Option(help="A model file or name; for a committee once for each model."),
    ],
    out: Annotated[
        Path, typer.Option(help="extxyz to write; the ranking goes to a .json beside it.")
    ],
    count: Annotated[int | None, typer.Option(help="How many frames to choose.")] = None,
    per_type: Annotated[
        list[str] | None,
        typer.Option(help="Instead of --count, as bulk=5: so many of each config_type."),
    ] = None,
    by: Annotated[
        str,
        typer.Option(help="descriptors: the most different; committee: the most disputed."),
    ] = "descriptors",
    around: Annotated[
        str | None,
        typer.Option(help="Atoms described: all (default), defect, or an element."),
    ] = None,
    radius_angstrom: Annotated[
        float | None,
        typer.Option(help="With --around defect: how far from one; default 4."),
    ] = None,
    mobile: Annotated[
        str | None,
        typer.Option(help="With --around defect: element of the cations; default Li."),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(help="environments (default) of atoms, or frames by their mean."),
    ] = None,
    given: Annotated[
        list[Path] | None,
        typer.Option(help="Frames chosen already, such as the training set."),
    ] = None,
    lowest_ev_per_angstrom: Annotated[
        float | None, typer.Option(help="Committee: least deviation of a force; default 0.")
    ] = None,
    highest_ev_per_angstrom: Annotated[
        float | None,
        typer.Option(help="Committee: largest deviation of a force; default: none."),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Committee: readout head, where models have several.")
    ] = None,
) -> None:
    """Choose the frames that are most different, or that models dispute most."""
    options = dict(locals())
    from jaxdiff.finetune.candidates import choose_frames, write_selection

    request = _request(options)
    selection = choose_frames(request, _track)
    write_selection(request, selection)
    _show(request, selection)


_OF_DESCRIPTORS = ("around", "radius_angstrom", "mobile", "compare", "given")
_OF_COMMITTEE = ("lowest_ev_per_angstrom", "highest_ev_per_angstrom", "head")


def _request(options: dict[str, Any]) -> "Request":
    from jaxdiff.finetune.candidates import (
        COMMITTEE,
        DESCRIPTORS,
        ENVIRONMENTS,
        Request,
    )
    from jaxdiff.finetune.environments import ALL, DEFECT, Around

    for by, names in ((COMMITTEE, _OF_DESCRIPTORS), (DESCRIPTORS, _OF_COMMITTEE)):
        for name in names:
            if options["by"] == by and options[name] is not None:
                raise ValueError(
                    f"--{name.replace('_', '-')} says nothing with --by {by}; leave it out."
                )
    if options["around"] != DEFECT:
        for name in ("radius_angstrom", "mobile"):
            if options[name] is not None:
                raise ValueError(
                    f"--{name.replace('_', '-')} belongs to --around defect; leave it out."
                )

    def value(name: str, default: Any) -> Any:
        return default if options[name] is None else options[name]

    return Request(
        frames=tuple(options["frames"]),
        models=tuple(options["model"]),
        out=options["out"],
        count=options["count"],
        quota=tuple(_quota(entry) for entry in options["per_type"] or ()),
        by=options["by"],
        around=Around(
            atoms=value("around", ALL),
            radius=value("radius_angstrom", 4.0),
            mobile=value("mobile", "Li"),
        ),
        compare=value("compare", ENVIRONMENTS),
        given=tuple(options["given"] or ()),
        lowest=value("lowest_ev_per_angstrom", 0.0),
        highest=value("highest_ev_per_angstrom", float("inf")),
        head=value("head", None),
    )


def _quota(entry: str) -> tuple[str, int]:
    kind, equals, number = entry.rpartition("=")
    if not (equals and kind and number.isdigit() and int(number) > 0):
        raise ValueError(f"--per-type {entry} is not of the form bulk=5.")
    return kind, int(number)


def _track(things: Any, what: str) -> Any:
    """A progress bar, where there is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(things, what, console=console, disable=not console.is_terminal)


def _show(request: "Request", selection: "Selection") -> None:
    from rich.table import Table

    console = plain.console()
    value = "deviation\neV/Å" if request.by == "committee" else "distance"
    table = Table("rank", "file", "frame", "config_type", value)
    for row in selection.rows():
        number = row["value"]
        table.add_row(
            str(row["rank"]),
            *plain.cells(row["file"], row["frame"], row["config_type"]),
            "start" if number is None else f"{number:.4g}",
        )
    console.print(table)
    for line in (*selection.notes, f"wrote {request.out} and {request.ranking}"):
        console.print(visible(line), soft_wrap=True)
