"""Ways to fine-tune: heads and replay, pseudolabels, frozen groups, low-rank updates."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from labelled import labelled

from jaxdiff.calculator import predict_atoms
from jaxdiff.checkpoints import restrict_heads, save_native
from jaxdiff.finetune import files, loop, optimizer, prepare, provenance
from jaxdiff.finetune.adaptation import Adaptation, Lora, initial_weights
from jaxdiff.io import folder as io_folder
from jaxdiff.io.trainfile import read_train_file
from jaxdiff.models.dotted import flatten
from jaxdiff.models.mace.initial import initialize
from jaxdiff.stop import Stopped

RUN = """
seed = 3
directory = "{directory}"
precision = "float64"
[model]
name_or_path = "{folder}/start.safetensors"
[data]
train = ["train.extxyz"]
valid = ["valid.extxyz"]
allow = ["energy_offset"]  # the start is as random as the model that labels
[optimizer]
epochs = 2
batch_size = 2
learning_rate = 0.02
"""
REPLAY = """
[replay]
train = ["replay.extxyz"]
valid = ["replay_valid.extxyz"]
"""


@pytest.fixture(scope="module")
def start(model):
    """Other weights than those of the model that labels."""
    energies = np.array([[-1.5, -2.5]])
    return initialize(
        model.architecture, jax.random.key(8), atomic_energies=energies, dtype=jnp.float64
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model, start):
    folder = tmp_path_factory.mktemp("strategies")
    for name, n, seed in (
        ("train", 4, 0), ("valid", 2, 1), ("replay", 3, 2), ("replay_valid", 2, 3)
    ):  # fmt: skip
        ase.io.write(folder / f"{name}.extxyz", labelled(n, seed, model))
    save_native(folder / "start.safetensors", start)
    return folder


def run_of(folder, directory, sections="", *overrides):
    path = folder / f"{directory.name}.toml"
    path.write_text(RUN.format(directory=directory, folder=folder) + sections)
    return read_train_file(path, overrides=list(overrides))


def leaves(model):
    return flatten(model.weights, "weights")


@pytest.mark.slow
def test_new_heads_start_as_the_only_one(start):
    """Energy of each head is that of the starting model, with its own isolated atoms."""
    atoms = labelled(1, 0, start)[0]
    energies = np.array([[-1.5, -2.5], [10.0, 20.0]])
    both = start.with_heads(("default", "replay"), energies)
    expected = predict_atoms(start, atoms)
    for name, isolated in zip(both.architecture.heads, energies, strict=True):
        found = predict_atoms(both, atoms, head=name)
        shift = sum((isolated - energies[0])[[3, 9].index(z)] for z in atoms.numbers)
        assert float(found.energy) == pytest.approx(
            float(expected.energy) + shift, abs=1e-9
        )
        np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-12)
    one = restrict_heads(both, ["default"])
    for name, array in leaves(one).items():
        np.testing.assert_allclose(array, leaves(start)[name], rtol=1e-15)


@pytest.mark.slow
def test_frames_with_large_forces_are_left_out(folder, tmp_path):
    """Of all sets that training sees, and counted; none left is an error."""
    largest = {}
    for name in ("train", "valid", "replay", "replay_valid"):
        read = ase.io.read(folder / f"{name}.extxyz", ":")
        largest[name] = [np.abs(a.arrays["REF_forces"]).max() for a in read]
    limit = float(np.median(largest["train"]))
    option = f"data.largest_force_ev_per_angstrom={limit}"
    problem = prepare(run_of(folder, tmp_path / "small", REPLAY, option))
    kept = {"train": problem.train_sets[0], "valid": problem.valid[0]}
    kept |= {"replay": problem.train_sets[1], "replay_valid": problem.valid[1]}
    for name, data in kept.items():
        assert len(data.frames) == np.sum(np.array(largest[name]) <= limit)
    n_left_out = sum(np.sum(np.array(largest[n]) > limit) for n in ("train", "valid"))
    assert any(f"{n_left_out} with larger forces left out" in n for n in problem.notes)
    with pytest.raises(ValueError, match="0 frames are left for training"):
        prepare(
            run_of(folder, tmp_path / "s", "", "data.largest_force_ev_per_angstrom=1e-9")
        )


@pytest.mark.slow
def test_charges_that_a_model_cannot_take_are_told(folder, tmp_path, model):
    """They are labels of other states of the same atoms."""
    frames = labelled(4, 0, model)
    frames[1].info["charge"] = 1
    ase.io.write(folder / "charged.extxyz", frames)
    given = 'data.train=["charged.extxyz"]'
    told = prepare(run_of(folder, tmp_path / "charged", "", given)).notes
    ignored = [note for note in told if "charge" in note]
    assert len(ignored) == 1
    assert "multiplicity of 1 frame is ignored" in ignored[0]
    assert "charged.extxyz, frame 1" in ignored[0]
    told = prepare(run_of(folder, tmp_path / "neutral")).notes
    assert not any("charge" in note for note in told)


@pytest.mark.slow
def test_a_committee_trains_on_the_same_frames(folder, tmp_path):
    """With a draw seed, runs of other seeds have the same frames; without, others."""

    def drawn(*overrides):
        chosen = "data.frames_of_type={ bulk = 1, interstitial = 1 }"
        problem = prepare(
            run_of(folder, tmp_path / "d", REPLAY + "count = 1", chosen, *overrides)
        )
        return [[f.source for f in s.frames] for s in problem.train_sets]

    same = [drawn(f"seed={k}", "data.draw_seed=5") for k in range(4)]
    assert same == same[:1] * 4
    assert len({str(drawn(f"seed={k}")) for k in range(4)}) > 1


@pytest.mark.slow
def test_replay_trains_both_heads_and_the_target_decides(folder, tmp_path):
    """Shared weights move; each head has its errors; both heads are in the model."""
    run = run_of(folder, tmp_path / "replay", REPLAY)
    trained = loop.train(run)
    assert trained.model.architecture.heads == ("default", "replay")
    record = json.loads((tmp_path / "replay/metrics.jsonl").read_text().splitlines()[-1])
    assert record["valid_replay_forces_rmse"] > 0
    assert record["valid_loss"] != record["valid_replay_loss"]
    readout = leaves(trained.model)["weights.readouts.0.linear"]
    assert np.abs(readout[:, 0] - readout[:, 1]).max() > 1e-6


@pytest.mark.slow
def test_replay_labels_must_be_what_the_start_learnt(folder, start, tmp_path):
    """Stress of the other sign in one file, beside right ones: that file is named."""
    frames = labelled(4, 6, start)
    for atoms in frames:
        atoms.info["REF_stress"] = -atoms.info["REF_stress"]
    ase.io.write(folder / "wrong.extxyz", frames)
    ase.io.write(folder / "learnt.extxyz", labelled(4, 7, start))
    files = 'replay.train=["learnt.extxyz", "wrong.extxyz"]'
    with pytest.raises(
        ValueError, match=r"wrong.extxyz: the stress .*times -1 .corr.*sign"
    ):
        prepare(run_of(folder, tmp_path / "sign", REPLAY, files))


@pytest.mark.slow
def test_pseudolabels_are_what_the_starting_model_says(folder, start, tmp_path):
    sections = REPLAY + 'labels = "model"\n'
    problem = prepare(run_of(folder, tmp_path / "pseudo", sections))
    frames = problem.train_sets[1].frames
    for frame, atoms in zip(
        frames, ase.io.read(folder / "replay.extxyz", ":"), strict=True
    ):
        said = predict_atoms(start, atoms)
        assert frame.energy == pytest.approx(float(said.energy), abs=1e-7)
        np.testing.assert_allclose(frame.forces, said.forces, rtol=0, atol=1e-7)
        np.testing.assert_allclose(frame.stress, said.stress, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_all_elements_of_the_start_are_kept(folder, model, tmp_path):
    """Elements that the data lack keep the isolated atoms of the starting model."""
    wide = dataclasses.replace(model.architecture, atomic_numbers=(3, 8, 9))
    energies = np.array([[-1.5, -7.0, -2.5]])
    start = initialize(wide, jax.random.key(8), atomic_energies=energies, dtype=jnp.float64)
    save_native(tmp_path / "wide.safetensors", start)
    changes = (f"model.name_or_path={tmp_path}/wide.safetensors", "model.elements=all")
    problem = prepare(run_of(folder, tmp_path / "all", REPLAY, *changes))
    found = np.asarray(problem.model.constants["atomic_energies"])
    np.testing.assert_array_equal(found[1], energies[0])  # of the replay head
    assert found[0, 1] == -7.0
    assert np.abs(found[0, [0, 2]] - energies[0, [0, 2]]).min() > 1e-3  # estimated


@pytest.mark.slow
def test_few_target_frames_are_repeated(folder, tmp_path):
    """Upstream's rule: 4 frames for 3 of replay, at least three for each, make 2 times."""
    sections = REPLAY + "least_target_ratio = 3.0\n"
    problem = prepare(run_of(folder, tmp_path / "many", sections))
    heads = [int(g.arrays.head[0]) for g in problem.train]
    assert (heads.count(0), heads.count(1)) == (8, 3)


