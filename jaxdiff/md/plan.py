"""What a program of dynamics is compiled for."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxdiff.md.integrators import TABLE


@flax.struct.dataclass
class Plan:
    """What the program is compiled for; all static.

    - `cutoff`, `skin`, Å: of the neighbour lists.
    - `steps_per_frame`: steps between observations.
    - `frames_per_chunk`: the most frames that one chunk holds.
    - `group_size`: replicas that are computed at once, a divisor of those of each device.
    - `integrators`: names of those that the program holds; "nve", with which `evaluate`
      computes, is the first.
    """

    cutoff: float = flax.struct.field(pytree_node=False)
    skin: float = flax.struct.field(pytree_node=False)
    steps_per_frame: int = flax.struct.field(pytree_node=False)
    frames_per_chunk: int = flax.struct.field(pytree_node=False)
    group_size: int = flax.struct.field(pytree_node=False, default=1)
    integrators: tuple[str, ...] = flax.struct.field(
        pytree_node=False, default_factory=lambda: tuple(TABLE)
    )

    def __post_init__(self) -> None:
        """Refuse empty frames, chunks and groups, and integrators that there are not."""
        if min(self.steps_per_frame, self.frames_per_chunk, self.group_size) < 1:
            raise ValueError(
                f"steps_per_frame={self.steps_per_frame}, frames_per_chunk="
                f"{self.frames_per_chunk} and group_size={self.group_size} must be at "
                "least 1."
            )
        unknown = [name for name in self.integrators if name not in TABLE]
        if unknown or self.integrators[:1] != ("nve",):
            raise ValueError(
                f"integrators={self.integrators}; give nve first and then any of "
                f"{', '.join(TABLE)}."
            )

    def number(self, integrator: str) -> Int[Array, ""]:
        """The number by which the program knows an integrator."""
        if integrator not in self.integrators:
            raise ValueError(
                f"the program has no integrator {integrator!r}; it was made for "
                f"{', '.join(self.integrators)} (Plan.integrators)."
            )
        return jnp.asarray(self.integrators.index(integrator), jnp.int32)

    @property
    def steps_per_chunk(self) -> int:
        """The most steps that one chunk makes."""
        return self.steps_per_frame * self.frames_per_chunk
