"""Upstream's files: every number is the one mace-torch holds; the rest is refused."""

import math

import jax
import numpy as np
import pytest

from jaxdiff.checkpoints import (
    CheckpointError,
    count_parameters,
    load_mace_torch,
    load_native,
    modules,
)
from jaxdiff.checkpoints.unpickle import Inert, read
from jaxdiff.models import dotted

PLAIN = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock")
DENSITY = (
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)

LIVE = {
    "plain": dict(first=PLAIN[0], other=PLAIN[1]),
    "float32": dict(dtype="float32", correlation=3),
    "residual first": dict(first=PLAIN[1], other=PLAIN[1], hidden="4x0e+4x1o+4x2e"),
    "never residual": dict(first=PLAIN[0], other=PLAIN[0], hidden="4x0e"),
    "density": dict(
        first=DENSITY[0],
        other=DENSITY[1],
        correlation=3,
        heads=["pbe", "r2scan"],
        pair_repulsion=True,
        distance_transform="Agnesi",
        elements=(1, 3, 9),
    ),
    "density residual first": dict(first=DENSITY[1], other=DENSITY[1], correlation=1),
    "MACE": dict(kind="MACE", pair_repulsion=True, max_ell=3),
    "one layer": dict(num_interactions=1, hidden="4x0e"),
    "three layers": dict(
        num_interactions=3, keep_last_layer_irreps=True, hidden="2x0e+2x1o"
    ),
    "l above max_ell": dict(max_ell=1, hidden="2x0e+2x1o+2x2e", correlation=3),
    "correlation per layer": dict(correlation=[3, 1]),
    "wide radial": dict(radial_MLP=[8], num_bessel=8, mlp="16x0e", r_max=5.5),
}


def degree(irreps, index):
    return str(irreps[index].ir.l)


def upstream_linear(layer):
    """l -> matrix, through e3nn's own view of its flat weights."""
    parts = {}
    for _, ins, view in layer.weight_views(yield_instruction=True):
        key = degree(layer.irreps_out, ins.i_out)
        parts.setdefault(key, []).append(view.detach().numpy())
    return {key: np.concatenate(blocks) for key, blocks in parts.items()}


def upstream_species_linear(layer):
    return {
        degree(layer.irreps_out, ins.i_out): view.detach().numpy()
        for _, ins, view in layer.weight_views(yield_instruction=True)
    }


def upstream_network(net):
    return {str(n): layer.weight.detach().numpy() for n, layer in enumerate(net)}


def upstream_weights(model):
    """The documented tree of weights, from the live module."""
    weights = {"interactions": {}, "products": {}, "readouts": {}}
    weights["embedding"] = upstream_linear(model.node_embedding.linear)["0"]
    for i, block in enumerate(model.interactions):
        layer = {
            "linear_up": upstream_linear(block.linear_up),
            "radial": upstream_network(block.conv_tp_weights),
            "linear": upstream_linear(block.linear),
            "skip": upstream_species_linear(block.skip_tp),
        }
        if hasattr(block, "density_fn"):
            layer["density"] = upstream_network(block.density_fn)["0"]
        weights["interactions"][str(i)] = layer
    for i, block in enumerate(model.products):
        contraction = {}
        for entry, c in zip(
            block.symmetric_contractions.irreps_out,
            block.symmetric_contractions.contractions,
            strict=True,
        ):
            by_order = [c.weights_max, *c.weights][::-1]  # nu = 1, 2, …
            contraction[str(entry.ir.l)] = {
                str(nu): w.detach().numpy() for nu, w in enumerate(by_order, start=1)
            }
        linear = upstream_linear(block.linear)
        weights["products"][str(i)] = {"contraction": contraction, "linear": linear}
    for i, block in enumerate(model.readouts):
        weights["readouts"][str(i)] = {
            name: upstream_linear(layer)["0"]
            for name, layer in block.named_children()
            if name.startswith("linear")
        }
    return weights


def upstream_u_matrices(model):
    found = {}
    for i, block in enumerate(model.products):
        contractions = block.symmetric_contractions
        for entry, c in zip(
            contractions.irreps_out, contractions.contractions, strict=True
        ):
            for nu in range(1, c.correlation + 1):
                u = c.U_tensors(nu).numpy()
                u = u[None] if entry.ir.l == 0 else u
                found[f"constants.products.{i}.{entry.ir.l}.{nu}"] = u
    return found


