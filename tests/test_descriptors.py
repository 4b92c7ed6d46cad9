"""Descriptors: equal to upstream's, and invariant to all that does not matter."""

import contextlib
import io
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from oracle import MPA0

from jaxdiff.calculator import model_input, predict_atoms
from jaxdiff.checkpoints import load_mace_torch
from jaxdiff.descriptors import describe_atoms
from jaxdiff.models.mace.layers import node_features
from jaxdiff.potential import cast


def crystal(supercell=(2, 1, 1)):
    """A few atoms in a sheared cell much narrower than twice the cutoff."""
    atoms = bulk("LiF", "rocksalt", a=4.08) * supercell
    atoms.rattle(0.1, seed=3)
    strain = np.eye(3) + 0.05 * np.random.default_rng(0).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return atoms


def upstream_descriptors(upstream, model, atoms):
    """`MACECalculator.get_descriptors` in float64."""
    from mace.calculators import MACECalculator

    upstream.torch.set_default_dtype(upstream.torch.float64)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            calculator = MACECalculator(models=[model], default_dtype="float64")
            return calculator.get_descriptors(atoms, invariants_only=True)
    finally:
        upstream.torch.set_default_dtype(upstream.torch.float32)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden": "4x0e"},
        {"hidden": "4x0e+4x1o+4x2e", "max_ell": 3},
        {"num_interactions": 1},
        {"num_interactions": 3},
        MPA0 | {"hidden": "8x0e+8x1o", "mlp": "8x0e"},
    ],
    ids=["plain", "scalars", "L=2", "one layer", "three layers", "89 elements"],
)
def test_equal_to_upstream(upstream, tmp_path, options):
    model = upstream.build(**options)
    path = upstream.save(model, tmp_path / "m.model")
    expected = upstream_descriptors(upstream, model, crystal())
    found = describe_atoms(cast(load_mace_torch(path), "float64"), crystal())
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 1e-2  # something to compare
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_scalars_after_each_layer_side_by_side(model):
    atoms = crystal()
    small, edges, species = model_input(model, atoms)
    features = jax.jit(node_features)(small, edges, jnp.asarray(species))
    channels = model.architecture.channels
    shapes = [{ell: f.shape for ell, f in feature.items()} for feature in features]
    assert shapes == [
        {0: (4, 1, channels), 1: (4, 3, channels)},
        {0: (4, 1, channels)},
    ]
    expected = np.concatenate([f[0][:, 0] for f in features], axis=1)
    # another program, and sums differ in the last digits
    np.testing.assert_allclose(describe_atoms(model, atoms), expected, rtol=0, atol=1e-12)


def test_invariant_and_in_the_order_of_the_atoms(model):
    atoms = crystal((2, 2, 1))
    found = describe_atoms(model, atoms)
    moved = atoms.copy()
    moved.translate([0.3, -1.1, 2.0])
    moved.wrap()
    moved.rotate(40, (1, 2, 3), rotate_cell=True)
    order = np.random.default_rng(1).permutation(len(atoms))
    np.testing.assert_allclose(
        describe_atoms(model, moved[order]), found[order], rtol=0, atol=1e-10
    )


def test_different_environments_differ(model):
    found = describe_atoms(model, crystal((2, 2, 1)))
    apart = np.linalg.norm(found[:, None] - found[None], axis=-1)
    assert apart[~np.eye(len(found), dtype=bool)].min() > 1e-4


def test_precision_is_that_of_the_model(model):
    single = describe_atoms(cast(model, "float32"), crystal())
    assert single.dtype == np.float32
    double = describe_atoms(model, crystal())
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-4 * np.abs(double).max())


def test_what_cannot_be_described(model):
    salt = bulk("NaCl", "rocksalt", a=5.6)
    for function in (describe_atoms, predict_atoms):
        with pytest.raises(ValueError, match="does not know Na, Cl; it knows Li, F"):
            function(model, salt)
    lost = crystal()
    lost.positions[2, 0] = np.nan
    with pytest.raises(ValueError, match="position of atom 2 is"):
        describe_atoms(model, lost)
