"""The compiled evaluator of DeepPot-SE equals the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_deepmd import DATA, structure

from jaxdiff import checkpoints
from jaxdiff.models.contract import Request, cast
from jaxdiff.models.deepmd.compiled import COMPILED
from jaxdiff.models.derivative import interaction_gradient
from jaxdiff.models.edges import host_edges

# two_sided has means and pairs of networks; third_species what was left out; excluded and
# silent pairs that are not there; crowded neighbours without a place
CASES = {"two_sided.dp": 1e-6, "third_species.dp": 1e-6, "excluded.dp": None}
CASES |= {"silent.dp": 1e-6, "crowded.dp": 1e-6}
# each compiles two programs
MARK = dict.fromkeys(("two_sided.dp", "crowded.dp"), pytest.mark.long)
MARK |= dict.fromkeys(("third_species.dp", "excluded.dp"), pytest.mark.slow)


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=MARK.get(file, ())) for file in CASES],
)
def test_it_equals_the_plain_evaluator(file):
    model, atoms = checkpoints.load(DATA / file).restrict([3, 9]), structure("cell")
    species = np.array([model.species.index(z) for z in atoms.numbers], np.int32)
    edges = host_edges(atoms.positions, atoms.cell.array, model.cutoff, (True,) * 3, 8)
    edges = jax.tree.map(jnp.asarray, edges)
    params, evaluate = COMPILED.prepare(
        model, Request(species, jnp.float64, tolerance=CASES[file])
    )
    node, gradient, isolated = jax.jit(evaluate)(params, edges)
    exact, slope = jax.jit(interaction_gradient)(
        cast(model, "float64"), edges, jnp.asarray(species)
    )
    largest = np.abs(slope).max()
    assert largest > 0.1
    atol = (1e-13 if CASES[file] is None else 2e-6) * largest
    np.testing.assert_allclose(node, exact, rtol=0, atol=atol)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=atol)
    np.testing.assert_array_equal(isolated, np.asarray(model.isolated)[0, species])
