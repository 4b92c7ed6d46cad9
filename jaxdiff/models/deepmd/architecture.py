"""What a DeepPot-SE model is made of: its static architecture and its arrays."""

from typing import Any, NamedTuple

import numpy as np
from flax import struct
from jaxtyping import Bool

from jaxdiff.models.contract import Model


class Layer(NamedTuple):
    """One layer of a network: x -> f(x W + b) * step, plus x where it is `residual`.

    - `activation`: a name that `jaxdiff.models.deepmd.network.activation` knows.
    - `residual`: a layer of the same width adds its input, one of twice the width adds it
      side by side; one of any other width adds nothing.
    """

    activation: str
    residual: bool


@struct.dataclass
class Architecture:
    """Everything that decides shapes and code paths; hashable, holds no arrays.

    - `atomic_numbers`: the species table; species index k means `atomic_numbers[k]`.
    - `cutoff`, `smooth_from`: rcut and rcut_smth, Å.
    - `selection`: sel, the most neighbours of each species; the nearest are kept.
    - `places`: the sum of sel over the species of the file, by which sums are divided.
    - `one_sided`: an embedding network for each species of neighbours (True), or for each
      pair of a centre's and a neighbour's species (False).
    - `axis`: axis_neuron, columns of the smaller embedding.
    - `embedding`, `fitting`: the layers of the two kinds of networks.
    - `protection`: added to distances, Å.
    - `zeroed`: exclude_types of the descriptor, pairs of atomic numbers in both orders: the
      rows of such neighbours are zero.
    - `unseen`: pair_exclude_types: such neighbours leave their places empty.
    - `silent`: atom_exclude_types, atomic numbers whose atoms have no energy.
    """

    atomic_numbers: tuple[int, ...] = struct.field(pytree_node=False)
    cutoff: float = struct.field(pytree_node=False)
    smooth_from: float = struct.field(pytree_node=False)
    selection: tuple[int, ...] = struct.field(pytree_node=False)
    places: int = struct.field(pytree_node=False)
    one_sided: bool = struct.field(pytree_node=False)
    axis: int = struct.field(pytree_node=False)
    embedding: tuple[Layer, ...] = struct.field(pytree_node=False)
    fitting: tuple[Layer, ...] = struct.field(pytree_node=False)
    protection: float = struct.field(pytree_node=False, default=0.0)
    zeroed: tuple[tuple[int, int], ...] = struct.field(pytree_node=False, default=())
    unseen: tuple[tuple[int, int], ...] = struct.field(pytree_node=False, default=())
    silent: tuple[int, ...] = struct.field(pytree_node=False, default=())

    def table(
        self, pairs: tuple[tuple[int, int], ...]
    ) -> Bool[np.ndarray, "species species"]:
        """Whether (centre, neighbour) is one of the pairs, by index of species."""
        known = self.atomic_numbers
        return np.array([[(a, b) in pairs for b in known] for a in known])


@struct.dataclass
class Parameters(Model):
    """What `DeepPot` computes with: trainable `weights`, fixed `constants`.

    With Z species, N embedding networks (of shape [Z], or [Z, Z] by centre and neighbour),
    M = the width of the last embedding layer, n = "0", "1", … the number of a layer:

    weights
    - embedding.n: matrix [*N, in, out], bias [*N, out], step [*N, out] where it has one
    - fitting.n: matrix [Z, in, out], bias [Z, out], step [Z, out], by centre; the first
      takes M * axis numbers, the last gives one, eV

    constants
    - energies [1, Z] float64: bias_atom_e + out_bias, eV
    - mean, deviation [Z, Z, 4]: davg and dstd of (1, x, y, z), by centre and neighbour
    - absent [Z, 4, M]: what the empty places of species add that were left out; float64
      where some were
    """

    constants: dict[str, Any]
    architecture: Architecture = struct.field(pytree_node=False)