@pytest.mark.slow
def test_frozen_groups_stay(folder, start, tmp_path):
    sections = '[freeze]\ngroups = ["embedding", "products"]\n'
    model = loop.train(run_of(folder, tmp_path / "frozen", sections)).model
    for name, array in leaves(model).items():
        same = np.array_equal(array, leaves(start)[name])
        assert same == (name.split(".")[1] in ("embedding", "products")), name


@pytest.mark.slow
def test_low_rank_updates_have_that_rank(folder, start, tmp_path):
    """What is left alone stays; every change of a matrix has the rank asked for."""
    model = loop.train(run_of(folder, tmp_path / "lora", "[lora]\nrank = 2\n")).model
    changed = 0
    for name, array in leaves(model).items():
        change = np.asarray(array) - np.asarray(leaves(start)[name])
        if ".skip." in name or ".contraction." in name:
            assert not change.any(), name
            continue
        size = np.linalg.svd(change, compute_uv=False)
        assert np.all(size[2:] <= 1e-12 * max(size[0], 1e-300) + 1e-15), name
        changed += size[0] > 1e-8
    assert changed > 10


def test_low_rank_start_is_the_model_and_scales_as_upstream(start):
    """B is zero at the start; alpha / rank, and 1 / sqrt(rank) where degrees are kept."""
    lora = Lora(rank=4, alpha=3.0)
    weights = initial_weights(start, lora=lora, seed=1)
    adapted = Adaptation(start, lora)
    for name, array in leaves(adapted.assemble(weights)).items():
        np.testing.assert_array_equal(array, leaves(start)[name])
    ones = {
        name: dataclasses.replace(p, a=jnp.ones_like(p.a), b=jnp.ones_like(p.b))
        for name, p in weights.items()
    }
    after = leaves(adapted.assemble(ones))
    for name, factor in (
        ("weights.interactions.0.radial.0", 3.0 / 4 * 4),
        ("weights.interactions.0.linear.0", 3.0 / 4 * 4 / 2),
        ("weights.readouts.0.linear", 3.0 / 4 * 4 / 2),
    ):
        change = np.asarray(after[name]) - np.asarray(leaves(start)[name])
        np.testing.assert_allclose(change, factor, rtol=1e-12)


