"""Fewer species or heads, the same energies."""

import dataclasses

import jax
import numpy as np
import pytest
from oracle import MPA0

from jaxdiff.checkpoints import (
    count_parameters,
    load_mace_torch,
    restrict,
    restrict_heads,
    save_native,
)
from jaxdiff.checkpoints.native import load_native
from jaxdiff.models.edges import Edges
from jaxdiff.models.mace import Mace
from jaxdiff.models.mace.layers import node_energy


def double(model):
    """The model in float64, on the device."""
    return jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, np.float64), model)


def energies(model, atomic_numbers, displacement, head=0):
    """Energy of each atom of a cluster in which every atom sees every other, eV."""
    table = list(model.architecture.atomic_numbers)
    species = np.array([table.index(z) for z in atomic_numbers])
    n = len(species)
    sender = np.array([[j for j in range(n) if j != i] for i in range(n)])
    edges = Edges(displacement=displacement, sender=sender)
    e0 = model.constants["atomic_energies"][head][species]
    interaction = jax.jit(node_energy)(model, edges, species, head)
    return np.asarray(interaction) + np.asarray(e0)


def cluster(n, rng):
    """Displacements [n, n - 1, 3] of a random cluster, Å."""
    position = rng.uniform(-2.0, 2.0, (n, 3))
    rows = [[position[i] - position[j] for j in range(n) if j != i] for i in range(n)]
    return np.array(rows)


@pytest.mark.parametrize("head", [0, 1])
def test_energies_do_not_change(tiny_model, head):
    model = double(load_mace_torch(tiny_model))
    small = restrict(model, (9, 3, 9))
    assert small.architecture.atomic_numbers == (3, 9)
    displacement = cluster(6, np.random.default_rng(3))
    atoms = (3, 9, 9, 3, 3, 9)
    whole, kept = (energies(m, atoms, displacement, head) for m in (model, small))
    assert np.ptp(whole) > 1e-3  # the atoms do interact
    np.testing.assert_allclose(kept, whole, rtol=0, atol=1e-12)


def test_the_model_itself_is_untouched(tiny_model):
    model = load_mace_torch(tiny_model)
    before = jax.tree.map(np.copy, model)
    restrict(model, [8])
    jax.tree.map(np.testing.assert_array_equal, model.weights, before.weights)
    jax.tree.map(np.testing.assert_array_equal, model.constants, before.constants)


def test_all_species_change_nothing_and_types_are_kept(tiny_model):
    model = load_mace_torch(tiny_model)
    same = restrict(model, (8, 9, 3))
    assert same.architecture == model.architecture
    jax.tree.map(np.testing.assert_array_equal, same.weights, model.weights)
    small = restrict(model, [3])
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(small.weights)} == {"float32"}


def test_a_restricted_model_can_be_saved(tiny_model, tmp_path):
    small = restrict(load_mace_torch(tiny_model), [3, 9])
    save_native(tmp_path / "small.safetensors", small)
    back = load_native(tmp_path / "small.safetensors")
    jax.tree.map(np.testing.assert_array_equal, back.weights, small.weights)


def test_unknown_species(tiny_model):
    model = load_mace_torch(tiny_model)
    with pytest.raises(
        ValueError, match=r"species \[11\] are not in the model.*\[3, 8, 9\]"
    ):
        restrict(model, [3, 11])
    with pytest.raises(ValueError, match=r"no species given; it knows .*\[3, 8, 9\]"):
        restrict(model, [])


@pytest.mark.parametrize("name", ["pbe", "r2scan"])
def test_energies_of_one_head_do_not_change(tiny_model, name):
    model = double(load_mace_torch(tiny_model))
    before = jax.tree.map(np.copy, model)
    one = restrict_heads(model, [name])
    assert one.architecture.heads == (name,)
    displacement = cluster(6, np.random.default_rng(3))
    atoms = (3, 9, 8, 3, 3, 9)
    head = model.architecture.heads.index(name)
    whole = energies(model, atoms, displacement, head)
    other = energies(model, atoms, displacement, 1 - head)
    kept = energies(one, atoms, displacement)
    assert np.abs(whole - other).max() > 1e-3  # the heads do differ
    np.testing.assert_allclose(kept, whole, rtol=0, atol=1e-12)
    jax.tree.map(np.testing.assert_array_equal, model.weights, before.weights)


def test_all_heads_change_nothing_and_one_can_be_saved(tiny_model, tmp_path):
    model = load_mace_torch(tiny_model)
    same = restrict_heads(model, ["r2scan", "pbe"])
    assert same.architecture == model.architecture
    jax.tree.map(np.testing.assert_array_equal, same.weights, model.weights)
    jax.tree.map(np.testing.assert_array_equal, same.constants, model.constants)
    one = restrict_heads(model, ["r2scan"])
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(one.weights)} == {"float32"}
    save_native(tmp_path / "one.safetensors", one)
    back = load_native(tmp_path / "one.safetensors")
    jax.tree.map(np.testing.assert_array_equal, back.weights, one.weights)


