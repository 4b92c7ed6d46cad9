"""Losses and their gradients, against mace-torch's on the same batch."""

import dataclasses

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gated import upstreams
from labelled import gradients, labelled, torch_batch, torch_loss

from jaxdiff.checkpoints import load
from jaxdiff.finetune import read_frames
from jaxdiff.finetune.batches import batches, join, make_graph, make_plan
from jaxdiff.finetune.loss import (
    FORCE_BANDS,
    KINDS,
    Loss,
    batch_loss,
    conditional_huber,
    loss_terms,
    predict_batch,
)
from jaxdiff.models.dotted import flatten

OPTIONS = {
    "plain": {"hidden": "4x0e+4x1o", "max_ell": 2},
    "density": {
        "first": "RealAgnosticDensityInteractionBlock",
        "other": "RealAgnosticDensityResidualInteractionBlock",
        "hidden": "4x0e+4x1o",
        "max_ell": 2,
        "correlation": 3,
        "pair_repulsion": True,
        "distance_transform": "Agnesi",
        "r_max": 5.2,
    },
    "heads": {"heads": ["one", "two"], "hidden": "4x0e", "max_ell": 1},
}
WEIGHTS = 0.75, 11.0, 13.0  # exact in float32, in which upstream's losses keep them


@pytest.fixture(scope="module")
def files(tmp_path_factory, model):
    """Frames with weights of their own, one that lacks stress, one pulled far apart."""
    folder = tmp_path_factory.mktemp("frames")
    frames = labelled(3, 5, model)
    rng = np.random.default_rng(2)
    for frame in frames:
        frame.info["REF_energy"] += rng.normal(0, 0.1)
        frame.arrays["REF_forces"] += rng.normal(0, 0.3, frame.positions.shape)
        volume = frame.get_volume()
        frame.info["REF_virials"] = -volume * frame.info["REF_stress"]
    frames[0].info |= {"config_forces_weight": 0.3, "config_energy_weight": 2.0}
    frames[0].info |= {"charge": -1, "spin": 2}  # for models that take them
    frames[1].info["charge"] = 3
    frames[1].arrays["REF_forces"][0] = [160.0, 0.0, 0.0]  # the second band
    frames[1].arrays["REF_forces"][1] = [0.0, 250.0, 0.0]  # the third
    frames[1].arrays["REF_forces"][2] = [0.0, 250.0, 350.0]  # the last
    del frames[2].info["REF_stress"], frames[2].info["REF_virials"]
    path = folder / "frames.extxyz"
    ase.io.write(path, frames)
    return path


def ours(model, path, heads):
    """The frames as one batch, padded."""
    numbers, energies = (
        model.architecture.atomic_numbers,
        model.constants["atomic_energies"],
    )
    graphs = [
        make_graph(f, numbers, np.asarray(energies)[h], model.architecture.cutoff, h,
                   dtype=np.float64)
        for f, h in zip(read_frames([path]), heads, strict=True)
    ]  # fmt: skip
    return joined(graphs, make_plan(graphs, batch_size=3))


def joined(graphs, plan):
    """A batch as a compiled program has it."""
    return jax.tree.map(jnp.asarray, join(graphs, plan))


def torch_losses():
    """mace-torch's, by our names."""
    from mace.modules import loss

    return {
        "weighted": loss.WeightedEnergyForcesStressLoss(*WEIGHTS),
        "huber": loss.WeightedHuberEnergyForcesStressLoss(*WEIGHTS, huber_delta=0.02),
        "universal": loss.UniversalLoss(*WEIGHTS, huber_delta=0.02),
        "virials": loss.WeightedEnergyForcesVirialsLoss(*WEIGHTS),
    }


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ("plain", ("weighted", "universal", "virials")),
        ("plain", ("huber",)),
        ("density", ("universal",)),
        ("density", ("weighted", "virials")),
        ("heads", ("weighted", "universal", "virials")),
        pytest.param("gated", ("weighted", "universal"), marks=pytest.mark.long),
        pytest.param("charged", ("weighted", "universal"), marks=pytest.mark.long),
    ],
)
def test_loss_and_gradient_equal_upstreams(upstream, files, tmp_path, options, kinds):
    """To 1e-8 relative, of every parameter; the frames have weights, bands and gaps.

    Of a model that takes charge and multiplicity, those of each frame, and also what they
    add to the energies of isolated atoms.
    """
    own = OPTIONS.get(options)
    gated = own is None and upstreams(upstream, charged=options == "charged")
    theirs = (gated or upstream.build(**own)).double()
    model = load(upstream.save(theirs, tmp_path / "start.model"))
    heads = [0, 1, 1] if len(model.heads) > 1 else [0, 0, 0]
    frames = ase.io.read(files, index=":")
    if kinds == ("huber",):  # upstream takes a missing stress for zero there
        frames[2].info["REF_stress"] = frames[1].info["REF_stress"]
        files = tmp_path / "whole.extxyz"
        ase.io.write(files, frames)
        frames = ase.io.read(files, index=":")
    batch = ours(model, files, heads)

    def values(weights):
        trial = dataclasses.replace(model, weights=weights)
        named = {k: Loss(k, 0.02) for k in kinds} | {"virials": Loss("weighted", 0, True)}
        return {k: batch_loss(trial, batch, named[k], WEIGHTS) for k in kinds}

    found, jacobian = jax.jit(lambda w: (values(w), jax.jacrev(values)(w)))(model.weights)
    torch_graphs = torch_batch(upstream, theirs, frames, heads)
    for kind in kinds:
        loss, virials = torch_losses()[kind].double(), kind == "virials"
        theirs.zero_grad()
        value = torch_loss(upstream, theirs, torch_graphs, loss, virials=virials)
        value.backward()
        np.testing.assert_allclose(found[kind], float(value), rtol=1e-8)
        wanted = flatten(gradients(upstream, theirs, tmp_path / "gradient.model"), kind)
        for name, array in flatten(jacobian[kind], kind).items():
            size = np.abs(wanted[name]).max()
            # parameters that nothing depends on have rounding on both sides
            tolerance = 1e-8 * max(size, 1e-6)
            np.testing.assert_allclose(
                array, wanted[name], rtol=0, atol=tolerance, err_msg=name
            )


