"""The devices that JAX has, how many an ensemble uses, where programs for them are kept."""

import contextlib
import os
import stat
from pathlib import Path
from typing import Any

import jax

SLURM_CORES = "SLURM_CPUS_PER_TASK"
"""How many cores Slurm gives to each task of a job, where that was asked for."""
_XLA_THREADS = "NPROC"  # of the pool of a CPU client, in place of the cores it is bound to


def given_cores() -> int:
    """Number of cores that this process may use: bound to it, or by Slurm's count.

    Slurm binds a task to its cores where it is set up so; elsewhere it only counts them.
    """
    can_tell = hasattr(os, "sched_getaffinity")
    bound = len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1
    counted = os.environ.get(SLURM_CORES, "")
    return min(bound, int(counted)) if counted.isdecimal() and int(counted) else bound


def use_every_core() -> int:
    """Number of cores; each becomes a device of the CPU, if JAX has not been used yet.

    There are always two or more, so that a run is compiled in the same way, and rounds in
    the same way, whatever the number of cores.
    Call it before `jaxdiff.md` is imported: jax-md computes while it is imported.
    """
    cores = given_cores()
    os.environ.setdefault(_XLA_THREADS, str(cores))
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", max(2, cores))
    return cores


def devices_for(n_replicas: int) -> list[Any]:
    """The devices that share so many replicas: on a CPU two or more, if there are any."""
    devices = jax.devices()
    least = 2 if jax.default_backend() == "cpu" else 1
    return devices[: max(least, n_replicas)]


def keep_programs(directory: str | Path) -> None:
    """Keep compiled programs in a directory and take them from there, in later runs, too.

    Programs are run as they are found, so the directory must be the user's own: it is made
    so where it is missing. They are for one kind of machine and one version of JAX.

    Raises ValueError where others own it or can write to it, or where it cannot be made.
    """
    path = Path(directory).expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be made to keep compiled programs ({error.strerror}); give a "
            "directory in a place that you can write to."
        ) from None
    is_ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    open_above = any(
        above.stat().st_mode & stat.S_IWOTH and not above.stat().st_mode & stat.S_ISVTX
        for above in path.resolve().parents
    )
    if not is_ours or open_above or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError(
            f"{path} is not yours or can be written by others, or replaced in a folder "
            "above it, and their programs would be run; give a directory that you alone "
            "own and can write to (chmod 700)."
        )
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(path)  # of processes that we start
    jax.config.update("jax_compilation_cache_dir", str(path))
