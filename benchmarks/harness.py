"""What benchmarks share: MACE-MPA-0's architecture, processes of their own, records."""

import datetime
import json
import multiprocessing
import os
import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

Record = Annotated[
    Path | None, typer.Argument(help="JSON file to write the record to; none: only print.")
]
Records = Annotated[
    Path | None,
    typer.Argument(help="File of records, one a line, to add to; none: only print."),
]
Tiny = Annotated[
    bool, typer.Option("--tiny", help="As small as it goes: a test that it works.")
]
"""Arguments that benchmarks share."""


def one_of(sizes: Collection[int]) -> Callable:
    """A callback of typer that refuses numbers of atoms which there are not."""

    def check(given: int | list[int]) -> int | list[int]:
        for n_atoms in given if isinstance(given, list) else [given]:
            if n_atoms not in sizes:
                known = ", ".join(map(str, sizes))
                raise typer.BadParameter(f"{n_atoms} is none of {known}.")
        return given

    return check


def architecture():
    """MACE-MPA-0's (medium), for Li and F."""
    from jaxdiff.models.mace.architecture import Architecture

    return Architecture(
        scale_shift=True,
        atomic_numbers=(3, 9),
        heads=("default",),
        cutoff=6.0,
        num_bessel=10,
        cutoff_power=5,
        max_ell=3,
        channels=128,
        hidden=((0, 1), (0,)),
        correlation=(3, 3),
        interactions=(
            "RealAgnosticDensityInteractionBlock",
            "RealAgnosticDensityResidualInteractionBlock",
        ),
        radial_mlp=(64, 64, 64),
        mlp_channels=16,
        agnesi=True,
        zbl_power=5,
        average_neighbors=1.0,
    )


def start(of=None):
    """A model of that architecture, or of another for Li and F, with random weights."""
    import jax
    import jax.numpy as jnp

    from jaxdiff.models.mace.initial import initialize

    return initialize(
        of or architecture(),
        jax.random.key(0),
        atomic_energies=np.zeros((1, 2)),
        scale=0.8,
        shift=0.0,
        dtype=jnp.float32,
    )


def quiet():
    """The same with weak forces, so that atoms stay about where they are."""
    import dataclasses

    model = start()
    scale = 1e-3 * np.asarray(model.constants["scale"])
    return dataclasses.replace(model, constants={**model.constants, "scale": scale})


def write_start(path: Path) -> None:
    """`start` as a file of mace-torch."""
    from jaxdiff.checkpoints.mace.to_torch import save_mace_torch

    save_mace_torch(path, start())


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def peak_gib() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def now_gib() -> float:
    """Memory of this process at present, on Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def alone(program, *arguments) -> Any:
    """What a program returns in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, program, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _report(connection, program, arguments) -> None:
    connection.send(program(*arguments))


def provenance(*packages: str) -> dict:
    """Where and when a record was made."""
    commit = ""
    if shutil.which("git"):
        command = ["git", "rev-parse", "--short", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        commit = done.stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "cores": n_cores(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in packages},
    }


def write(path: Path, record: dict) -> None:
    """A file of one record, in place of what was there."""
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def finish(record: Path | None, found: dict, start: float) -> None:
    """Add what it took and what it was taken with, and write it where a file is named.

    - `start`: `time.perf_counter()` at the start.
    """
    found["wall_s"] = round(time.perf_counter() - start, 1)
    found["versions"] = {name: version(name) for name in ("numpy", "scipy")}
    if record is not None:
        write(record, found)


def append(path: Path, record: dict) -> None:
    """One more line of a file of records; what is there stays."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
