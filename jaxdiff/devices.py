"""The devices that JAX has, and how many of them an ensemble uses."""

import contextlib
import os
from typing import Any

import jax


def use_every_core() -> int:
    """Number of cores; each becomes a device of the CPU, if JAX has not been used yet.

    Call it before `jaxdiff.md` is imported: jax-md computes while it is imported.
    """
    can_tell = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores)
    return cores


def devices_for(n_replicas: int) -> list[Any]:
    """As many devices as can have the same number of replicas each."""
    devices = jax.devices()
    even = [n for n in range(1, n_replicas + 1) if n_replicas % n == 0]
    return devices[: max(n for n in even if n <= len(devices))]