def upstream_constants(model):
    """The documented tree of constants, flat, from the live module."""
    numbers = model.atomic_numbers.numpy()
    n_heads = len(model.heads)
    radial = model.radial_embedding
    found = upstream_u_matrices(model)
    e0 = model.atomic_energies_fn.atomic_energies.numpy()
    found["constants.atomic_energies"] = np.atleast_2d(e0).astype(np.float64)
    found["constants.bessel"] = radial.bessel_fn.bessel_weights.detach().numpy()
    silu = model.interactions[0].conv_tp_weights[0].act.cst
    found["constants.radial_activation"] = found["constants.readout_activation"] = silu
    found["constants.scale"], found["constants.shift"] = np.ones(n_heads), np.zeros(n_heads)
    if hasattr(model, "scale_shift"):
        found["constants.scale"] = np.atleast_1d(model.scale_shift.scale.numpy())
        found["constants.shift"] = np.atleast_1d(model.scale_shift.shift.numpy())
    if hasattr(radial, "distance_transform"):
        transform = radial.distance_transform
        for name in ("q", "p", "a"):
            found[f"constants.agnesi.{name}"] = getattr(transform, name).numpy()
        found["constants.agnesi.radius"] = transform.covalent_radii.numpy()[numbers]
    if hasattr(model, "pair_repulsion_fn"):
        zbl = model.pair_repulsion_fn
        for name in ("c", "a_exp", "a_prefactor"):
            found[f"constants.zbl.{name}"] = getattr(zbl, name).numpy()
        found["constants.zbl.radius"] = zbl.covalent_radii.numpy()[numbers]
    return found


@pytest.mark.oracle
@pytest.mark.parametrize("options", LIVE.values(), ids=LIVE)
def test_every_number_is_upstreams(upstream, tmp_path, options):
    model = upstream.build(**options)
    with upstream.torch.no_grad():  # constants that the formulas would not give
        model.radial_embedding.bessel_fn.bessel_weights *= 1.01
        if hasattr(model, "pair_repulsion_fn"):
            model.pair_repulsion_fn.a_exp *= 1.02
    loaded = load_mace_torch(upstream.save(model, tmp_path / "live.model"))

    flat = dotted.flatten(loaded.weights, "weights")
    flat |= dotted.flatten(loaded.constants, "constants")
    expected = dotted.flatten(upstream_weights(model), "weights")
    expected |= upstream_constants(model)
    assert flat.keys() == expected.keys()
    dtype = np.dtype(options.get("dtype", "float64"))
    for name, value in expected.items():
        kind = np.float64 if name == "constants.atomic_energies" else dtype
        assert flat[name].dtype == kind, name
        assert flat[name].shape == np.shape(value), name
        np.testing.assert_array_equal(flat[name], np.asarray(value, kind), err_msg=name)
    trainable = sum(p.numel() for p in model.parameters())
    assert count_parameters(loaded) == trainable  # nothing was left out


@pytest.mark.oracle
def test_architecture_is_upstreams(upstream, tmp_path):
    model = upstream.build(**LIVE["density"])
    found = load_mace_torch(upstream.save(model, tmp_path / "live.model")).architecture
    assert found.scale_shift
    assert found.atomic_numbers == (1, 3, 9)
    assert found.heads == ("pbe", "r2scan")
    assert found.cutoff == 4.7
    assert (found.num_bessel, found.cutoff_power, found.max_ell) == (6, 5, 2)
    assert (found.channels, found.hidden) == (4, ((0, 1), (0,)))
    assert found.correlation == (3, 3)
    assert found.interactions == DENSITY
    assert (found.radial_mlp, found.mlp_channels) == ((16, 12), 8)
    assert (found.agnesi, found.zbl_power) == (True, 5)
    assert found.average_neighbors == 7.3
    hash(found)


@pytest.mark.oracle
def test_trainable_bessel_and_dictionary_with_model(upstream, tmp_path):
    model = upstream.build()
    basis = model.radial_embedding.bessel_fn
    frequencies = basis.bessel_weights.numpy()
    basis.bessel_weights = upstream.torch.nn.Parameter(basis.bessel_weights)
    loaded = load_mace_torch(upstream.save({"model": model}, tmp_path / "live.model"))
    np.testing.assert_array_equal(loaded.constants["bessel"], frequencies)


UNSUPPORTED_LIVE = {
    "residual non-linear": (
        dict(other="RealAgnosticResidualNonLinearInteractionBlock"),
        "is a mace.modules.blocks.RealAgnosticResidualNonLinearInteractionBlock",
    ),
    "pseudotensors": (dict(hidden="4x0e+4x0o+4x1o+4x1e"), "has the irrep 0o"),
    "unequal channels": (dict(hidden="4x0e+2x1o"), r"has irreps_in1 = 4x0e\+2x1o"),
    "soft": (dict(distance_transform="Soft"), "SoftTransform.* Agnesi transform, or none"),
    "gaussian": (dict(radial_type="gaussian"), "GaussianBasis.* Supported: Bessel"),
    "chebyshev": (dict(radial_type="chebyshev"), "ChebychevBasis.* Supported: Bessel"),
    "apply_cutoff": (dict(apply_cutoff=False), "has apply_cutoff=False"),
    "agnostic": (dict(use_agnostic_product=True), "has use_agnostic_product=True"),
    "last readout": (dict(use_last_readout_only=True), "has use_last_readout_only=True"),
    "so3": (dict(use_so3=True), "has use_so3=True"),
    "order 4": (dict(correlation=4, max_ell=1, hidden="2x0e"), "has correlation order 4"),
}


