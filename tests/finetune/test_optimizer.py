"""Updates of the weights, against PyTorch's optimisers and schedules."""

import copy

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from labelled import gradients, labelled, torch_batch, torch_loss

from jaxdiff.checkpoints import load_mace_torch
from jaxdiff.finetune import optimizer
from jaxdiff.finetune.adaptation import Adaptation, initial_weights
from jaxdiff.finetune.batches import join, make_graph, make_plan
from jaxdiff.finetune.loop import make_step
from jaxdiff.finetune.loss import Loss
from jaxdiff.io.frames import read_frames
from jaxdiff.models.dotted import flatten, nest
from jaxdiff.models.mace import Mace

WEIGHTS = 1.0, 10.0, 100.0
SETTINGS = {"learning_rate": 0.01, "clip_norm": 0.025, "weight_decay": 1e-3, "decay": 0.9}


def settings(kind="amsgrad", **changes):
    values = {
        "kind": kind,
        "beta1": 0.9,
        "clip_norm": SETTINGS["clip_norm"],
        "weight_decay": SETTINGS["weight_decay"],
        "decays": Mace.decays,
        "rate_factor": lambda name: 1.0,
        "average_decay": SETTINGS["decay"],
    }
    return optimizer.Settings(**values | changes)


def parameter_groups(model):
    """mace-torch's rule of which parameters decay, by its own function."""
    import argparse

    from mace.tools.scripts_utils import get_params_options

    arguments = argparse.Namespace(
        lr=SETTINGS["learning_rate"],
        lr_params_factors="{}",
        freeze=None,
        weight_decay=SETTINGS["weight_decay"],
        amsgrad=True,
        beta=0.9,
    )
    return get_params_options(arguments, model)


def read_weights(upstream, model, path):
    return flatten(load_mace_torch(upstream.save(model, path)).weights, "weights")


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(
    "kind",
    ["adamw", "adam", "amsgrad"],
)
def test_ten_steps_equal_upstreams(upstream, model, tmp_path, kind):
    """Decay, clipping and average with two batches in turn: 1e-7 relative after ten."""
    from torch_ema import ExponentialMovingAverage

    torch = upstream.torch
    theirs = upstream.build(hidden="4x0e+4x1o", max_ell=1).double()
    start = load_mace_torch(upstream.save(theirs, tmp_path / "start.model"))
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, labelled(4, 7, model))
    frames = ase.io.read(path, index=":")
    energies = np.asarray(start.constants["atomic_energies"])[0]
    graphs = [
        make_graph(f, (3, 9), energies, start.architecture.cutoff, dtype=np.float64)
        for f in read_frames([path])
    ]
    plan = make_plan(graphs, batch_size=2)
    ours = [join(graphs[:2], plan), join(graphs[2:], plan)]
    torch_ones = [torch_batch(upstream, theirs, frames[k : k + 2], [0, 0]) for k in (0, 2)]

    options = parameter_groups(theirs)
    if kind != "amsgrad":
        options["amsgrad"] = False
    solver = (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)(**options)
    average = ExponentialMovingAverage(theirs.parameters(), decay=SETTINGS["decay"])
    from mace.modules.loss import UniversalLoss

    loss = UniversalLoss(*WEIGHTS, huber_delta=0.01).double()
    clipped = []
    for k in range(10):
        solver.zero_grad()
        torch_loss(upstream, theirs, torch_ones[k % 2], loss).backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), SETTINGS["clip_norm"])
        clipped.append(float(norm) > SETTINGS["clip_norm"])
        solver.step()
        average.update()
    assert any(clipped)
    assert not all(clipped)

    chosen = settings(kind)
    transform = optimizer.transformation(chosen)
    step = make_step(Loss("universal", 0.01), transform, chosen)
    state = optimizer.initial_state(
        initial_weights(start), transform, SETTINGS["learning_rate"]
    )
    for k in range(10):
        state = step(Adaptation(start), state, ours[k % 2], WEIGHTS)

    wanted = read_weights(upstream, theirs, tmp_path / "after.model")
    averaged = copy.deepcopy(theirs)
    average.copy_to(averaged.parameters())
    wanted_average = read_weights(upstream, averaged, tmp_path / "average.model")
    first = flatten(start.weights, "weights")
    for name, found in state.weights.items():
        moved = np.abs(wanted[name] - first[name]).max()
        size = np.abs(wanted[name]).max()
        np.testing.assert_allclose(
            found, wanted[name], rtol=0, atol=1e-7 * size, err_msg=name
        )
        np.testing.assert_allclose(
            state.average[name], wanted_average[name], rtol=0, atol=1e-7 * size
        )
        assert moved > 1e-3 * size or "skip" in name or "contraction" in name, name


