"""Replicas shared out between the devices of a host, each with the same program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdiff.md.ensemble import Conditions, EnsembleState


def share_out(run_chunk: Callable, devices: Sequence[Any]) -> "Placed":
    """The same program on every device, each with its replicas; they need no messages."""
    mesh = Mesh(np.array(devices), ("replicas",))
    all_of_it: Any = PartitionSpec()
    own: Any = PartitionSpec("replicas")
    conditions = Conditions(
        all_of_it, kt=own, bath=all_of_it, key=own, max_temperature=all_of_it
    )
    state = EnsembleState(
        own, own, own, own, own, own, step=all_of_it, bad_step=own, max_temperature=own
    )
    given = (all_of_it, conditions, state, all_of_it, all_of_it)
    program = jax.jit(
        jax.shard_map(
            run_chunk,
            mesh=mesh,
            in_specs=given,
            out_specs=(state, PartitionSpec(None, "replicas")),
            check_vma=False,
        )
    )
    placed = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec),
        given,
        is_leaf=lambda x: isinstance(x, PartitionSpec),
    )

    return Placed(program, placed, len(devices))


@dataclass(frozen=True)
class Placed:
    """A program whose arguments are first put on their devices.

    Arrays that come from elsewhere would make it compile once more. The devices get the
    same number of replicas each: what is missing is filled up with replicas that stand.
    """

    program: Any
    placement: Any
    n_devices: int

    def __call__(
        self, params, conditions: Conditions, state: EnsembleState, n_steps, thermostat
    ) -> tuple[EnsembleState, Any]:
        n_replicas = state.n_replicas
        filled = self._filled(conditions, state)
        arguments = jax.device_put((params, *filled, n_steps, thermostat), self.placement)
        new, series = self.program(*arguments)
        if new.n_replicas == n_replicas:
            return new, series
        own = jax.tree.map(lambda x: x[:n_replicas], replace(new, step=None))
        rows = jax.tree.map(lambda x: x[:, :n_replicas], series)
        return replace(own, step=new.step), rows

    def lower(self, params, conditions, state, n_steps, thermostat) -> Any:
        """The program before it is compiled, as `jax.jit` gives it."""
        filled = self._filled(conditions, state)
        return self.program.lower(params, *filled, n_steps, thermostat)

    def _filled(
        self, conditions: Conditions, state: EnsembleState
    ) -> tuple[Conditions, EnsembleState]:
        missing = -state.n_replicas % self.n_devices
        if not missing:
            return conditions, state

        def fill(x):
            return jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)])

        more = jax.tree.map(fill, replace(state, step=None))
        standing = more.bad_step.at[state.n_replicas :].set(0)
        return (
            replace(conditions, kt=fill(conditions.kt), key=fill(conditions.key)),
            replace(more, step=state.step, bad_step=standing),
        )