@pytest.mark.oracle
@pytest.mark.parametrize("case", UNSUPPORTED_LIVE.values(), ids=UNSUPPORTED_LIVE)
def test_unsupported_live_model_is_named(upstream, tmp_path, case):
    options, problem = case
    path = upstream.save(upstream.build(**options), tmp_path / "live.model")
    with pytest.raises(CheckpointError, match=problem):
        load_mace_torch(path)


@pytest.mark.oracle
def test_unsupported_edge_irreps_and_embedding(upstream, tmp_path):
    edges = upstream.build(edge_irreps=upstream.o3.Irreps("2x0e+2x1o"))
    path = upstream.save(edges, tmp_path / "live.model")
    with pytest.raises(CheckpointError, match="edge_irreps that differ"):
        load_mace_torch(path)
    charge = {"type": "categorical", "per": "graph", "num_classes": 3, "emb_dim": 4}
    embedded = upstream.build(embedding_specs={"total_charge": charge})
    path = upstream.save(embedded, tmp_path / "live.model")
    with pytest.raises(CheckpointError, match="embeds charge, spin or other features"):
        load_mace_torch(path)


@pytest.mark.oracle
def test_state_dict_says_how_to_save_the_model(upstream, tmp_path):
    path = upstream.save(upstream.build().state_dict(), tmp_path / "state.pt")
    with pytest.raises(
        CheckpointError, match=r"dictionary \(atomic_numbers, r_max, .*Save"
    ):
        load_mace_torch(path)
    path = upstream.save({"model": upstream.build().state_dict()}, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="without a model"):
        load_mace_torch(path)


def test_stored_upstream_file_equals_the_frozen_native_file(tiny_model, native_v1):
    loaded, frozen = load_mace_torch(tiny_model), load_native(native_v1)
    assert loaded.architecture == frozen.architecture
    jax.tree.map(np.testing.assert_array_equal, loaded.weights, frozen.weights)
    jax.tree.map(np.testing.assert_array_equal, loaded.constants, frozen.constants)


@pytest.mark.parametrize(
    ("name", "elements", "dtype", "channels", "hidden", "cutoff"),
    [
        ("mace_spice_2022.model", 15, "float32", 32, ((0,), (0,)), 4.5),
        ("mace_swa_2024.model", 3, "float64", 64, ((0, 1), (0,)), 5.0),
    ],
)
def test_files_of_other_years(old_model, name, elements, dtype, channels, hidden, cutoff):
    model = load_mace_torch(old_model(name))
    arch = model.architecture
    assert arch.heads == ("Default",)
    assert (len(arch.atomic_numbers), arch.channels) == (elements, channels)
    assert (arch.hidden, arch.cutoff, arch.max_ell) == (hidden, cutoff, 3)
    assert model.weights["embedding"].dtype == dtype
    assert model.constants["atomic_energies"].shape == (1, elements)
    assert model.constants["atomic_energies"].dtype == np.float64
    bessel = np.pi / cutoff * np.arange(1, 9)  # trained or not, they start here
    np.testing.assert_allclose(model.constants["bessel"], bessel, rtol=1e-6)
    # e3nn estimates 1/sqrt(<silu^2>) = 1.6765 from 1e6 samples: within 0.5 %
    assert model.constants["radial_activation"] == pytest.approx(1.6765, rel=5e-3)
    for leaf in jax.tree.leaves(model.weights):
        assert np.isfinite(leaf).all()


def edited(monkeypatch, path, edit):
    """The error of a file whose tree was changed by `edit`."""
    tree = read(path)
    edit(tree)
    monkeypatch.setattr(modules, "read", lambda _: tree)
    with pytest.raises(CheckpointError) as caught:
        load_mace_torch(path)
    return str(caught.value)


def rename(record, name):
    record.name = name


def child(tree, path):
    for name in path.split("."):
        tree = tree.get(name)
        assert isinstance(tree, Inert), name
    return tree


CUE = "cuequivariance_torch.layers.Layer"

