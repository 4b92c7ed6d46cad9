"""What a report says first, on the terminal."""

import json
from pathlib import Path

import typer

from jaxdiff.io.shown import visible


def tell(report: Path) -> None:
    """The first lines of a report (its HTML file), and where it is."""
    record = json.loads(report.with_name("report.json").read_text("utf-8"))
    for line in record["answer"]:
        typer.echo(visible(line))  # it may name files
    typer.echo(report)
