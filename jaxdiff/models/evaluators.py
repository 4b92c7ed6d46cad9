"""The table of evaluators: which there are for a model, and which one `auto` takes.

`auto` takes the first of the family's own kernels that is worth it on the device of this
process, and else the plain one, which is exact and differentiable over weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxdiff.models.contract import Evaluate, Kernel, Model, Request, cast
from jaxdiff.models.derivative import interaction_gradient


def of_nodes(species: Int[np.ndarray, " atoms"], head: int = 0) -> Evaluate:
    """A model's own node energies and their derivative, for fixed species."""

    def evaluate(model, edges):
        isolated = model.isolated[head, species]
        return *interaction_gradient(
            model, edges, jnp.asarray(species), head=head
        ), isolated

    return evaluate


def _prepare(model: Model, request: Request) -> tuple[Model, Evaluate]:
    return cast(model, request.dtype), of_nodes(request.species, request.head)


PLAIN = Kernel("plain", tabulates=False, prepare=_prepare)
"""Node energies of the model itself, and reverse mode: for every family and device."""


def table(model: Model) -> tuple[Kernel, ...]:
    """Every evaluator of a model, the first choice first."""
    return (*model.kernels, PLAIN)


def choose(model: Model, kind: str | Kernel) -> tuple[Kernel, str]:
    """The kernel of a name, or that of "auto", and why it was taken; one given is taken.

    Raises ValueError where there is none of that name, or it cannot be used.
    """
    if isinstance(kind, Kernel):
        return kind, "it was given"
    kernels = {kernel.name: kernel for kernel in table(model)}
    if kind == "auto":
        for kernel in kernels.values():
            if not _against(kernel, model) and (reason := kernel.worth(model)):
                return kernel, reason
        return PLAIN, f"no other is known to be faster for this model on {device()}"
    if kind not in kernels:
        raise ValueError(
            f'model.evaluator = "{kind}", and this kind of model has '
            f'{", ".join(kernels)}; use one of them, or "auto".'
        )
    if reason := _against(kernels[kind], model):
        raise ValueError(
            f'model.evaluator = "{kind}" cannot be used: {reason}; use "auto".'
        )
    return kernels[kind], "the run file asks for it"


def _against(kernel: Kernel, model: Model) -> str | None:
    return kernel.why_not_here() or kernel.why_not_for(model)


def device() -> str:
    """What JAX computes on in this process."""
    return jax.default_backend()