@pytest.mark.oracle
def test_merged_low_rank_update_is_upstreams(upstream):
    """One mixing layer: the same factors give the same matrix."""
    from mace.modules.lora import LoRAO3Linear

    torch, o3 = upstream.torch, upstream.o3
    base = o3.Linear("8x0e", "8x0e").double()
    wrapped = LoRAO3Linear(base, rank=2, alpha=3.0).double()
    start, a = base.weight.detach().numpy().copy(), np.arange(16.0).reshape(8, 2)
    b = np.linspace(-1, 1, 16).reshape(2, 8)
    wrapped.lora_A.weight.data = torch.tensor(a.ravel())
    wrapped.lora_B.weight.data = torch.tensor(b.ravel())
    merged = wrapped.merge_into_base().weight.detach().numpy().reshape(8, 8)
    ours = start.reshape(8, 8) + 3.0 / 2 / 2**0.5 * a @ b
    np.testing.assert_allclose(merged, ours, rtol=1e-12, atol=1e-12)


SCRIPT = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_enable_x64", True)
from jaxdiff.finetune import loop
from jaxdiff.io.trainfile import read_train_file
from jaxdiff.stop import Stopped
try:
    loop.train(read_train_file(Path(sys.argv[1])))
except Stopped as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "optimizer.learning_rate=0.01",
            r"optimizer.learning_rate = 0.02, not 0.01",
        ),
        ("seed=4", r"seed = 3, not 4"),
        (
            "data.train=['valid.extxyz', 'train.extxyz']",
            r"data_sha256|data.train = \['train",
        ),
    ],
)
@pytest.mark.slow
def test_a_folder_of_another_run(folder, tmp_path, change, message):
    """Refused, and what is there stays; more epochs are the same run."""
    run = run_of(folder, tmp_path / "run")
    files.RunFiles(run.directory).close()
    provenance.require_same_run(run)
    provenance.require_same_run(run_of(folder, tmp_path / "run", "", "optimizer.epochs=9"))
    before = (tmp_path / "run/run.json").read_bytes()
    other = run_of(folder, tmp_path / "run", "", change, 'data.allow=["shared_frames"]')
    with pytest.raises(
        ValueError,
        match=f"{message}.*another folder .--set directory=.*optimizer.epochs.*may change",
    ):
        provenance.require_same_run(other)
    assert (tmp_path / "run/run.json").read_bytes() == before


