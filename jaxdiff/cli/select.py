"""`jaxdiff select`: which frames to label or to train on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdiff.cli import plain
from jaxdiff.cli.frame import computing
from jaxdiff.cli.options import model_names
from jaxdiff.io.shown import visible

if TYPE_CHECKING:
    from jaxdiff.finetune.candidates import Request, Selection


Frames = Annotated[
    list[Path],
    typer.Argument(metavar="FRAMES", help="Files that ASE reads; labels are not needed."),
]
Models = Annotated[
    list[str],
    typer.Option(
        metavar="MODEL",
        help="A model file, or the name of a model; for a committee once for each.",
        autocompletion=model_names,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        metavar="FILE", help="extxyz to write; a .json beside it has the ranking."
    ),
]
Count = Annotated[int | None, typer.Option(metavar="N", help="How many frames to choose.")]
PerType = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TYPE=N",
        help="In place of --count, such as bulk=5: so many of each config_type.",
    ),
]
By = Annotated[
    str,
    typer.Option(
        metavar="descriptors|committee",
        help="The frames that differ most, or those on which models disagree most.",
    ),
]
Atoms = Annotated[
    str | None,
    typer.Option(
        metavar="ATOMS",
        help="Atoms that are compared: all (default), defect, or an element.",
    ),
]
Radius = Annotated[
    float | None,
    typer.Option(
        metavar="ANGSTROM",
        help="With --around defect: how far from one, Å. Default: 4.",
    ),
]
Mobile = Annotated[
    str | None,
    typer.Option(
        metavar="ELEMENT", help="With --around defect: of the cations. Default: Li."
    ),
]
Compared = Annotated[
    str | None,
    typer.Option(
        metavar="environments|frames",
        help="Compare environments of atoms (default), or frames by their mean.",
    ),
]
Given = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Frames chosen already, such as the training set."),
]
Lowest = Annotated[
    float | None,
    typer.Option(
        metavar="FORCE",
        help="Committee: smallest deviation of a force, eV/Å. Default: 0.",
    ),
]
Highest = Annotated[
    float | None,
    typer.Option(
        metavar="FORCE",
        help="Committee: largest deviation of a force, eV/Å. Default: any.",
    ),
]
Head = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Committee: the head, where models have several."),
]


@computing
def select(
    frames: Frames,
    model: Models,
    out: Out,
    count: Count = None,
    per_type: PerType = None,
    by: By = "descriptors",
    around: Atoms = None,
    radius_angstrom: Radius = None,
    mobile: Mobile = None,
    compare: Compared = None,
    given: Given = None,
    lowest_ev_per_angstrom: Lowest = None,
    highest_ev_per_angstrom: Highest = None,
    head: Head = None,
) -> None:
    """Choose frames to label: those that differ most, or on which models disagree most."""
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
