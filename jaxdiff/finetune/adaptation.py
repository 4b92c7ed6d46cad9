"""What of a model is trained, and how: new heads, frozen groups, low-rank updates."""

import dataclasses
from collections.abc import Collection, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdiff.checkpoints.layout import flatten, nest
from jaxdiff.finetune.optimizer import Weights
from jaxdiff.models.architecture import Mace

GROUPS = ("embedding", "interactions", "products", "readouts")
"""Groups of weights that can be frozen or have a learning rate of their own."""

LORA_START = 1e-3
"""Standard deviation of the first factor at the start, as upstream's; the second is 0."""


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank updates of linear layers (doi:10.48550/arXiv.2106.09685).

    A matrix W [in, out] becomes W + (alpha / rank) A B, where A is [in, rank] and B
    [rank, out]; layers that keep the degree of a feature divide by sqrt(rank), too, as
    upstream's do. Species' skip connections and the product basis stay as they are.
    """

    rank: int
    alpha: float


@struct.dataclass
class Pair:
    """The two factors of a low-rank update."""

    a: jax.Array
    b: jax.Array


@struct.dataclass
class Adaptation:
    """How trained weights become a model.

    `assemble` is differentiable in the weights; what is not among them stays as in `base`.
    """

    base: Mace
    lora: Lora | None = struct.field(pytree_node=False, default=None)

    def assemble(self, weights: Weights) -> Mace:
        """The model with these weights in it, low-rank updates merged."""
        flat = flatten(self.base.weights, "weights")
        for name, value in weights.items():
            if isinstance(value, Pair):
                assert self.lora is not None
                scale = self.lora.alpha / self.lora.rank
                if not _is_network(name):
                    scale /= self.lora.rank**0.5
                flat[name] = flat[name] + scale * (value.a @ value.b)
            else:
                flat[name] = value
        return dataclasses.replace(self.base, weights=nest(flat)["weights"])


def initial_weights(
    model: Mace,
    frozen: Collection[str] = (),
    lora: Lora | None = None,
    seed: int = 0,
) -> Weights:
    """What is trained, by dotted name: with `lora` pairs of factors, else the arrays.

    - `frozen`: groups that stay as they are.
    """
    unknown = sorted(set(frozen) - set(GROUPS))
    if unknown:
        raise ValueError(
            f"unknown groups to freeze: {', '.join(unknown)}; "
            f"there are {', '.join(GROUPS)}."
        )
    flat = {
        name: jnp.asarray(value)
        for name, value in flatten(model.weights, "weights").items()
        if group(name) not in frozen
    }
    if lora is not None:
        key = jax.random.key(seed)
        linear = [name for name in flat if _is_linear(name)]
        flat = {
            name: _pair(flat[name], lora, jax.random.fold_in(key, number))
            for number, name in enumerate(linear)
        }
    if not flat:
        raise ValueError("nothing is left to train: all groups are frozen.")
    return flat


def _pair(weight: jax.Array, lora: Lora, key: jax.Array) -> Pair:
    n_in, n_out = weight.shape
    a = LORA_START * jax.random.normal(key, (n_in, lora.rank), weight.dtype)
    return Pair(a, jnp.zeros((lora.rank, n_out), weight.dtype))


def group(name: str) -> str:
    """The group that a dotted name belongs to."""
    return name.split(".")[1]


def decays(name: str) -> bool:
    """Whether upstream lets a weight decay: mixing after messages, and products."""
    parts = name.split(".")
    return parts[1] == "products" or (parts[1] == "interactions" and parts[3] == "linear")


def _is_network(name: str) -> bool:
    """A layer of a radial network or of the density."""
    return ".radial." in name or name.endswith(".density")


def _is_linear(name: str) -> bool:
    return ".skip." not in name and ".contraction." not in name


def with_heads(model: Mace, heads: Sequence[str], energies: np.ndarray) -> Mace:
    """The same model with several heads, each of which starts as its only one.

    - `energies` [heads, species]: isolated atoms of each head, eV.

    The last layer's weights grow with the square root of the number of heads, for upstream
    divides by that of all its inputs, also those of other heads.
    """
    if len(model.architecture.heads) != 1:
        raise ValueError(
            f"the starting model has the heads {', '.join(model.architecture.heads)}; keep "
            "one of them first: set model.head."
        )
    n = len(heads)

    def tiled(name, value):
        value = np.asarray(value)
        if name == "linear_2":
            return np.tile(value, (n, n)) * value.dtype.type(n**0.5)
        return np.tile(value, (1, n))

    readouts = {
        layer: {name: tiled(name, value) for name, value in readout.items()}
        for layer, readout in model.weights["readouts"].items()
    }
    constants = model.constants | {
        "atomic_energies": np.asarray(energies, np.float64),
        "scale": np.tile(np.asarray(model.constants["scale"]), n),
        "shift": np.tile(np.asarray(model.constants["shift"]), n),
    }
    return Mace(
        model.weights | {"readouts": readouts},
        constants,
        dataclasses.replace(model.architecture, heads=tuple(heads)),
    )
