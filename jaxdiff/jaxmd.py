"""Our models in JAX-MD scripts: what `jax_md.energy.mace_neighbor_list` expects."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdiff.calculator import require_damping
from jaxdiff.models.contract import Model, Term
from jaxdiff.models.derivative import (
    PRECISION,
    forces_from_gradient,
    interaction_gradient,
)
from jaxdiff.models.dispersion import CUTOFF
from jaxdiff.models.dispersion import dispersion as d3
from jaxdiff.models.edges import Edges

_COMPRESSION = 0.05  # by which the edges of a box may shrink


def jax_md_model(
    model: Model,
    head: str | None = None,
    *,
    dispersion: bool = False,
    damping: str = "bj",
    dispersion_xc: str = "pbe",
    dispersion_cutoff: float = CUTOFF,
    z_atomic: Any = None,
    box: Any = None,
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

    - `dispersion`, `damping`, `dispersion_xc`, `dispersion_cutoff`: as the calculator's.
      They need `z_atomic` and `box` as `mace_neighbor_list` has them, and x64; energies of
      boxes with edges shorter by more than 5 % are not numbers.
    """
    model = jax.tree.map(jnp.asarray, model.of_head(head))
    terms: tuple[Term, ...] = ()
    if dispersion:
        require_damping(damping, dispersion_xc)
        given = (z_atomic, box, dispersion_xc, dispersion_cutoff, model.dtype)
        terms = (_dispersion(*given),)
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
        return _predict(model, terms, batch, compute_force)

    return apply, config


def _predict(
    model: Model, terms: tuple[Term, ...], batch: Mapping[str, Array], compute_force: bool
) -> dict[str, Array]:
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
    forces = None
    if gradient is not None:
        forces = forces_from_gradient(edges, gradient, len(position))
    for term in terms:
        where = batch["positions"], _rows(batch["cell"][0])
        own = term.energy_force_strain(*(x.astype("float64") for x in where))
        energy = energy + own[0]
        forces = None if forces is None else forces + own[1].astype(dtype)
    found = {"energy": energy[None]}
    return found if forces is None else {**found, "forces": forces}


def _dispersion(z_atomic: Any, box: Any, functional: str, cutoff: float, dtype) -> Term:
    if z_atomic is None or box is None:
        raise ValueError(
            "dispersion=True needs the atoms: give z_atomic and box, as they are given to "
            "mace_neighbor_list."
        )
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError(
            "dispersion=True needs 64 bits: call jax.config.update('jax_enable_x64', True) "
            "before anything else."
        )
    number, cell = np.asarray(z_atomic), np.asarray(_rows(jnp.asarray(box)), float)
    given = {"cutoff": cutoff, "compression": _COMPRESSION, "dtype": dtype}
    return d3(number, cell, functional, **given)


def _rows(box: Array) -> Array:
    """Lattice vectors as rows, Å; JAX-MD has them as columns, or three edges."""
    edges = jnp.broadcast_to(box, (3,)) if box.ndim < 2 else None
    return box.T if edges is None else jnp.diag(edges)
