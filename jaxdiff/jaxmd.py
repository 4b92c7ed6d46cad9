"""Our models in JAX-MD scripts: what `jax_md.energy.mace_neighbor_list` expects."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff.models.architecture import Mace
from jaxdiff.models.mace import Edges, node_energy
from jaxdiff.potential import model_dtype


def jax_md_model(model: Mace) -> tuple[Callable[..., dict[str, Array]], dict[str, Any]]:
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
    arch = model.architecture
    config = {"atomic_numbers": arch.atomic_numbers, "r_max": arch.cutoff}

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
        dtype = model_dtype(model)
        sender, receiver = batch["edge_index"]
        species = jnp.argmax(batch["node_attrs"], axis=1)
        isolated = jnp.asarray(model.constants["atomic_energies"])[0]

        def total(position):
            vector = position[receiver] - position[sender] + batch["shifts"].astype(dtype)
            node = node_energy(model, Edges(vector, sender, receiver), species)
            return jnp.sum(node.astype(isolated.dtype) + isolated[species])

        position = batch["positions"].astype(dtype)
        if not compute_force:
            return {"energy": total(position)[None]}
        energy, gradient = jax.value_and_grad(total)(position)
        return {"energy": energy[None], "forces": -gradient}

    return apply, config
