"""`jaxdiff model`: look at, convert, export and fetch model files."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Look at, convert, export and fetch models.")

BAD_INPUT = 2


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a model.")],
) -> None:
    """Show what a model is: elements, cutoff, layers, parameters, provenance."""
    with _one_line_errors():
        from jaxdiff import checkpoints

        with checkpoints.locate(model) as path:
            native = not checkpoints.is_mace_torch(path)
            loaded = checkpoints.load(path)
            provenance = checkpoints.read_header(path).provenance if native else {}
        if model in checkpoints.FOUNDATIONS:
            foundation = checkpoints.FOUNDATIONS[model]
            provenance = {
                "license": foundation.license,
                "trained_on": foundation.trained_on,
            }
        rows = _describe(loaded) | {k: str(v) for k, v in provenance.items()}
        _print_table(model, rows)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A .model file, or the name of a model.")],
    target: Annotated[Path, typer.Argument(help="The file to write, *.safetensors.")],
    species: Annotated[
        str | None, typer.Option(help="Keep these elements only, as in Li,F (exact).")
    ] = None,
) -> None:
    """Write a model in the native format."""
    with _one_line_errors():
        from jaxdiff import checkpoints

        numbers = None if species is None else _atomic_numbers(species)
        with checkpoints.locate(source) as path:
            loaded = checkpoints.load(path)
            provenance = _provenance(source, path)
        if numbers is not None:
            loaded = checkpoints.restrict(loaded, numbers)
        checkpoints.save_native(target, loaded, provenance)
        count = checkpoints.count_parameters(loaded)
        typer.echo(f"wrote {target}: {count:,} parameters")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a model.")],
    target: Annotated[Path, typer.Argument(help="The file to write, *.model.")],
    like: Annotated[
        str | None,
        typer.Option(
            help="Refuse unless the model has the architecture of this one, species and "
            "heads aside, as after fine-tuning; nothing in the file is executed."
        ),
    ] = None,
    head: Annotated[str | None, typer.Option(help="Keep this head only (exact).")] = None,
) -> None:
    """Write a model for mace-torch, as its ASE calculator and its LAMMPS tool read it.

    Needs mace-torch: pip install 'jaxdiff[oracle]'.
    """
    with _one_line_errors():
        from jaxdiff import checkpoints

        loaded = checkpoints.load(model)
        if like is not None:
            checkpoints.require_like(loaded, checkpoints.load(like), like)
        if head is not None:
            loaded = checkpoints.restrict_heads(loaded, [head])
        dtype = checkpoints.save_mace_torch(target, loaded)
        heads = ", ".join(loaded.architecture.heads)
        typer.echo(f"wrote {target}: {dtype}, heads {heads}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name from `jaxdiff model list`.")],
    accept_asl: Annotated[
        bool, typer.Option("--accept-asl", help="My use is academic and non-commercial.")
    ] = False,
    sha256: Annotated[
        str | None, typer.Option(help="The file must have this SHA-256.")
    ] = None,
) -> None:
    """Download a published model to the cache and print where it is."""
    with _one_line_errors():
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

        from jaxdiff import checkpoints

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

            path = checkpoints.fetch(
                name, sha256=sha256, accept_asl=accept_asl, progress=show
            )
        typer.echo(path)


@app.command("list")
def list_models() -> None:
    """List the models that can be used by name."""
    from rich.console import Console
    from rich.table import Table

    from jaxdiff import checkpoints

    table = Table("name", "licence", "trained on", "fetched")
    table.add_row(checkpoints.DEFAULT, "MIT", "LiF", "in the package")
    for name, foundation in checkpoints.FOUNDATIONS.items():
        with _one_line_errors():
            here = "yes" if checkpoints.cached(name) else ""
        table.add_row(name, foundation.license, foundation.trained_on, here)
    Console().print(table)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """An error that the user can mend: one line on stderr, exit code 2."""
    from jaxdiff.checkpoints import CheckpointError

    try:
        yield
    except (CheckpointError, ValueError, OSError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(BAD_INPUT) from None


def _describe(model: Any) -> dict[str, str]:
    """Property -> text."""
    from ase.data import chemical_symbols

    from jaxdiff.checkpoints import count_parameters

    arch = model.architecture
    elements = " ".join(chemical_symbols[z] for z in arch.atomic_numbers)
    irreps = (
        " + ".join(f"{arch.channels}x{ell}{'eo'[ell % 2]}" for ell in degrees)
        for degrees in arch.hidden
    )
    rows = {
        "class": "ScaleShiftMACE" if arch.scale_shift else "MACE",
        "elements": f"{len(arch.atomic_numbers)}: {elements}",
        "cutoff": f"{arch.cutoff:g} Å",
        "radial": f"{arch.num_bessel} Bessel functions, envelope power {arch.cutoff_power}"
        + (", Agnesi transform" if arch.agnesi else ""),
        "repulsion": "none" if arch.zbl_power is None else "ZBL",
        "harmonics": f"l <= {arch.max_ell}",
    }
    for i, (text, kind) in enumerate(zip(irreps, arch.interactions, strict=True)):
        rows[f"layer {i}"] = f"{text}, correlation {arch.correlation[i]}, {kind}"
    for head, energies in zip(arch.heads, model.constants["atomic_energies"], strict=True):
        low, high = float(energies.min()), float(energies.max())
        rows[f"E0, head {head}"] = f"{low:.6g} to {high:.6g} eV"
    rows["parameters"] = f"{count_parameters(model):,}"
    rows["dtype"] = str(model.weights["embedding"].dtype)
    return rows


def _print_table(title: str, rows: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("")
    table.add_column(title, overflow="fold")
    for name, text in rows.items():
        table.add_row(name, text)
    Console().print(table)


def _provenance(source: str, path: Path) -> dict[str, Any]:
    """What a converted file remembers of its source."""
    from jaxdiff import checkpoints

    found: dict[str, Any] = {}
    if not checkpoints.is_mace_torch(path):
        found |= checkpoints.read_header(path).provenance
    with path.open("rb") as file:
        found |= {
            "source": path.name,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }
    if source in checkpoints.FOUNDATIONS:
        foundation = checkpoints.FOUNDATIONS[source]
        found |= {"license": foundation.license, "trained_on": foundation.trained_on}
    return found


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
