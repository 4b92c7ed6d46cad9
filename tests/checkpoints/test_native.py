"""The native format: what is written comes back, and damage is reported."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxdiff.checkpoints import (
    CheckpointError,
    count_parameters,
    load_mace_torch,
    load_native,
    native,
    read_header,
    save_native,
)
from jaxdiff.models import dotted
from jaxdiff.models.mace import Mace, layout


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_mace_torch(tiny_model)


def parts(path):
    """Arrays and metadata of a native file, to be changed and written again."""
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        return arrays, dict(file.metadata())


def rewrite(path, arrays, metadata):
    path.write_bytes(safetensors.numpy.save(arrays, metadata))
    return path


def test_frozen_file_of_version_1(native_v1):
    """tests/data/make_references.py made it; it must stay readable, number by number."""
    model, header = load_native(native_v1), read_header(native_v1)
    assert header.format_version == 1
    assert header.architecture == model.architecture
    assert header.units == {"energy": "eV", "length": "angstrom"}
    assert header.provenance == {
        "source": "tiny.model",
        "license": "MIT",
        "trained_on": "nothing",
        "jaxdiff_version": "0.1.0",
    }
    arch = model.architecture
    assert arch.atomic_numbers == (3, 8, 9)
    assert arch.heads == ("pbe", "r2scan")
    assert (arch.channels, arch.hidden) == (2, ((0, 1), (0,)))
    assert (arch.cutoff, arch.zbl_power, arch.agnesi) == (pytest.approx(4.7), 5, True)
    assert count_parameters(model) == 628
    assert float(model.constants["scale"][1]) == np.float32(0.7)
    assert model.weights["embedding"].dtype == np.float32
    assert model.constants["atomic_energies"].dtype == np.float64


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_round_trip_keeps_numbers_types_and_shapes(model, tmp_path, dtype):
    cast = jax.tree.map(lambda leaf: leaf.astype(dtype), model)
    save_native(tmp_path / "m.safetensors", cast, {"sha256": "ab"})
    back = load_native(tmp_path / "m.safetensors")
    assert back.architecture == cast.architecture
    for kept, leaf in zip(jax.tree.leaves(back), jax.tree.leaves(cast), strict=True):
        assert (kept.dtype, kept.shape) == (leaf.dtype, leaf.shape)
        np.testing.assert_array_equal(kept, leaf)
    assert jax.tree.structure(back) == jax.tree.structure(cast)
    assert read_header(tmp_path / "m.safetensors").provenance["sha256"] == "ab"


def test_device_and_transposed_arrays_are_written_right(model, tmp_path):
    on_device = jax.tree.map(jnp.asarray, model)
    fortran = jax.tree.map(np.asfortranarray, model.weights)
    for given in (on_device, Mace(fortran, model.constants, model.architecture)):
        save_native(tmp_path / "m.safetensors", given)
        back = load_native(tmp_path / "m.safetensors")
        jax.tree.map(np.testing.assert_array_equal, back.weights, model.weights)


def test_an_interrupted_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_native(path, model)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_incomplete_model_is_not_saved(model, tmp_path):
    weights = {name: tree for name, tree in model.weights.items() if name != "embedding"}
    with pytest.raises(CheckpointError, match=r"to be saved lacks the array 'weights\.emb"):
        save_native(
            tmp_path / "m.safetensors", Mace(weights, model.constants, model.architecture)
        )


def test_unknown_type_is_not_saved(model, tmp_path):
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), model)
    with pytest.raises(CheckpointError, match="has the type bfloat16; a model file holds"):
        save_native(tmp_path / "m.safetensors", half)


def test_version_of_the_future(native_v1, tmp_path):
    arrays, metadata = parts(native_v1)
    path = rewrite(tmp_path / "m", arrays, metadata | {"format_version": "2"})
    with pytest.raises(CheckpointError, match="format version 2, .* reads version 1"):
        load_native(path)


def test_safetensors_of_another_format(native_v1, tmp_path):
    arrays, _ = parts(native_v1)
    for metadata, named in ((None, "None"), ({"format": "pt"}, "'pt'")):
        path = rewrite(tmp_path / "m", arrays, metadata)
        with pytest.raises(CheckpointError, match=f"of format {named}, not 'jaxdiff-mace'"):
            read_header(path)


@pytest.mark.parametrize("key", ["architecture", "units", "provenance"])
def test_damaged_header(native_v1, tmp_path, key):
    arrays, metadata = parts(native_v1)
    path = rewrite(tmp_path / "m", arrays, metadata | {key: "{"})
    with pytest.raises(CheckpointError, match="has a damaged header"):
        read_header(path)


def test_architecture_of_other_fields(native_v1, tmp_path):
    arrays, metadata = parts(native_v1)
    fields = json.loads(metadata["architecture"]) | {"charge": 1}
    path = rewrite(tmp_path / "m", arrays, metadata | {"architecture": json.dumps(fields)})
    with pytest.raises(CheckpointError, match="unknown or missing fields .*: charge"):
        read_header(path)


def test_other_units(native_v1, tmp_path):
    arrays, metadata = parts(native_v1)
    path = rewrite(tmp_path / "m", arrays, metadata | {"units": '{"energy": "Ha"}'})
    with pytest.raises(CheckpointError, match="has the units .*Ha.* files have"):
        load_native(path)


def test_missing_array(native_v1, tmp_path):
    arrays, metadata = parts(native_v1)
    del arrays["constants.products.0.1.2"]
    with pytest.raises(
        CheckpointError, match=r"lacks the array 'constants\.products\.0\.1\.2'"
    ):
        load_native(rewrite(tmp_path / "m", arrays, metadata))


def test_unknown_array(native_v1, tmp_path):
    arrays, metadata = parts(native_v1)
    arrays["weights.charge"] = np.zeros(3)
    with pytest.raises(CheckpointError, match=r"has the array 'weights\.charge', which"):
        load_native(rewrite(tmp_path / "m", arrays, metadata))


def test_array_of_another_shape(native_v1, tmp_path):
    arrays, metadata = parts(native_v1)
    arrays["weights.embedding"] = np.zeros((3, 4), np.float32)
    problem = r"'weights.embedding' of shape \(3, 4\), and its architecture needs \(3, 2\)"
    with pytest.raises(CheckpointError, match=problem):
        load_native(rewrite(tmp_path / "m", arrays, metadata))


@pytest.mark.parametrize("length", [0, 5, 1000, -4])
def test_truncated_file(native_v1, tmp_path, length):
    path = tmp_path / "m.safetensors"
    path.write_bytes(native_v1.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_native(path)


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no model file .*nothing"):
        load_native(tmp_path / "nothing")


def test_layout_names_what_upstream_holds(model):
    """The names come from the architecture alone, the model from upstream's file."""
    flat = dotted.flatten(model.weights, "weights")
    flat |= dotted.flatten(model.constants, "constants")
    assert flat.keys() == layout.layout(model.architecture).keys()
    assert dotted.nest(flat)["weights"].keys() == model.weights.keys()
    assert native.FORMAT_VERSION == 1
