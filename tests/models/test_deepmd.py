"""DeepPot-SE against what deepmd-kit predicts: stored (data/make_deepmd.py), and live."""

import dataclasses
import functools
import json
from pathlib import Path

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from deepmd_oracle import Kit

from jaxdiff import checkpoints
from jaxdiff.calculator import predict_atoms
from jaxdiff.finetune.adaptation import Lora, initial_weights
from jaxdiff.models.deepmd import layers
from jaxdiff.models.deepmd.network import ACTIVATIONS, activation
from jaxdiff.models.edges import Edges, host_edges
from jaxdiff.potential import cast

DATA = Path(__file__).parents[1] / "data" / "deepmd"
FILES = sorted(path.name for path in DATA.glob("*.[dy]*"))
TOLERANCE = {"energies": 1e-10, "forces": 1e-9, "virial": 1e-9}


@functools.cache
def record() -> dict:
    return json.loads((DATA / "predictions.json").read_text())


def structure(name: str) -> ase.Atoms:
    fields = {k: np.asarray(v) for k, v in record()["structures"][name].items()}
    return ase.Atoms.fromdict(fields)


def agrees(model, atoms, expected) -> None:
    found = predict_atoms(model, atoms)
    ours = {"energies": found.node_energy, "forces": found.forces}
    if atoms.pbc.all():
        ours["virial"] = -found.stress * abs(np.linalg.det(atoms.cell.array))
    for key, value in ours.items():
        np.testing.assert_allclose(value, expected[key], rtol=0, atol=TOLERANCE[key])
    assert np.abs(expected["forces"]).max() > 1e-2  # or nothing is compared


QUICK = ("silent.dp", "one_sided.dp")


@pytest.mark.parametrize(
    "file",
    [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in FILES],
)
def test_a_cell_narrower_than_the_cutoff(file):
    agrees(
        checkpoints.load(DATA / file),
        structure("cell"),
        record()["predictions"][file]["cell"],
    )


@pytest.mark.parametrize(
    "file", ["two_sided.dp", pytest.param("silent.dp", marks=pytest.mark.long)]
)
def test_a_cluster_without_a_cell(file):
    expected = record()["predictions"][file]["cluster"]
    agrees(checkpoints.load(DATA / file), structure("cluster"), expected)


def test_a_left_handed_cell_is_the_same_crystal():
    atoms = structure("cell")
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(atoms.cell.array) < 0
    expected = record()["predictions"]["two_sided.dp"]["cell"]
    agrees(checkpoints.load(DATA / "two_sided.dp"), atoms, expected)


def test_species_are_left_out_in_double_precision():
    """What their empty places add is rounded once, by whoever computes."""
    model = checkpoints.load(DATA / "third_species.dp")
    single = jax.tree.map(lambda x: np.asarray(x, np.float32), model)
    first = cast(single, "float64").restrict([3, 9]).constants["absent"]
    last = cast(single.restrict([3, 9]), "float64").constants["absent"]
    np.testing.assert_array_equal(first, last)
    assert np.abs(first).max() > 0.1


def test_sections_that_it_has_no_use_for():
    model = checkpoints.load(DATA / "one_sided.dp")
    with pytest.raises(ValueError, match="a DeepPot has no weights with low-rank updates"):
        initial_weights(model, lora=Lora(4, 1.0))
    with pytest.raises(ValueError, match="DeepPot cannot have several heads"):
        model.with_heads(("a", "b"), np.zeros((2, 2)))


@pytest.mark.oracle
@pytest.mark.long
@pytest.mark.parametrize("one_sided", [True, False])
def test_deepmd_kit_live(tmp_path, one_sided):
    """Another model than the stored ones: precision float32, cast to float64 by both."""
    kit = Kit()
    descriptor = {"type_one_side": one_sided, "precision": "float32", "seed": 11}
    fitting = {"precision": "float32", "activation_function": "relu6", "seed": 12}
    path = kit.write(tmp_path / "m.dp", descriptor=descriptor, fitting=fitting, shift=True)
    model = checkpoints.load(path)
    assert model.dtype == np.float32
    wide = tmp_path / "wide.dp"
    checkpoints.save(wide, jax.tree.map(lambda x: np.asarray(x, np.float64), model))
    atoms = structure("cell")
    agrees(cast(model, "float64"), atoms, kit.predict(wide, atoms))


def test_activations_by_their_definitions():
    x = np.linspace(-7, 9, 33)
    sigmoid = 1 / (1 + np.exp(-x))
    gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    expected = {
        "tanh": np.tanh(x),
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "gelu": gelu,
        "gelu_tf": gelu,
        "softplus": np.log(1 + np.exp(x)),
        "sigmoid": sigmoid,
        "silu": x * sigmoid,
        "none": x,
        "linear": x,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(activation(name.upper())(x), value, atol=1e-13)
    for name, end in (("silut", 3.0), ("custom_silu:2.5", 2.5), ("Silut:10.0", 10.0)):
        at_end = 1 / (1 + np.exp(-end))
        slope = at_end + end * at_end * (1 - at_end)
        above = np.tanh(slope * (x - end)) + end * at_end
        value = np.where(x < end, x * sigmoid, above)
        np.testing.assert_allclose(activation(name)(x), value, atol=1e-13)
    assert set(expected) | {"silut", "custom_silu"} == set(ACTIVATIONS)
    for name in ("swish", "tanh:2", "silut:", "silut:x"):
        with pytest.raises(ValueError, match="is not known; known are tanh"):
            activation(name)


@pytest.mark.slow
def test_flat_edges_padding_and_crowds():
    """Both layouts of edges, with places left over, keep the same nearest neighbours."""
    model = jax.tree.map(jnp.asarray, checkpoints.load(DATA / "crowded.dp"))
    atoms = structure("cell")
    edges = host_edges(atoms.positions, atoms.cell.array, model.cutoff, (True,) * 3, 32)
    species = jnp.asarray([model.species.index(z) for z in atoms.numbers])
    rows = layers.descriptor(model, edges, species)
    order = np.random.default_rng(0).permutation(edges.sender.size)
    receiver = np.repeat(np.arange(len(atoms)), edges.sender.shape[1])
    vectors = edges.displacement.reshape(-1, 3)
    flat = Edges(vectors[order], edges.sender.reshape(-1)[order], receiver[order])
    np.testing.assert_allclose(layers.descriptor(model, flat, species), rows, atol=1e-14)
    roomy = dataclasses.replace(model.architecture, selection=(60, 60))
    assert (
        np.abs(
            layers.descriptor(model.replace(architecture=roomy), edges, species) - rows
        ).max()
        > 1e-3
    )


def test_derivatives_over_weights():
    """Second derivatives, which training takes, are finite and not zero."""
    model = jax.tree.map(jnp.asarray, checkpoints.load(DATA / "two_sided.dp"))
    atoms = structure("cell")
    edges = host_edges(atoms.positions, atoms.cell.array, model.cutoff, (True,) * 3, 8)
    species = jnp.asarray([0, 1, 0, 1])

    @jax.jit
    def gradient(weights):
        def force(displacement):
            moved = dataclasses.replace(edges, displacement=displacement)
            return jnp.sum(
                layers.node_energy(model.replace(weights=weights), moved, species)
            )

        return jnp.sum(jax.grad(force)(jnp.asarray(edges.displacement)) ** 2)

    found = jax.grad(gradient)(model.weights)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found)])
    assert np.all(np.isfinite(flat))
    assert np.mean(flat != 0) > 0.9