@pytest.mark.slow
def test_two_heads_of_three(model):
    names = ("a", "b", "c")
    three = with_heads(model, names)
    two = restrict_heads(three, ["c", "a"])
    assert two.architecture.heads == ("a", "c")
    displacement, atoms = cluster(4, np.random.default_rng(2)), (3, 9, 9, 3)
    for name in ("a", "c"):
        expected = energies(three, atoms, displacement, names.index(name))
        found = energies(two, atoms, displacement, two.architecture.heads.index(name))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def with_heads(model, names):
    """The model with several heads, all weights of the readouts random."""
    rng = np.random.default_rng(7)
    n, width = len(names), model.architecture.mlp_channels
    channels = model.architecture.channels
    readouts = {
        "0": {"linear": rng.normal(size=(channels, n))},
        "1": {
            "linear_1": rng.normal(size=(channels, n * width)),
            "linear_2": rng.normal(size=(n * width, n)),
        },
    }
    constants = model.constants | {
        "atomic_energies": rng.normal(size=(n, 2)),
        "scale": rng.uniform(1.0, 2.0, n),
        "shift": rng.normal(size=n),
    }
    architecture = dataclasses.replace(model.architecture, heads=names)
    return Mace(model.weights | {"readouts": readouts}, constants, architecture)


def test_unknown_head(tiny_model):
    model = load_mace_torch(tiny_model)
    with pytest.raises(ValueError, match="no head is named mp; .* heads pbe, r2scan"):
        restrict_heads(model, ["pbe", "mp"])
    with pytest.raises(ValueError, match="no head given; the model has the heads pbe"):
        restrict_heads(model, [])


@pytest.fixture(scope="session")
def mpa(upstream):
    """A model of exactly the architecture of MACE-MPA-0, random weights."""
    return upstream.build(**MPA0)


@pytest.mark.slow
@pytest.mark.oracle
def test_mpa_for_lithium_fluoride(upstream, mpa, tmp_path):
    """Loading and restricting the 89-element model gives mace-torch's own energies."""
    model = load_mace_torch(upstream.save(mpa, tmp_path / "mpa.model"))
    assert count_parameters(model) == 9_063_204
    small = double(restrict(model, [3, 9]))
    # upstream's extraction counts 655,534: it makes the 10 Bessel frequencies trainable
    assert count_parameters(small) == 655_524

    atoms = (3, 9, 3, 9, 9)
    n = len(atoms)
    displacement = cluster(n, np.random.default_rng(5))
    expected = upstream_energies(upstream, mpa, atoms, displacement)
    found = energies(small, atoms, displacement)
    # measured 1e-16 eV; a thousand roundings of energies of 1 eV
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def upstream_energies(upstream, model, atoms, displacement):
    """mace-torch's energy of each atom, eV; atom 0 is at the origin."""
    torch = upstream.torch
    n = len(atoms)
    position = np.zeros((n, 3))
    position[1:] = -displacement[0]  # row 0 holds x_0 - x_j
    pairs = np.array([(j, i) for i in range(n) for j in range(n) if i != j]).T
    table = model.atomic_numbers.tolist()
    attributes = torch.zeros((n, len(table)), dtype=torch.float64)
    attributes[range(n), [table.index(z) for z in atoms]] = 1.0
    edges = pairs.shape[1]
    data = {
        "positions": torch.tensor(position),
        "node_attrs": attributes,
        "edge_index": torch.tensor(pairs),
        "shifts": torch.zeros((edges, 3), dtype=torch.float64),
        "unit_shifts": torch.zeros((edges, 3), dtype=torch.float64),
        "cell": torch.zeros((3, 3), dtype=torch.float64),
        "batch": torch.zeros(n, dtype=torch.int64),
        "ptr": torch.tensor([0, n]),
        "head": torch.zeros(1, dtype=torch.int64),
    }
    torch.set_default_dtype(torch.float64)  # upstream's ZBL multiplies integers by floats
    try:
        return model(data, compute_force=False)["node_energy"].detach().numpy()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.oracle
def test_weights_are_those_of_upstreams_own_extraction(upstream, tmp_path):
    """Against load_foundations_elements, which users of mace-torch fine-tune from."""
    from mace.tools import AtomicNumberTable
    from mace.tools.finetuning_utils import load_foundations_elements

    options = dict(
        first="RealAgnosticDensityInteractionBlock",
        other="RealAgnosticDensityResidualInteractionBlock",
        pair_repulsion=True,
    )
    large = upstream.build(elements=(1, 3, 8, 9, 11), **options)
    small = upstream.build(elements=(3, 9), **options)
    with upstream.torch.no_grad():
        small = load_foundations_elements(
            small, large, AtomicNumberTable([3, 9]), load_readout=True, max_L=1
        )
    expected = load_mace_torch(upstream.save(small, tmp_path / "small.model"))
    found = restrict(
        load_mace_torch(upstream.save(large, tmp_path / "large.model")), [3, 9]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-15),
        found.weights,
        expected.weights,
    )
