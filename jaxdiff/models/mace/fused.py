"""The last layer's sum over neighbours as one operation, for GPUs.

cuequivariance describes it as a segmented polynomial, of which it makes a CUDA kernel for
values and one for derivatives: products of weights, features and harmonics never exist in
memory. On other devices it evaluates the same polynomial with JAX, slowly: for tests.
"""

import functools
import importlib
import importlib.util
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.models.contract import Evaluate, Kernel, Request
from jaxdiff.models.mace import compiled, folded
from jaxdiff.models.mace.architecture import (
    Architecture,
    Parameters,
    tensor_product_paths,
)
from jaxdiff.models.mace.layers import coupling

LAST_BEFORE_JAX_0_12 = (0, 13, 0)
"""The newest cuequivariance-jax that does not know what JAX 0.12 gives rules."""
_MODULE = "cuequivariance_jax.segmented_polynomials.segmented_polynomial"


def reason_not_to() -> str | None:
    """Why the kernel cannot be used on this machine, in words; None where it can."""
    if (backend := jax.default_backend()) != "gpu":
        return (
            f"it is for CUDA GPUs, and JAX computes on {backend} here (where there is one, "
            'pip install "jaxdiff[cuda]" lets JAX use it)'
        )
    for package in ("cuequivariance_jax", "cuequivariance_ops_jax"):
        if importlib.util.find_spec(package) is None:
            return f'{package} is not installed (pip install "jaxdiff[cuda]" brings it)'
    return None


@functools.cache
def _operation() -> Any:
    """cuequivariance's, for the JAX that is installed.

    JAX 0.12 gives a rule for dead code what is alive of its inputs, between the two
    arguments that it had before; the rule of these releases has no place for it.
    """
    import cuequivariance_jax as cuex

    is_old = _numbers(version("cuequivariance-jax")) <= LAST_BEFORE_JAX_0_12
    if is_old and _numbers(version("jax")) >= (0, 12):
        module: Any = importlib.import_module(_MODULE)
        rules, primitive = module.partial_eval.dce_rules, module.segmented_polynomial_p
        rule = rules[primitive]
        rules[primitive] = lambda used, *rest: rule(used, rest[-1])
    return cuex.segmented_polynomial


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:3] if part.isdigit())


def convolve(arch: Architecture, radial, function, harmonic, sent):
    """Sums over neighbours of R(r) (h x Y): l -> [atoms, 2l + 1, paths_l * C].

    - `function` [atoms, places, functions]: radial functions of the edges, which `radial`
      [functions, paths, C] takes to weights; `harmonic` [atoms, places, components];
      `sent` [atoms, places, components, C].
    """
    try:
        operation = _operation()
    except (ImportError, OSError):  # the second: its operations without a driver
        raise ValueError(
            "the fused sum over neighbours needs cuequivariance_jax; install it with "
            'pip install "jaxdiff[cuda]", or use "compiled".'
        ) from None
    size, places = function.shape[:2]
    weight = function @ radial.reshape(len(radial), -1)
    polynomial = _polynomial(arch.hidden[0], arch.max_ell, arch.channels)
    [joined] = operation(
        polynomial,
        [weight, sent.reshape(size, places, -1), harmonic],
        [jax.ShapeDtypeStruct((size, 1, polynomial.outputs[0].size), weight.dtype)],
        method="uniform_1d" if reason_not_to() is None else "naive",
        name="last_layer",
    )
    ends = np.cumsum([width for _, width in _widths(arch)])[:-1] * arch.channels
    parts = jnp.split(joined[:, 0], ends, axis=-1)
    return {
        ell: part.reshape(size, 2 * ell + 1, -1)
        for (ell, _), part in zip(_widths(arch), parts, strict=True)
    }


def _widths(arch):
    """Each degree of the message, and its components times its paths."""
    degrees = [l3 for _, _, l3 in tensor_product_paths(arch.hidden[0], arch.max_ell)]
    return [(ell, (2 * ell + 1) * degrees.count(ell)) for ell in range(arch.max_ell + 1)]


@functools.cache
def _polynomial(degrees: tuple[int, ...], max_ell: int, channels: int):
    """(weights, features, harmonics) -> messages, each channel for itself.

    Segments: a path of the weights; a component of a feature or a harmonic; of a message,
    its components by degree, and in each its paths.
    """
    import cuequivariance as cue

    paths = tensor_product_paths(degrees, max_ell)
    subscripts: Any = "u,u,,u"
    product = cue.SegmentedTensorProduct.from_subscripts(subscripts)
    product.add_segments(0, [(channels,)] * len(paths))
    sizes = [2 * ell + 1 for ell in degrees]
    product.add_segments(1, [(channels,)] * sum(sizes))
    product.add_segments(2, [()] * (max_ell + 1) ** 2)
    first = dict(zip(degrees, np.cumsum([0, *sizes[:-1]]), strict=True))
    for ell in range(max_ell + 1):
        own = [n for n, path in enumerate(paths) if path[2] == ell]
        begin = product.operands[3].num_segments
        product.add_segments(3, [(channels,)] * ((2 * ell + 1) * len(own)))
        for k, n in enumerate(own):
            l1, l2, _ = paths[n]
            matrix = coupling(l1, l2, ell)
            for m, d, o in zip(*np.nonzero(matrix), strict=True):
                product.add_path(
                    n,
                    int(first[l1] + m),
                    int(l2**2 + d),
                    int(begin + o * len(own) + k),
                    c=matrix[m, d, o],
                )
    return cue.SegmentedPolynomial.eval_last_operand(product)


def prepare(model: Parameters, request: Request) -> tuple[folded.Folded, Evaluate]:
    """As `compiled.prepare`, with the last layer's sum as one operation."""
    return compiled.prepare(model, request, convolve)


FUSED = Kernel(
    "fused",
    tabulates=True,
    prepare=prepare,
    why_not_for=folded.reason_not_to,
    why_not_here=reason_not_to,
)
"""`compiled` with a kernel of cuequivariance; only where it is asked for."""
