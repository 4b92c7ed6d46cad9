"""How many replicas a device computes at once, by the memory that the program needs."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxdiff import md
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.shown import counted

_USABLE = 0.85  # of the memory of a device that is free
_ATOM_BYTES = 2000  # of state and neighbour lists, at the least
_WORKING_BYTES = 10_000  # per atom of the replica that is computed, at the least
_POSITION_BYTES = 12  # of an atom in a frame that is kept


@dataclass(frozen=True)
class Memory:
    """Of one device, in bytes.

    - `state`: a replica's arrays between chunks. `working`: what a group needs while it is
      computed, beside them; 0 where the compiler does not say.
    - `group_size`: replicas in a group.
    """

    state: int = 0
    working: int = 0
    group_size: int = 1

    def words(self, n_replicas: int, n_devices: int) -> str:
        """In words, for all replicas; cores share a memory, other devices do not."""
        own = self.total(-(-n_replicas // n_devices))
        on_cpu = jax.default_backend() == "cpu"
        return (
            f"{_size(self.state)} per replica, {_size(self.working)} to compute "
            f"{counted(self.group_size, 'replica')} at a time; "
            + (f"{_size(n_devices * own)} in all" if on_cpu else f"{_size(own)} per device")
        )

    def total(self, n_replicas: int) -> int:
        """Of a device with so many replicas: their arrays before and after a chunk, too."""
        return 2 * n_replicas * self.state + self.working


class OutOfMemory(RuntimeError):
    """A device has less memory than the run needs."""


def require_room(run: RunFile, n_atoms: int) -> None:
    """An error, before any memory is taken, for a run that no part of this machine holds.

    The estimate is a lower bound: what lists and state of an atom take, and what one
    replica needs while it is computed.

    - `n_atoms`: of a replica.
    """
    system, replicas = run.system, run.n_all_replicas
    kept = replicas * run.hops.crossings_per_chunk * n_atoms * _POSITION_BYTES
    least = n_atoms * (replicas * _ATOM_BYTES + _WORKING_BYTES) + kept
    if least > (there := host_bytes()):
        key = "repeat" if system.supercell is None else "supercell"
        raise ValueError(
            f"system.{key} = {list(getattr(system, key))} and {replicas} replicas are "
            f"{n_atoms:.3g} atoms {replicas:.3g} times, which need {least / 1e9:.3g} GB or "
            f"more; this machine has {there / 1e9:.3g} GB. Give a smaller {key}, or "
            "fewer replicas (ensemble.replicas_per_temperature, hops.crossings_per_chunk)."
        )


def host_bytes() -> int:
    """Memory of the machine; without limit where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def choose_group(
    plan: md.Plan,
    make_program: Callable[[md.Plan], Any],
    params: Any,
    conditions: md.Conditions,
    state: md.EnsembleState,
    *,
    n_devices: int,
    asked: int | None = None,
    available: int | None = None,
) -> tuple[md.Plan, Any, Memory]:
    """The plan with its group size, its program, and the memory that they need.

    On a CPU a group is one replica, which is fastest and exact. Elsewhere the largest
    divisor of a device's replicas whose program fits is taken; the programs are compiled to
    know, the largest first.

    - `asked`: the size, where the user chose it. `available`: memory of a device, bytes;
      None: what the device says, or without limit.
    """
    own = -(-state.n_replicas // n_devices)
    if asked is not None and own % asked:
        raise ValueError(
            f"ensemble.group_size = {asked} does not divide the {own} replicas of each of "
            f"{n_devices} devices; use a divisor of {own}."
        )
    sizes = [asked] if asked else [n for n in range(own, 0, -1) if own % n == 0]
    if jax.default_backend() == "cpu" and not asked and available is None:
        sizes = [1]
    available = _free_bytes() if available is None else available
    per_replica = sum(x.nbytes for x in jax.tree.leaves(state)) // state.n_replicas
    if available is None:
        chosen = replace(plan, group_size=sizes[0])
        return chosen, make_program(chosen), Memory(per_replica, 0, sizes[0])
    working = 0
    for size in sizes:
        chosen = replace(plan, group_size=size)
        program = make_program(chosen)
        working = _working_bytes(program, chosen, params, conditions, state)
        if 2 * own * per_replica + working < _USABLE * available:
            return chosen, program, Memory(per_replica, working, size)
    raise OutOfMemory(
        f"{own} replicas of {state.motion.position.shape[1]} atoms need "
        f"{(2 * own * per_replica + working) / 1e9:.2f} GB even in groups of {sizes[-1]}, "
        f"but the device has {available / 1e9:.2f} GB. Run fewer replicas at once "
        "(ensemble.replica_range, or jaxdiff campaign), or a smaller supercell."
    )


def measured(
    used: Memory,
    plan: md.Plan,
    program: Any,
    params: Any,
    conditions: md.Conditions,
    state: md.EnsembleState,
    n_devices: int,
) -> Memory:
    """With what the compiler says where it was not asked yet: on a CPU.

    Raises `OutOfMemory` where the machine has less.
    """
    if used.working:
        return used
    found = replace(used, working=_working_bytes(program, plan, params, conditions, state))
    own = -(-state.n_replicas // n_devices)
    needed = n_devices * found.total(own)
    if jax.default_backend() == "cpu" and needed > _USABLE * host_bytes():
        raise OutOfMemory(
            f"{counted(state.n_replicas, 'replica')} of {state.motion.position.shape[1]} "
            f"atoms need {_size(needed)}; this machine has {_size(host_bytes())}. "
            "Run fewer replicas at once (ensemble.replica_range, or jaxdiff campaign), "
            "or a smaller supercell."
        )
    return found


def explain(error: Exception, group_size: int) -> OutOfMemory | None:
    """The device's own message about its memory, with advice; None for another error."""
    if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
        return None
    first = str(error).splitlines()[0]
    return OutOfMemory(
        f"the device ran out of memory with groups of {group_size} replicas ({first}). Set "
        f"ensemble.group_size to {max(1, group_size // 2)}, or run fewer replicas at once; "
        "the run goes on from its last checkpoint."
    )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"


def _free_bytes() -> int | None:
    """Free memory of the first device, where it says so."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def _working_bytes(program: Any, plan: md.Plan, params, conditions, state) -> int:
    arguments = jnp.asarray(1, jnp.int32), plan.number("nve")
    compiled = program.compiled(params, conditions, state, *arguments)
    analysis = compiled.memory_analysis()
    return int(getattr(analysis, "temp_size_in_bytes", 0) or 0)
