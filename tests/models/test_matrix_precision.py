"""Products of matrices are in full precision, whatever the program around them asks for."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jaxdiff import neighbors, potential
from jaxdiff.calculator import model_input
from jaxdiff.checkpoints import load
from jaxdiff.descriptors import invariant_features
from jaxdiff.jaxmd import jax_md_model

FULL = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


def products(jaxpr):
    """Precisions of all matrix products of floats, those of inner programs too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from products(inner)


@pytest.fixture(scope="module")
def atoms():
    atoms = bulk("LiF", "rocksalt", a=4.08, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def require_full(traced, more_than):
    precisions = list(products(traced.jaxpr))
    assert len(precisions) > more_than
    assert set(precisions) == {FULL}


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("kind", ["plain", "compiled"])
def test_of_dynamics(atoms, kind, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    position, cell = jnp.asarray(atoms.positions), jnp.asarray(atoms.cell.array)
    found = potential.evaluator(load("lif-compact"), atoms.numbers, kind)
    lists = neighbors.allocate(position, cell, found.cutoff, 0.3)
    with jax.default_matmul_precision("bfloat16"):
        traced = jax.make_jaxpr(found.energy_and_force)(found.params, position, cell, lists)
    require_full(traced, more_than=20)


def test_of_the_calculator_and_of_training(atoms):
    model, edges, species = model_input(load("lif-compact"), atoms)
    edges, volume = jax.tree.map(jnp.asarray, edges), atoms.get_volume()

    def energy(model):
        found = potential.predict(
            model, edges.displacement, edges, jnp.asarray(species), volume
        )
        return found.energy + jnp.sum(found.forces**2)

    with jax.default_matmul_precision("bfloat16"):
        traced = jax.make_jaxpr(jax.grad(energy))(model)
    require_full(traced, more_than=40)


@pytest.mark.parametrize("compute_force", [True, False])
def test_of_jax_md(atoms, compute_force):
    """Its dynamics are derivatives of the energy alone, which it takes itself."""
    model, edges, species = model_input(load("lif-compact"), atoms)
    receiver = np.repeat(np.arange(len(atoms)), edges.sender.shape[1])
    batch = {
        "edge_index": jnp.stack([edges.sender.reshape(-1), receiver]),
        "node_attrs": jnp.asarray(np.eye(len(model.species))[species]),
        "shifts": jnp.zeros((edges.sender.size, 3)),
    }
    apply, _ = jax_md_model(model)

    def energy(position):
        batch_there = batch | {"positions": position}
        found = apply(batch_there, compute_force=compute_force)
        return jnp.sum(found["energy"]) + jnp.sum(found.get("forces", jnp.zeros(())) ** 2)

    with jax.default_matmul_precision("bfloat16"):
        traced = jax.make_jaxpr(jax.grad(energy))(jnp.asarray(atoms.positions))
    require_full(traced, more_than=20)


def test_of_descriptors(atoms):
    model, edges, species = model_input(load("lif-compact"), atoms)
    edges = replace(edges, displacement=jnp.asarray(edges.displacement, model.dtype))
    with jax.default_matmul_precision("bfloat16"):
        traced = jax.make_jaxpr(invariant_features)(model, edges, jnp.asarray(species))
    require_full(traced, more_than=10)
