"""What a MACE of non-linear blocks is made of: static architecture and arrays."""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from jaxdiff.models.mace.base import Built
from jaxdiff.models.sums import rows_of

P = TypeVar("P", bound="Parameters")
READOUTS = ("linear", "nonlinear", "bias")
"""Kinds of readout: one matrix, two with silu between, three with biases."""


@struct.dataclass
class Architecture:
    """Everything that decides shapes and code paths; hashable, holds no arrays.

    Fields that `mace.Architecture` has, too, mean the same. Further:

    - `edge_channels`, `edge_degrees`: per layer, features per irrep and degrees of what
      atoms send.
    - `density_mlp`: widths of the hidden layers of the density network.
    - `readouts`: a kind for each readout; one alone reads the last layer.
    - `embedded`: (name, rows, row of zero, width) of the numbers of a structure that are
      embedded, "total_charge" and "total_spin" (multiplicity); none for most models.
    - `charge`, `multiplicity`: of the structures that it computes; see `with_charge`.
    """

    scale_shift: bool = struct.field(pytree_node=False)
    atomic_numbers: tuple[int, ...] = struct.field(pytree_node=False)
    heads: tuple[str, ...] = struct.field(pytree_node=False)
    cutoff: float = struct.field(pytree_node=False)
    num_bessel: int = struct.field(pytree_node=False)
    cutoff_power: int = struct.field(pytree_node=False)
    max_ell: int = struct.field(pytree_node=False)
    channels: int = struct.field(pytree_node=False)
    edge_channels: tuple[int, ...] = struct.field(pytree_node=False)
    edge_degrees: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False)
    hidden: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False)
    correlation: tuple[int, ...] = struct.field(pytree_node=False)
    radial_mlp: tuple[int, ...] = struct.field(pytree_node=False)
    density_mlp: tuple[int, ...] = struct.field(pytree_node=False)
    readouts: tuple[str, ...] = struct.field(pytree_node=False)
    mlp_channels: int = struct.field(pytree_node=False)
    agnesi: bool = struct.field(pytree_node=False)
    zbl_power: int | None = struct.field(pytree_node=False)
    embedded: tuple[tuple[str, int, int, int], ...] = struct.field(pytree_node=False)
    charge: int = struct.field(pytree_node=False, default=0)
    multiplicity: int = struct.field(pytree_node=False, default=1)

    @property
    def species(self) -> tuple[int, ...]:
        """`atomic_numbers`, by the name that models have for them."""
        return self.atomic_numbers

    def degrees_in(self, layer: int) -> tuple[int, ...]:
        """Degrees of the features that a layer takes."""
        return self.hidden[layer - 1] if layer else (0,)


@struct.dataclass
class Parameters(Built):
    """What `GatedMace` computes with: `weights`, fixed `constants`, `architecture`.

    Both trees are nested dictionaries with string keys, raw as upstream stores them, but
    matrices of PyTorch's Linear transposed to [fan_in, fan_out]. Names that
    `mace.Parameters` has, too, mean the same; further, with E edge channels of a layer:

    weights
    - interactions.i.source, interactions.i.target [Z, C]: species at the ends of an edge
    - interactions.i.linear_up.l [C, E]
    - interactions.i.residual.l [E, gate_l], gate_0 = (max_ell + 1) C, else C
    - interactions.i.radial.n, interactions.i.density.n: a layer of a network each, with
      weight, bias, and for all but the last scale and offset of its norm; the first takes
      [B + 2C], the last of radial gives paths x E
    - interactions.i.linear_1.l [paths_l E, gate_l], interactions.i.linear_2.l [C, C]
    - interactions.i.skip.l [C, C], interactions.i.alpha, interactions.i.beta []
    - products.i.contraction.l.nu [1, eta, C]: for all species
    - readouts.i of the kind "bias": linear_1 [C, H mlp], middle [H mlp, H mlp],
      middle_bias [H mlp], linear_2 [H mlp, H], bias [H]
    - structure.NAME [rows, D], structure.project [D of all, C], structure.readout [C, H]:
      only with `embedded`

    constants
    - gate: scalar, gate []: constants of silu and sigmoid

    - `numbers`: total_charge and total_spin [atoms], int, where they are not those of the
      architecture for all atoms; see `of_structures`.
    """

    architecture: Architecture = struct.field(pytree_node=False)
    numbers: dict[str, Int[Any, " atoms"]] | None = None

    @property
    def isolated(self) -> Float[Any, "heads species"]:
        """Energies of isolated atoms, eV, float64, with what charge and spin add."""
        own = super().isolated
        return own + self._embedding_energy() if self._has_readout else own

    def with_isolated(self: P, energies: Float[Any, "heads species"]) -> P:
        """The same model with other energies of isolated atoms, eV."""
        own = energies - self._embedding_energy() if self._has_readout else energies
        return super().with_isolated(own)

    @property
    def reference(self) -> Float[Any, "heads species"]:
        """Energies of isolated atoms, eV, float64, without what charge and spin add."""
        return super().isolated

    def embedding(self) -> Float[Array, "species channels"]:
        """What each species starts from, with charge and spin of the architecture."""
        weight, arch = self.weights["embedding"], self.architecture
        scaled = weight / weight.shape[0] ** 0.5
        number = {"total_charge": arch.charge, "total_spin": arch.multiplicity}
        return scaled + self._of_structure(number) if arch.embedded else scaled

    def start(self, species: Int[Any, " atoms"]) -> Float[Array, "atoms channels"]:
        """What each atom starts from, with charge and spin of its structure."""
        if self.numbers is None:
            return rows_of(self.embedding(), species)
        weight = self.weights["embedding"]
        scaled = rows_of(weight, species) / weight.shape[0] ** 0.5
        return scaled + self._of_structure(self.numbers)

    def structure_energy(
        self, species: Int[Any, " atoms"], head: int | Int[Any, ""] | Int[Any, " atoms"]
    ) -> Float[Array, " atoms"] | float:
        """What charge and spin add to an atom, eV; 0 where `isolated` has it."""
        if self.numbers is None or not self._has_readout:
            return 0.0
        readout = self.weights["structure"]["readout"]
        energy = self.start(species) @ (readout / readout.shape[0] ** 0.5)
        return energy[jnp.arange(len(species)), head]

    def _of_structure(self, number: Mapping[str, Any]) -> Float[Array, "*atoms channels"]:
        own = self.weights["structure"]
        rows = [
            jnp.asarray(own[name])[number[name] + zero]
            for name, _, zero, _ in self.architecture.embedded
        ]
        return jax.nn.silu(jnp.concatenate(rows, axis=-1) @ own["project"])

    @property
    def _has_readout(self) -> bool:
        return "readout" in self.weights.get("structure", {})

    def _embedding_energy(self) -> Float[Any, "heads species"]:
        """Added to the energies of isolated atoms, neither scaled nor shifted, float64."""
        readout = self.weights["structure"]["readout"]
        if isinstance(readout, Tracer):
            return self._read_embedding(readout).astype("float64")
        with jax.enable_x64(True):
            return np.asarray(self._read_embedding(readout), np.float64)

    def _read_embedding(self, readout: Any) -> Float[Array, "heads species"]:
        return (self.embedding() @ (readout / readout.shape[0] ** 0.5)).T


def gate_channels(architecture: Architecture, ell: int) -> int:
    """Channels of the gate's input: for l = 0 also those that gate the others."""
    return architecture.channels * (1 if ell else architecture.max_ell + 1)
