"""Our models in JAX-MD scripts: what `jax_md.energy.mace_neighbor_list` expects."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff.models.contract import Model
from jaxdiff.models.derivative import (
    PRECISION,
    forces_from_gradient,
    interaction_gradient,
)
from jaxdiff.models.edges import Edges


def jax_md_model(
    model: Model, head: str | None = None
) -> tuple[Callable[..., dict[str, Array]], dict[str, Any]]:
    """The pair (model, config) for `jax_md.energy.mace_neighbor_list`.

    The callable takes JAX-MD's batch dictionary and returns `energy` [1], eV, and with
    `compute_force=True` also `forces` [atoms, 3], eV/Å. JAX-MD casts positions to
    float32, so that is the accuracy to expect; energies are summed in float64 where x64
    is enabled, since the isolated-atom energies are large.

        apply, config = jax_md_model(load("lif-compact"))
        neighbor_fn, energy_fn = jax_md.energy.mace_neighbor_list(
            displacement, box, model=apply, config=config, z_atomic=numbers,
            r_cutoff=config["r_max"])
    """
    model = jax.tree.map(jnp.asarray, model.of_head(head))
    config = {"atomic_numbers": model.species, "r_max": model.cutoff}

    def apply(
        batch: Mapping[str, Array],
        *,
        compute_force: bool = False,
        compute_stress: bool = False,
    ) -> dict[str, Array]:
        if compute_stress:
            raise ValueError(
                "compute_stress=True is not offered here; use jaxdiff.potential.predict."
            )
        dtype, isolated = model.dtype, jnp.asarray(model.isolated)[0]
        sender, receiver = batch["edge_index"]
        species = jnp.argmax(batch["node_attrs"], axis=1)
        position = batch["positions"].astype(dtype)
        vector = position[receiver] - position[sender] + batch["shifts"].astype(dtype)
        edges = Edges(vector, sender, receiver)
        if not compute_force:
            with jax.default_matmul_precision(PRECISION):
                node, gradient = model.node_energy(edges, species), None
        else:
            node, gradient = interaction_gradient(model, edges, species)
        energy = jnp.sum(node.astype(isolated.dtype) + isolated[species])
        if gradient is None:
            return {"energy": energy[None]}
        forces = forces_from_gradient(edges, gradient, len(position))
        return {"energy": energy[None], "forces": forces}

    return apply, config
