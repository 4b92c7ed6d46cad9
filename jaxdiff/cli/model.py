"""`jaxdiff model`: look at, convert, export and fetch model files."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxdiff.cli import plain
from jaxdiff.cli.compare_models import compare
from jaxdiff.cli.frame import command
from jaxdiff.cli.options import Model, model_names
from jaxdiff.io.shown import visible

app = typer.Typer(
    no_args_is_help=True, help="Inspect, compare, convert, export and fetch models."
)
app.command()(compare)


@app.command()
@command
def info(model: Model) -> None:
    """Show what a model is: elements, cutoff, layers, parameters, provenance."""
    from jaxdiff import checkpoints

    with checkpoints.locate(model) as path:
        native = checkpoints.is_native(path)
        loaded = checkpoints.load(path)
        provenance = checkpoints.read_header(path).provenance if native else {}
        digest = {} if not native else {"digest": _digest(path)}
    provenance |= _published(model, path)
    rows = _describe(loaded) | digest | {k: str(v) for k, v in provenance.items()}
    _print_table(model, rows)


@app.command()
@command
def convert(
    source: Model,
    target: Annotated[
        Path,
        typer.Argument(metavar="TARGET", help="The file to write, NAME.safetensors."),
    ],
    species: Annotated[
        str | None,
        typer.Option(
            metavar="ELEMENTS",
            help="Keep these only, such as Li,F: smaller, with the same energies.",
        ),
    ] = None,
) -> None:
    """Write a model in the native format."""
    from jaxdiff import checkpoints

    numbers = None if species is None else _atomic_numbers(species)
    with checkpoints.locate(source) as path:
        loaded = checkpoints.load(path)
        provenance = _provenance(source, path)
    if numbers is not None:
        loaded = loaded.restrict(numbers)
    checkpoints.save_native(target, loaded, provenance)
    count = checkpoints.count_parameters(loaded)
    typer.echo(f"wrote {target}: {count:,} parameters")


@app.command()
@command
def export(
    model: Model,
    target: Annotated[
        Path,
        typer.Argument(metavar="TARGET", help="The file to write, NAME.model or NAME.dp."),
    ],
    like: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Refuse unless the model has the architecture of this one, species and "
            "heads aside, as after fine-tuning; nothing in the file is executed.",
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep this head only.")
    ] = None,
) -> None:
    """Write a model for the program that its kind comes from.

    A MACE model is written as mace-torch's ASE calculator and its LAMMPS tool read it
    (NAME.model; needs mace-torch: pip install 'jaxdiff[oracle]'), a DeepPot-SE model for
    DeePMD-kit (NAME.dp).
    """
    from jaxdiff import checkpoints

    loaded = checkpoints.load(model)
    if like is not None:
        checkpoints.require_like(loaded, checkpoints.load(like), like)
    if head is not None:
        loaded = loaded.restrict_heads([head])
    dtype = checkpoints.save(target, loaded)
    heads = ", ".join(loaded.heads)
    typer.echo(f"wrote {target}: {dtype}, heads {heads}")


@app.command()
@command
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name from `jaxdiff model list`.",
            autocompletion=model_names,
        ),
    ],
    accept_asl: Annotated[
        bool, typer.Option("--accept-asl", help="My use is academic and non-commercial.")
    ] = False,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The file must have this SHA-256."),
    ] = None,
) -> None:
    """Download a published model into the cache, and print where it is."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    from jaxdiff import checkpoints
    from jaxdiff.checkpoints import registry

    columns = (
        *Progress.get_default_columns(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(stderr=True)  # stdout is for the path alone
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(name, total=None)
    with contextlib.ExitStack() as stack:

        def show(received: int, expected: int | None) -> None:
            if not bar.live.is_started:  # nothing is shown when nothing is transferred
                stack.enter_context(bar)
            bar.update(task, completed=received, total=expected)

        path = checkpoints.fetch(name, sha256=sha256, accept_asl=accept_asl, progress=show)
        if sha256 is None and (note := registry.warrant(name, path)):
            typer.echo(note, err=True)
    typer.echo(path)


@app.command("list")
@command
def list_models() -> None:
    """List the models that can be used by name."""
    from rich.table import Table

    from jaxdiff import checkpoints

    table = Table("name", "licence", "trained on", "fetched")
    table.add_row(checkpoints.DEFAULT, "MIT", "LiF", "in the package")
    for name, foundation in checkpoints.FOUNDATIONS.items():
        here = "yes" if checkpoints.cached(name) else ""
        table.add_row(name, foundation.license, foundation.trained_on, here)
    plain.console().print(table)


def _describe(model: Any) -> dict[str, str]:
    """Property -> text."""
    from jaxdiff.checkpoints import count_parameters
    from jaxdiff.published import HEADS

    rows = dict(model.describe())
    for head, energies in zip(model.heads, model.isolated, strict=True):
        low, high = float(energies.min()), float(energies.max())
        meant = f"{HEADS[head]}; " if head in HEADS else ""
        rows[f"head {head}"] = f"{meant}E0 {low:.6g} to {high:.6g} eV"
    rows["parameters"] = f"{count_parameters(model):,}"
    rows["dtype"] = str(model.dtype)
    return rows


def _digest(path: Path) -> str:
    from jaxdiff.io import digest

    if digest.verify(path):
        return "its own SHA-256 is right"
    return "none: from before files had one, so damage may go unseen"


def _print_table(title: str, rows: dict[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("")
    table.add_column(Text(visible(title)), overflow="fold")
    for name, text in rows.items():
        table.add_row(*plain.cells(name, text))
    plain.console().print(table)


def _provenance(source: str, path: Path) -> dict[str, Any]:
    """What a converted file remembers of its source."""
    from jaxdiff import checkpoints
    from jaxdiff.io.provenance import sha256

    found: dict[str, Any] = {}
    if checkpoints.is_native(path):
        found |= checkpoints.read_header(path).provenance
    found |= {"source": path.name, "sha256": sha256(path)}
    return found | _published(source, path)


def _published(name: str, path: Path) -> dict[str, str]:
    """What upstream says of a model by name, if the file is known to be that model."""
    from jaxdiff.checkpoints import FOUNDATIONS, registry

    if name not in FOUNDATIONS or Path(name).is_file():
        return {}
    foundation = FOUNDATIONS[name]
    if not registry.is_published(name, path):
        meant = f"{foundation.trained_on}, {foundation.license}"
        origin = f"{path} was put there by hand; nothing says that it is {name}"
        return {"origin": origin, "the name means": meant}
    return {"license": foundation.license, "trained_on": foundation.trained_on}


def _atomic_numbers(species: str) -> list[int]:
    from ase.data import atomic_numbers

    symbols = [symbol.strip() for symbol in species.split(",")]
    unknown = [symbol for symbol in symbols if atomic_numbers.get(symbol, 0) == 0]
    if unknown:
        raise ValueError(
            f"--species {species}: {', '.join(map(repr, unknown))} is no chemical symbol. "
            "Give symbols with commas, as in Li,F."
        )
    return [atomic_numbers[symbol] for symbol in symbols]