@pytest.mark.oracle
def test_the_weights_that_decay_are_upstreams(upstream, tmp_path):
    """Each group's decay written into its parameters, and read in our layout."""
    model = upstream.build(
        hidden="4x0e+4x1o",
        first="RealAgnosticDensityInteractionBlock",
        other="RealAgnosticDensityResidualInteractionBlock",
    ).double()
    for group in parameter_groups(model)["params"]:
        for parameter in group["params"]:
            value = 1.0 if group["weight_decay"] else 0.0
            parameter.grad = upstream.torch.full_like(parameter, value)
    found = flatten(gradients(upstream, model, tmp_path / "decay.model"), "weights")
    for name, value in found.items():
        assert np.all(np.asarray(value) == Mace.decays(name)), name
    assert 0 < sum(map(Mace.decays, found)) < len(found)


def test_learning_rate_of_a_group():
    weights = {"weights.embedding": jnp.ones(3), "weights.readouts.0.linear": jnp.ones(3)}
    chosen = settings(rate_factor=lambda name: 0.25 if "readouts" in name else 1.0)
    transform = optimizer.transformation(chosen)
    state = optimizer.initial_state(weights, transform, 0.01)
    gradient = jax.tree.map(lambda w: 0.1 * w, weights)
    after = optimizer.update(state, gradient, jnp.zeros(()), transform, chosen)
    moved = {k: float(weights[k][0] - v[0]) for k, v in after.weights.items()}
    # Adam's first step is the learning rate, whatever the gradient
    assert moved["weights.embedding"] == pytest.approx(0.01, rel=1e-6)
    assert moved["weights.readouts.0.linear"] == pytest.approx(0.0025, rel=1e-6)


def test_warm_up_and_cosine():
    """Five epochs of two updates; then a stage with a rate of its own."""
    chosen = settings(
        warmup_updates=4, updates_per_epoch=2, cosine_epochs=5, cosine_floor=0.1
    )
    transform = optimizer.transformation(chosen)
    state = optimizer.initial_state({"weights.embedding": jnp.ones(1)}, transform, 2.0)
    rates = []
    for number in range(12):
        if number == 10:
            state = optimizer.begin_stage(state, 0.3)
        rates.append(float(optimizer.scheduled_rate(state, chosen)))
        state = optimizer.update(
            state, {"weights.embedding": jnp.ones(1)}, jnp.zeros(()), transform, chosen
        )
        if number % 2:
            state = optimizer.end_epoch(state, 1.0, decay=1.0, factor=0.5, patience=99)
    expected = 2.0 * (0.1 + 0.45 * (1 + np.cos(np.pi * np.arange(12) / 10)))
    expected[:4] *= np.array([1, 2, 3, 4]) / 4
    expected[10:] = 0.3
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.oracle
def test_plateau_is_pytorchs(upstream):
    """The same losses give the same learning rates, small gains included."""
    torch = upstream.torch
    losses = [1.0, 0.9, 0.89999, 0.89998, 0.95, 0.5, 0.6, 0.7, 0.49996, 0.6, 0.6, 0.4]
    parameter = torch.nn.Parameter(torch.zeros(1))
    solver = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(solver, factor=0.8, patience=2)
    transform = optimizer.transformation(settings())
    state = optimizer.initial_state({"weights.embedding": jnp.ones(1)}, transform, 0.1)
    for loss in losses:
        schedule.step(loss)
        state = optimizer.end_epoch(state, loss, decay=1.0, factor=0.8, patience=2)
        assert float(state.learning_rate) == pytest.approx(
            solver.param_groups[0]["lr"], rel=1e-12
        )
    assert float(state.learning_rate) < 0.07
    assert float(state.best_loss) == 0.4


def test_weights_nest_as_they_were(model):
    flat = initial_weights(model)
    assert jax.tree.structure(nest(flat)["weights"]) == jax.tree.structure(model.weights)
