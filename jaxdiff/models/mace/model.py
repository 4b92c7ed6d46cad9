"""A MACE model as the library knows it: the contract, kept by the files of this folder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.models.contract import Kernel
from jaxdiff.models.edges import Edges
from jaxdiff.models.mace import layers, species
from jaxdiff.models.mace.architecture import Parameters
from jaxdiff.models.mace.base import irreps
from jaxdiff.models.mace.compiled import COMPILED
from jaxdiff.models.mace.fused import FUSED

_LINEAR = ("linear", "linear_2")  # the readouts' weights in which the energy is linear


@struct.dataclass
class Mace(Parameters):
    """A MACE model: trainable `weights`, fixed `constants`, static `architecture`.

    The arrays are described in `Parameters`.
    """

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Its evaluators beside the plain one."""
        return COMPILED, FUSED

    def node_energy(
        self,
        edges: Edges,
        species: Int[Any, " atoms"],
        head: int | Int[Any, ""] | Int[Any, " atoms"] = 0,
    ) -> Float[Array, " atoms"]:
        """See `layers.node_energy`."""
        return layers.node_energy(self, edges, species, head)

    def features(
        self, edges: Edges, species: Int[Any, " atoms"]
    ) -> Float[Array, "atoms features"]:
        """Scalar (l = 0) features after each layer, side by side: layers x channels.

        The same as `get_descriptors(invariants_only=True)` of upstream's calculator.
        """
        features = layers.node_features(self, edges, species)
        return jnp.concatenate([feature[0][:, 0, :] for feature in features], axis=-1)

    def restrict(self, atomic_numbers: Iterable[int]) -> "Mace":
        """The same numbers for fewer species; see `species.restrict`."""
        return species.restrict(self, atomic_numbers)

    def restrict_heads(self, names: Iterable[str]) -> "Mace":
        """The same numbers for fewer heads; see `species.restrict_heads`."""
        return species.restrict_heads(self, names)

    def with_heads(self, names: Sequence[str], energies: np.ndarray) -> "Mace":
        """Several heads in place of one; see `species.with_heads`."""
        return species.with_heads(self, names, energies)

    def last_layer(self) -> tuple[Any, Callable[[Any], Any]]:
        """The readouts' weights in which the energy is linear, and how to replace them."""
        readouts = self.weights["readouts"]
        last = {
            i: {name: own[name] for name in _LINEAR if name in own}
            for i, own in readouts.items()
        }

        def with_last(last):
            joined = {i: own | last[i] for i, own in readouts.items()}
            return replace(self, weights=self.weights | {"readouts": joined})

        return last, with_last

    @staticmethod
    def decays(name: str) -> bool:
        """As upstream's: mixing after messages, and products."""
        parts = name.split(".")
        mixing = parts[1] == "interactions" and parts[3] == "linear"
        return parts[1] == "products" or mixing

    @staticmethod
    def low_rank_divisor(name: str, rank: int) -> float | None:
        """As upstream's: layers that keep the degree of a feature divide by sqrt(rank).

        Species' skip connections and the product basis stay as they are.
        """
        if ".skip." in name or ".contraction." in name:
            return None
        is_network = ".radial." in name or name.endswith(".density")
        return 1.0 if is_network else rank**0.5

    def describe(self) -> dict[str, str]:
        """Property -> text."""
        arch, rows = self.architecture, super().describe()
        for i, degrees in enumerate(arch.hidden):
            rows[f"layer {i}"] = (
                f"{irreps(arch.channels, degrees)}, correlation {arch.correlation[i]}, "
                f"{arch.interactions[i]}"
            )
        return rows