@pytest.mark.slow
def test_another_process_in_the_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(io_folder, "PATIENCE_S", 0.0)
    run = run_of(folder, tmp_path / "taken")
    with (
        provenance.run_folder(run).claimed(),
        pytest.raises(
            ValueError, match=r"another process is running in .*--set directory="
        ),
    ):
        loop.train(run)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="directory = .* cannot be written"):
        loop.train(run_of(folder, tmp_path / "file"))


@pytest.mark.long
def test_asked_to_stop_within_an_epoch(folder, tmp_path):
    """After three batches of four, twice; then it goes on, to the last bit."""
    small = ("optimizer.batch_size=1",)
    whole = loop.train(run_of(folder, tmp_path / "whole", "", *small))
    run, seen = run_of(folder, tmp_path / "cut", "", *small), []

    def stop(epoch, fraction):
        seen.append((epoch, fraction))
        if len(seen) in (3, 6):
            os.kill(os.getpid(), signal.SIGTERM)

    for _ in range(2):
        with pytest.raises(Stopped, match="goes on from there"):
            loop.train(run, loop.Reports(batch=stop))
    again = loop.train(run, loop.Reports(batch=stop))
    assert seen == [(e, b / 4) for e in (1, 2) for b in (1, 2, 3, 4)]  # none twice
    for one, other in zip(*map(jax.tree.leaves, (whole.model, again.model)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_restored_state_needs_no_new_program(tmp_path):
    """Arrays that are bound to a device are other arguments: all would compile again."""
    weights = {"weights.embedding": jnp.ones((2, 3))}
    state = optimizer.initial_state(weights, optax.scale_by_adam(), 0.1)
    kept = files.RunFiles(tmp_path)
    kept.save(state, best=True)
    double = jax.jit(lambda tree: jax.tree.map(lambda x: 2 * x, tree))
    restored = kept.latest(state)
    for one, other in zip(*map(jax.tree.leaves, (state, restored)), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    double(state)
    double(restored)
    assert double._cache_size() == 1
    best = kept.best(weights)
    double(weights)
    double(best)
    assert double._cache_size() == 2
    kept.close()


@pytest.mark.long
@pytest.mark.parametrize(("how", "times"), [(signal.SIGTERM, 2), (signal.SIGKILL, 10)])
def test_cut_off_training_goes_on_as_if_nothing_had_happened(
    folder, tmp_path, programs, how, times
):
    """At random moments, also of starting; metrics and weights are the whole run's."""
    sections = REPLAY + "[lora]\nrank = 2\n"
    changes = ("optimizer.epochs=60", "optimizer.batch_size=1")
    whole = loop.train(run_of(folder, tmp_path / "whole", sections, *changes))
    run_of(folder, tmp_path / "cut", sections)
    path = folder / "cut.toml"
    text = path.read_text().replace("epochs = 2", "epochs = 60")
    path.write_text(text.replace("batch_size = 2", "batch_size = 1"))
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "JAX_COMPILATION_CACHE_DIR": programs,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    rng, n_saved = np.random.default_rng(5), 0
    for number in range(times):
        process = subprocess.Popen([sys.executable, script, path], env=environment)
        if number % 3 == 2:  # perhaps before anything is read or trained
            time.sleep(rng.uniform(0, 10))
        else:
            before, deadline = n_saved, time.monotonic() + 200
            while n_saved <= before and time.monotonic() < deadline:
                saved = (tmp_path / "cut/checkpoints").glob("[0-9]*")
                n_saved = max([int(p.name) for p in saved if p.name.isdigit()], default=0)
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
        process.send_signal(how)
        assert process.wait(timeout=200) in (128 + how, -how)
    again = loop.train(read_train_file(path))
    for one, other in zip(*map(jax.tree.leaves, (whole.model, again.model)), strict=True):
        np.testing.assert_array_equal(one, other)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("whole", "cut")
    ]
    for one, other in zip(*lines, strict=True):
        for key in one.keys() - {"seconds", "compilations"}:
            assert one[key] == other[key], key
