"""The integrators that a program holds, of which a traced number chooses one.

So all phases of a run share one program, and it holds no more than they use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Float, Int, Key

from jaxdiff.md.integrators.record import Bath, Given
from jaxdiff.md.integrators.table import TABLE
from jaxdiff.md.kinetics import Motion

OwnStates = dict[str, Any]
"""The own state of each integrator of a program, by its name."""


def init(names: Sequence[str], motion: Motion) -> OwnStates:
    """Own states at the start of a phase, with the leading axis of `motion`, replicas."""
    return {name: jax.vmap(TABLE[name].init)(motion) for name in names}


@dataclass(frozen=True)
class Choice:
    """One of the integrators `names`, by its place among them; all of one replica."""

    names: tuple[str, ...]
    number: Int[Array, ""]

    def before_force(
        self,
        bath: Bath,
        mass: Float[Array, " atoms"],
        kt: Float[Array, ""],
        key: Key[Array, ""],
        motion: Motion,
        own: OwnStates,
        force: Float[Array, "atoms 3"],
        strain_gradient: Float[Array, "3 3"],
    ) -> tuple[Motion, OwnStates]:
        """The part of a step that precedes the new force, up to the new position."""
        steps = [_among(name, TABLE[name].before_force) for name in self.names]
        given = Given(bath, mass, kt, key)
        return jax.lax.switch(
            self.number, steps, given, motion, own, force, strain_gradient
        )

    def after_force(
        self,
        bath: Bath,
        mass: Float[Array, " atoms"],
        kt: Float[Array, ""],
        key: Key[Array, ""],
        motion: Motion,
        own: OwnStates,
        force: Float[Array, "atoms 3"],
    ) -> tuple[Motion, OwnStates]:
        """The rest of the step, with the force at the new position."""
        steps = [_among(name, TABLE[name].after_force) for name in self.names]
        return jax.lax.switch(
            self.number, steps, Given(bath, mass, kt, key), motion, own, force
        )

    def conserved(
        self,
        bath: Bath,
        mass: Float[Array, " atoms"],
        kt: Float[Array, ""],
        key: Key[Array, ""],
        motion: Motion,
        own: OwnStates,
        potential_energy: Float[Array, ""],
    ) -> Float[Array, ""]:
        """What the dynamics conserve, eV; not a number where nothing is."""
        energies = [_with_own(name, TABLE[name].conserved) for name in self.names]
        given = Given(bath, mass, kt, key)
        return jax.lax.switch(self.number, energies, given, motion, own, potential_energy)


def _with_own(name: str, function: Callable) -> Callable:
    """The function of one integrator, given the own states of all."""
    return lambda given, motion, own, *rest: function(given, motion, own[name], *rest)


def _among(name: str, step: Callable) -> Callable:
    """The same, which also returns the own states of all."""

    def part(given, motion, own, *forces):
        motion, mine = _with_own(name, step)(given, motion, own, *forces)
        return motion, own | {name: mine}

    return part
