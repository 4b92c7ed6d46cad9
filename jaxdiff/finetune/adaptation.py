"""What of a model is trained, and how: frozen groups, low-rank updates."""

import dataclasses
from collections.abc import Collection

import jax
import jax.numpy as jnp
from flax import struct

from jaxdiff.finetune.optimizer import Weights
from jaxdiff.models.contract import Model
from jaxdiff.models.dotted import flatten, nest

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

    base: Model
    lora: Lora | None = struct.field(pytree_node=False, default=None)

    def assemble(self, weights: Weights) -> Model:
        """The model with these weights in it, low-rank updates merged."""
        flat = flatten(self.base.weights, "weights")
        for name, value in weights.items():
            if isinstance(value, Pair):
                assert self.lora is not None
                own = self.base.low_rank_divisor(name, self.lora.rank)
                assert own is not None  # as `initial_weights` chose
                scale = self.lora.alpha / self.lora.rank / own
                flat[name] = flat[name] + scale * (value.a @ value.b)
            else:
                flat[name] = value
        return dataclasses.replace(self.base, weights=nest(flat)["weights"])


def initial_weights(
    model: Model,
    frozen: Collection[str] = (),
    lora: Lora | None = None,
    seed: int = 0,
) -> Weights:
    """What is trained, by dotted name: with `lora` pairs of factors, else the arrays.

    - `frozen`: groups that stay as they are.
    """
    check_groups(model, frozen, "to freeze")
    flat = {
        name: jnp.asarray(value)
        for name, value in flatten(model.weights, "weights").items()
        if group(name) not in frozen
    }
    if lora is not None:
        key = jax.random.key(seed)
        linear = [n for n in flat if model.low_rank_divisor(n, lora.rank) is not None]
        if flat and not linear:
            raise ValueError(
                f"[lora]: a {type(model).__name__} has no weights with low-rank updates; "
                "leave this section out."
            )
        flat = {
            name: _pair(flat[name], lora, jax.random.fold_in(key, number))
            for number, name in enumerate(linear)
        }
    if not flat:
        raise ValueError("nothing is left to train: all groups are frozen.")
    return flat


def check_groups(model: Model, names: Collection[str], use: str) -> None:
    """An error unless the model's weights have groups of these names."""
    unknown = sorted(set(names) - set(model.weights))
    if unknown:
        raise ValueError(
            f"unknown groups {use}: {', '.join(unknown)}; "
            f"there are {', '.join(sorted(model.weights))}."
        )


def _pair(weight: jax.Array, lora: Lora, key: jax.Array) -> Pair:
    n_in, n_out = weight.shape
    a = LORA_START * jax.random.normal(key, (n_in, lora.rank), weight.dtype)
    return Pair(a, jnp.zeros((lora.rank, n_out), weight.dtype))


def group(name: str) -> str:
    """The group of weights that a dotted name belongs to."""
    return name.split(".")[1]
