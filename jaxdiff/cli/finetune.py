"""`jaxdiff finetune`: from labelled frames to a model file and its error table."""

from pathlib import Path
from typing import Annotated

import typer

BAD_INPUT, DIVERGED = 2, 3


def finetune(
    run_file: Annotated[Path, typer.Argument(help="The run file (TOML).")],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder that data paths are relative to; else the run file's."),
    ] = None,
) -> None:
    """Train a MACE model; resumes by itself when the run was interrupted."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")

    from jaxdiff.io.trainfile import read_train_file

    try:
        run = read_train_file(run_file, data)
        _train(run)
    except FloatingPointError as error:
        typer.echo(f"diverged: {error}", err=True)
        raise typer.Exit(DIVERGED) from None
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None


def _train(run) -> None:
    import dataclasses
    import hashlib
    import json

    from rich.console import Console

    from jaxdiff.checkpoints import save_native
    from jaxdiff.finetune import Keys, error_table, read_frames, train

    console = Console()
    model = train(run, lambda record: console.print(_line(record), highlight=False))
    data = run.data
    files = [*data.train, *data.valid]
    provenance = {
        "run_file": run.model_dump_json(exclude={"directory", "data"}),
        "data_sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
    }
    target = run.directory / "model.safetensors"
    save_native(target, model, provenance)

    keys = Keys(data.energy_key, data.forces_key, data.stress_key)
    sets = {"valid": data.valid, **data.test}
    rows = error_table(model, {name: read_frames(p, keys) for name, p in sets.items()})
    records = [dataclasses.asdict(row) for row in rows]
    (run.directory / "errors.json").write_text(json.dumps(records, indent=1) + "\n")
    console.print(_table(rows))
    console.print(f"model: {target}", highlight=False)


def _line(record: dict) -> str:
    return (
        f"epoch {record['epoch']:4d}  loss {record['train_loss']:.5f}  "
        f"valid: energy {record['energy_rmse']:.2f} meV/atom, "
        f"forces {record['forces_rmse']:.1f} meV/Å, "
        f"stress {record['stress_rmse']:.2f} meV/Å^3  "
        f"rate {record['learning_rate']:.2e}  {record['seconds']:.0f} s"
    )


def _table(rows):
    from rich.table import Table

    table = Table("set", "frames", "energy\nmeV/atom", "forces\nmeV/Å", "stress\nmeV/Å^3")
    for row in rows:
        numbers = (row.energy_rmse, row.forces_rmse, row.stress_rmse)
        table.add_row(row.name, str(row.frames), *(f"{n:.2f}" for n in numbers))
    return table
