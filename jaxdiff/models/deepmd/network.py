"""The networks of DeepPot-SE: layers with activations by DeePMD's names."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.models.deepmd.architecture import Layer

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_tf": lambda x: jax.nn.gelu(x, approximate=True),
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "none": lambda x: x,
    "linear": lambda x: x,
}
_CUT_SILU = ("silut", "custom_silu")
_CUT_AT = 3.0

ACTIVATIONS = (*_ACTIVATIONS, *_CUT_SILU)
"""Names of DeePMD; the last two may be followed by a colon and where the silu ends."""


def activation(name: str) -> Callable[[Array], Array]:
    """The function of a name, letter case ignored. Raises ValueError for others."""
    kind, colon, number = name.lower().partition(":")
    if kind in _ACTIVATIONS and not colon:
        return _ACTIVATIONS[kind]
    with contextlib.suppress(ValueError):
        if kind in _CUT_SILU:
            return _cut_silu(float(number) if colon else _CUT_AT)
    raise ValueError(
        f"the activation {name!r} is not known; known are {', '.join(ACTIVATIONS)}, and "
        "silut:4.5 with any number"
    )


def _cut_silu(threshold: float) -> Callable[[Array], Array]:
    """silu below the threshold, above it a tanh with the same value and slope there."""
    sigmoid = 1 / (1 + np.exp(-threshold))
    value = float(threshold * sigmoid)
    slope = float(sigmoid + threshold * sigmoid * (1 - sigmoid))

    def function(x):
        above = jnp.tanh(slope * (x - threshold)) + value
        return jnp.where(x < threshold, jax.nn.silu(x), above)

    return function


def network(
    layers: Sequence[Layer],
    weights: Mapping[str, Mapping[str, Any]],
    x: Float[Any, "*points features"],
) -> Float[Array, "*points outputs"]:
    """The output of one network; `weights` of its layers "0", "1", …"""
    for n, layer in enumerate(layers):
        own = weights[str(n)]
        width_in, width = own["matrix"].shape
        y = activation(layer.activation)(x @ own["matrix"] + own["bias"])
        if "step" in own:
            y = y * own["step"]
        if layer.residual and width == width_in:
            y = y + x
        elif layer.residual and width == 2 * width_in:
            y = y + jnp.concatenate([x, x], axis=-1)
        x = y
    return x


def one_of(weights: Mapping[str, Any], *index: Any) -> dict[str, Any]:
    """The weights of one network among those of a kind."""
    return jax.tree.map(lambda leaf: leaf[index], weights)
