"""Arguments and options that several commands have, and what the shell completes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer


def _run_files(incomplete: str) -> Iterator[str]:
    """TOML files, and folders that may have some; a shell completes other files itself."""
    folder, _, begin = incomplete.rpartition("/")
    place = Path(f"{folder}/") if "/" in incomplete else Path()
    for path in sorted(place.glob(f"{begin}*")) if place.is_dir() else []:
        text = incomplete.removesuffix(begin) + path.name
        if path.is_dir() and not path.name.startswith("."):
            yield f"{text}/"
        elif path.suffix == ".toml":
            yield text


def model_names(incomplete: str) -> list[str]:
    """Names of models that begin so."""
    from jaxdiff.published import DEFAULT, FOUNDATIONS

    return [name for name in (DEFAULT, *FOUNDATIONS) if name.startswith(incomplete)]


RunToml = Annotated[
    Path,
    typer.Argument(
        metavar="RUN.toml", help="The run file (TOML).", autocompletion=_run_files
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the run file: --set production.duration_ps=10.",
    ),
]
RunDir = Annotated[
    Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run, with series.h5.")
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model file, or the name of a model.",
        autocompletion=model_names,
    ),
]
Mobile = Annotated[str, typer.Option(metavar="ELEMENT", help="Element that moves.")]