EDITS = {
    "class": (
        lambda t: rename(t, "mace.modules.models.AtomicDipolesMACE"),
        "AtomicDipolesMACE, which is not supported. Supported: MACE and ScaleShiftMACE",
    ),
    "foreign class": (
        lambda t: rename(t, "torch.nn.modules.linear.ScaleShiftMACE"),
        "is a torch.nn.modules.linear.ScaleShiftMACE, which is not supported",
    ),
    "cueq linear": (
        lambda t: rename(child(t, "node_embedding.linear"), CUE),
        "convert the model back to e3nn",
    ),
    "cueq contraction": (
        lambda t: rename(child(t, "products.0.symmetric_contractions"), CUE),
        "Supported: mace-torch's SymmetricContraction; convert the model back",
    ),
    "cueq convolution": (
        lambda t: rename(child(t, "interactions.1.conv_tp"), CUE),
        "conv_tp is a cuequivariance_torch.layers.Layer",
    ),
    "cueq skip": (
        lambda t: rename(child(t, "interactions.1.skip_tp"), CUE),
        "Supported: e3nn's FullyConnectedTensorProduct; convert",
    ),
    "biased readout": (
        lambda t: rename(child(t, "readouts.1"), "mace.modules.NonLinearBiasReadoutBlock"),
        "readouts.1 is a mace.modules.NonLinearBiasReadoutBlock",
    ),
    "biases": (
        lambda t: child(t, "products.0.linear").state["_buffers"].update(bias=np.ones(2)),
        "products.0.linear has biases, which is not supported",
    ),
    "gate": (
        lambda t: setattr(
            child(t, "readouts.1.non_linearity.acts.0").get("f"), "name", "torch.gelu"
        ),
        "applies torch.gelu, which is not supported. Supported: silu",
    ),
    "no residual": (
        lambda t: child(t, "products.1").state.update(use_sc=False),
        "products.1 ignores the residual of its interaction",
    ),
    "missing readout": (
        lambda t: child(t, "readouts").state["_modules"].pop("0"),
        "has 2 interactions and 1 readouts",
    ),
    "missing module": (
        lambda t: t.state["_modules"].pop("radial_embedding"),
        "has no 'radial_embedding'. The file is not a complete MACE model",
    ),
    "missing weight": (
        lambda t: child(t, "interactions.0.linear_up").state["_parameters"].pop("weight"),
        "interactions.0.linear_up has no 'weight'",
    ),
    "short weight": (
        lambda t: (
            child(t, "products.0.linear").state["_parameters"].update(weight=np.ones(3))
        ),
        "products.0.linear has 3 weights, and its paths need 8",
    ),
    "wrong U": (
        lambda t: (
            child(t, "products.0.symmetric_contractions.contractions.1")
            .state["_buffers"]
            .update(U_matrix_2=np.ones((3, 9, 9, 1)))
        ),
        "has U_matrix_2 of shape (3, 9, 9, 1), and its weights need (3, 9, 9, 4)",
    ),
    "heads": (
        lambda t: t.state.update(heads=["pbe"]),
        "has 1 heads and isolated-atom energies for 2",
    ),
    "neighbors": (
        lambda t: child(t, "interactions.0").state.update(avg_num_neighbors="many"),
        "has 'avg_num_neighbors' that is not one number",
    ),
    "order": (
        lambda t: child(t, "interactions.1.conv_tp").get("instructions").reverse(),
        "Supported: the 7 paths of mace-torch, in its order",
    ),
    "shape": (
        lambda t: child(t, "scale_shift").state["_buffers"].update(scale=np.ones(3)),
        "has 'constants.scale' of shape (3,), and its architecture needs (2,)",
    ),
}


@pytest.mark.parametrize("case", EDITS.values(), ids=EDITS)
def test_what_is_wrong_is_named(monkeypatch, tiny_model, case):
    edit, problem = case
    message = edited(monkeypatch, tiny_model, edit)
    assert problem in message
    assert str(tiny_model) in message


def test_norm_of_another_e3nn_is_refused(monkeypatch, tiny_model):
    def edit(tree):
        (instruction,) = child(tree, "node_embedding.linear").get("instructions")
        instruction.arguments = (*instruction.arguments[:-1], 1.0)

    expected = f"e3nn's default, {1 / math.sqrt(3):.6g} here"
    assert expected in edited(monkeypatch, tiny_model, edit)


def test_something_else_in_the_file(archive, opcodes):
    with pytest.raises(CheckpointError, match="holds a int, not a model"):
        load_mace_torch(archive(opcodes.constant(3)))


def test_heads_may_be_missing(monkeypatch, tiny_model):
    tree = read(tiny_model)
    del tree.state["heads"]
    monkeypatch.setattr(modules, "read", lambda _: tree)
    assert load_mace_torch(tiny_model).architecture.heads == ("head_0", "head_1")