@pytest.mark.slow
def test_a_batch_predicts_what_single_frames_do(files, model, tmp_path):
    """Padding, several sizes in one batch and the joined indices change nothing."""
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, labelled(5, 0, model))
    energies = np.asarray(model.constants["atomic_energies"])[0]
    graphs = [
        make_graph(f, (3, 9), energies, model.architecture.cutoff, dtype=np.float64)
        for f in read_frames([path])
    ]
    assert all(np.abs(g.arrays.energy) < 100 for g in graphs)  # isolated atoms are off
    for sizes in ({"batch_size": 2}, {"batch_edges": 1000}):
        plan, seen = make_plan(graphs, **sizes), []
        for chosen, batch in batches(graphs, plan):
            seen += list(chosen)
            found, rows = jax.jit(predict_batch)(model, batch), batch.atom_weight > 0
            present = batch.present > 0
            # extxyz keeps 8 decimals of a position: forces of 1 eV/Å times 1e-8 Å
            for name, chosen_rows, tolerance in (
                ("energy", present, 1e-6),
                ("forces", rows, 1e-7),
                ("stress", present, 1e-8),
            ):
                np.testing.assert_allclose(
                    getattr(found, name)[chosen_rows],
                    getattr(batch, name)[chosen_rows],
                    rtol=0,
                    atol=tolerance,
                )
        assert sorted(seen) == list(range(5))


@pytest.mark.slow
def test_weight_of_a_configuration_multiplies_its_terms(files, model):
    """In every loss; a frame of weight 0 counts only in the means' denominators."""
    batch = ours(model, files, [0, 0, 0])
    predicted = jax.jit(predict_batch)(model, batch)
    for kind in KINDS:

        def value(weight, kind=kind):
            weighted = dataclasses.replace(batch, weight=weight)
            return float(np.dot(WEIGHTS, loss_terms(predicted, weighted, Loss(kind))))

        parts = [value(batch.weight * (np.arange(3) == k)) for k in range(3)]
        whole = value(batch.weight)
        assert whole == pytest.approx(sum(parts), rel=1e-12)
        assert min(parts) > 0


@pytest.mark.slow
def test_a_batch_that_is_not_full_counts_its_own_frames(files, model):
    """Two frames with a place left over have the loss of two frames alone."""
    energies = np.asarray(model.constants["atomic_energies"])[0]
    cutoff = model.architecture.cutoff
    graphs = [
        make_graph(f, (3, 9), energies, cutoff, dtype=np.float64)
        for f in read_frames([files])
    ]
    for kind in KINDS:
        whole, part = (
            loss_terms(jax.jit(predict_batch)(model, batch), batch, Loss(kind))
            for batch in (
                joined(graphs[:2], make_plan(graphs[:2], batch_size=2)),
                joined(graphs[:2], make_plan(graphs, batch_size=3)),
            )
        )
        np.testing.assert_allclose(whole, part, rtol=1e-12)


@pytest.mark.slow
def test_missing_labels_have_no_gradient(files, model):
    """Of a frame without stress the stress does not matter, in any loss."""
    batch = ours(model, files, [0, 0, 0])
    assert batch.stress_weight[2] == 0
    other = dataclasses.replace(
        batch, stress=batch.stress + (np.arange(3) == 2)[:, None, None]
    )
    predicted = jax.jit(predict_batch)(model, batch)
    for kind in KINDS:
        a, b = (loss_terms(predicted, one, Loss(kind)) for one in (batch, other))
        assert [float(x) for x in a] == [float(x) for x in b]


def test_conditional_huber_bands():
    for (upper, factor), magnitude in zip(FORCE_BANDS, (50, 150, 250, 350), strict=True):
        assert magnitude < upper
        reference = jnp.array([[float(magnitude), 0.0, 0.0]])
        loss = conditional_huber(reference, reference + 1.0, 0.01)
        delta = 0.01 * factor
        np.testing.assert_allclose(loss, delta * (1.0 - delta / 2), rtol=1e-12)
