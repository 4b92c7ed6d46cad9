"""A MACE of non-linear blocks as the library knows it: the contract."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from jaxdiff.models.contract import Kernel
from jaxdiff.models.edges import Edges
from jaxdiff.models.mace.base import irreps
from jaxdiff.models.mace.gated import layers, species
from jaxdiff.models.mace.gated.architecture import Parameters
from jaxdiff.models.mace.gated.compiled import COMPILED

_MIXING = ("linear_up", "residual", "linear_1", "linear_2", "skip")


@struct.dataclass
class GatedMace(Parameters):
    """A MACE whose blocks have a gate; the arrays are described in `Parameters`."""

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Its evaluators beside the plain one."""
        return (COMPILED,)

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
        """Scalar (l = 0) features after each layer, side by side: layers x channels."""
        found = layers.node_features(self, edges, species)
        return jnp.concatenate([feature[0][:, 0, :] for feature in found], axis=-1)

    def restrict(self, atomic_numbers: Iterable[int]) -> "GatedMace":
        """The same numbers for fewer species; see `species.restrict`."""
        return species.restrict(self, atomic_numbers)

    def restrict_heads(self, names: Iterable[str]) -> "GatedMace":
        """The same numbers for fewer heads; see `species.restrict_heads`."""
        return species.restrict_heads(self, names)

    def with_heads(self, names: Sequence[str], energies: np.ndarray) -> "GatedMace":
        """Several heads in place of one; see `species.with_heads`."""
        return species.with_heads(self, names, energies)

    @property
    def isolated_is_exact(self) -> bool:
        """No: blocks act on an atom's own features, too."""
        return False

    @property
    def takes_charge(self) -> bool:
        """Whether its energies depend on charge and multiplicity of the structure."""
        return bool(self.architecture.embedded)

    def with_charge(self, charge: float, multiplicity: float) -> "GatedMace":
        """For structures of this charge, e, and multiplicity 2S + 1.

        Raises `ValueError` for numbers that the model has no row for.
        """
        arch = self.architecture
        if not self.takes_charge:
            return self
        given = {"total_charge": charge, "total_spin": multiplicity}
        least = {"total_charge": None, "total_spin": 1}  # the row of 0 was never trained
        for name, rows, zero, _ in arch.embedded:
            low = -zero if least[name] is None else least[name]
            high = rows - 1 - zero
            value = given[name]
            if not low <= value <= high or value != int(value):
                word = "charge" if name == "total_charge" else "spin (multiplicity, 2S + 1)"
                raise ValueError(
                    f"{word} {value}; the model knows whole numbers from {low} to {high}."
                )
        changed = replace(arch, charge=int(charge), multiplicity=int(multiplicity))
        return replace(self, architecture=changed)

    def of_structures(
        self, charge: Int[Any, " atoms"], multiplicity: Int[Any, " atoms"]
    ) -> "GatedMace":
        """For atoms of several structures; energies are without `reference` alone."""
        if not self.takes_charge:
            return self
        return replace(self, numbers={"total_charge": charge, "total_spin": multiplicity})

    @staticmethod
    def decays(name: str) -> bool:
        """As upstream's: mixing after messages, and products."""
        parts = name.split(".")
        mixing = parts[1] == "interactions" and parts[3] in ("linear_1", "linear_2")
        return parts[1] == "products" or mixing

    @staticmethod
    def low_rank_divisor(name: str, rank: int) -> float | None:
        """As upstream's: layers that keep the degree of a feature divide by sqrt(rank).

        Embeddings of species, biases, norms and the product basis stay as they are.
        """
        parts = name.split(".")
        if parts[1] == "interactions" and parts[3] in ("radial", "density"):
            return 1.0 if parts[-1] == "weight" else None
        if parts[1] == "interactions":
            return rank**0.5 if parts[3] in _MIXING else None
        if parts[1] == "readouts":
            return None if parts[-1] in ("middle_bias", "bias") else rank**0.5
        return rank**0.5 if parts[1] == "products" and parts[3] == "linear" else None

    def describe(self) -> dict[str, str]:
        """Property -> text."""
        arch, rows = self.architecture, super().describe()
        if arch.embedded:
            rows["embedded"] = ", ".join(name for name, *_ in arch.embedded)
        for i, degrees in enumerate(arch.hidden):
            rows[f"layer {i}"] = (
                f"{irreps(arch.channels, degrees)}, on edges "
                f"{irreps(arch.edge_channels[i], arch.edge_degrees[i])}, correlation "
                f"{arch.correlation[i]}, RealAgnosticResidualNonLinearInteractionBlock"
            )
        return rows
