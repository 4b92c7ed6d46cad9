"""The devices that JAX has, and how many of them an ensemble uses."""

import contextlib
import os
from typing import Any

import jax


def use_every_core() -> int:
    """Number of cores; each becomes a device of the CPU, if JAX has not been used yet.

    There are always two or more, so that a run is compiled in the same way, and rounds in
    the same way, whatever the number of cores.
    Call it before `jaxdiff.md` is imported: jax-md computes while it is imported.
    """
    can_tell = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", max(2, cores))
    return cores


def devices_for(n_replicas: int) -> list[Any]:
    """The devices that share so many replicas: on a CPU two or more, if there are any."""
    devices = jax.devices()
    least = 2 if jax.default_backend() == "cpu" else 1
    return devices[: max(least, n_replicas)]
