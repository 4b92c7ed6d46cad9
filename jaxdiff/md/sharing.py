"""Replicas shared out between the devices of a host, each with the same program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdiff.md.ensemble import Conditions, EnsembleState
from jaxdiff.md.program import Program


def share_out(run_chunk: Callable, devices: Sequence[Any]) -> "Placed":
    """The same program on every device, each with its replicas; they need no messages."""
    mesh = Mesh(np.array(devices), ("replicas",))
    whole, own = PartitionSpec(), PartitionSpec("replicas")
    conditions = tuple(own if f.name in _OWN else whole for f in fields(Conditions))
    state = tuple(whole if f.name == "step" else own for f in fields(EnsembleState))
    given = (whole, conditions, state, whole, whole)

    def run_fields(params, conditions, state, n_steps, thermostat):
        mine = Conditions(*conditions), EnsembleState(*state)
        new, series = run_chunk(params, *mine, n_steps, thermostat)
        return _fields(new), series

    program = Program(
        jax.shard_map(
            run_fields,
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


_OWN = ("kt", "key")
"""What each replica has of its own in `Conditions`."""


def _fields(tree: Any) -> tuple[Any, ...]:
    """A struct without its name: where its arrays lie is no struct of arrays."""
    return tuple(getattr(tree, field.name) for field in fields(tree))


@dataclass(frozen=True)
class Placed:
    """A program whose arguments are first put on their devices.

    Arrays that come from elsewhere would make it compile once more. The devices get the
    same number of replicas each: what is missing is filled up with replicas that stand.
    """

    program: Program
    placement: Any
    n_devices: int

    def __call__(
        self, params, conditions: Conditions, state: EnsembleState, n_steps, thermostat
    ) -> tuple[EnsembleState, Any]:
        n_replicas = state.n_replicas
        arguments = self._placed(params, conditions, state, n_steps, thermostat)
        fields_of_new, series = self.program(*arguments)
        new = EnsembleState(*fields_of_new)
        if new.n_replicas == n_replicas:
            return new, series
        rows = jax.tree.map(lambda x: x[:, :n_replicas], series)
        return new.of_replicas(lambda x: x[:n_replicas]), rows

    def compiled(self, *arguments: Any) -> jax.stages.Compiled:
        """The program of a device for arguments of these shapes."""
        return self.program.compiled(*self._placed(*arguments))

    def _placed(self, params, conditions, state, n_steps, thermostat) -> tuple:
        filled = map(_fields, self._filled(conditions, state))
        return jax.device_put((params, *filled, n_steps, thermostat), self.placement)

    def _filled(
        self, conditions: Conditions, state: EnsembleState
    ) -> tuple[Conditions, EnsembleState]:
        missing = -state.n_replicas % self.n_devices
        if not missing:
            return conditions, state

        def fill(x):
            return jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)])

        more = state.of_replicas(fill)
        standing = more.bad_step.at[state.n_replicas :].set(0)
        return (
            replace(conditions, kt=fill(conditions.kt), key=fill(conditions.key)),
            replace(more, bad_step=standing),
        )
