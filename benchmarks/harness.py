"""What benchmarks share: MACE-MPA-0's architecture, processes of their own, records."""

import datetime
import json
import multiprocessing
import os
import platform
import resource
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def architecture():
    """MACE-MPA-0's (medium), for Li and F."""
    from jaxdiff.models.architecture import Architecture

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


def start():
    """A model of that architecture with random weights."""
    import jax
    import jax.numpy as jnp

    from jaxdiff.models.initial import initialize

    return initialize(
        architecture(),
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
    from jaxdiff.checkpoints.to_mace_torch import save_mace_torch

    save_mace_torch(path, start())


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def peak_gib() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "cores": n_cores(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in packages},
    }


def append(path: Path, record: dict) -> None:
    """One more line of a file of records; what is there stays."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
