"""Products of matrices are in full precision, whatever the program around them asks for."""

import jax
import jax.numpy as jnp
import pytest
from ase.build import bulk

from jaxdiff import neighbors, potential
from jaxdiff.calculator import model_input
from jaxdiff.checkpoints import load

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


@pytest.mark.parametrize("kind", ["plain", "compiled"])
def test_of_dynamics(atoms, kind):
    position, cell = jnp.asarray(atoms.positions), jnp.asarray(atoms.cell.array)
    found = potential.evaluator(load("lif-compact"), atoms.numbers, kind)
    lists = neighbors.allocate(position, cell, found.cutoff, 0.3)
    with jax.default_matmul_precision("bfloat16"):
        traced = jax.make_jaxpr(found.energy_and_force)(found.params, position, cell, lists)
    precisions = list(products(traced.jaxpr))
    assert len(precisions) > 20
    # the sum over strain is outside of the model, in float64
    assert sum(p != FULL for p in precisions) <= 2


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
    precisions = list(products(traced.jaxpr))
    assert len(precisions) > 40
    assert sum(p != FULL for p in precisions) <= 2
