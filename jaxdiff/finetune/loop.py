"""Training: epochs over batches, validation, checkpoints, the best model kept."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxdiff.finetune import errors, optimizer
from jaxdiff.finetune.data import (
    Batch,
    Bucket,
    Frame,
    Keys,
    batches,
    composition,
    isolated_energy,
    make_buckets,
    read_frames,
    shared_frames,
    without_energies,
)
from jaxdiff.finetune.loss import universal_loss
from jaxdiff.io.trainfile import TrainFile
from jaxdiff.models.architecture import Architecture, Mace
from jaxdiff.models.initial import initialize

SHARES = "species_energies.json"

LossWeights = tuple[float, float, float]
"""Of energy, forces and stress."""


def scratch_model(run: TrainFile, frames: Sequence[Frame]) -> Mace:
    """Random weights; scale and shift from the data, as upstream's "rms_forces_scaling".

    The scale is the root mean square of the forces, the shift the mean interaction energy
    per atom.
    """
    section = run.scratch
    symbols = sorted(run.data.isolated_atom_ev, key=lambda s: ase.data.atomic_numbers[s])
    numbers = tuple(ase.data.atomic_numbers[s] for s in symbols)
    isolated = np.array([run.data.isolated_atom_ev[s] for s in symbols])
    forces = np.concatenate([f.forces.ravel() for f in frames])
    energies = [
        (f.energy - isolated_energy(f, numbers, isolated)) / len(f.position) for f in frames
    ]
    architecture = Architecture(
        scale_shift=True,
        atomic_numbers=numbers,
        heads=("default",),
        cutoff=section.cutoff_angstrom,
        num_bessel=section.num_bessel,
        cutoff_power=section.cutoff_power,
        max_ell=section.max_ell,
        channels=section.channels,
        hidden=tuple(map(tuple, section.hidden)),
        correlation=tuple(section.correlation),
        interactions=tuple(section.interactions),
        radial_mlp=tuple(section.radial_mlp),
        mlp_channels=section.mlp_channels,
        agnesi=section.agnesi,
        zbl_power=section.cutoff_power if section.pair_repulsion else None,
        average_neighbors=density_pairs(frames, section.cutoff_angstrom),
    )
    return initialize(
        architecture,
        jax.random.key(run.seed),
        atomic_energies=isolated[None],
        scale=float(np.sqrt(np.mean(forces**2))),
        shift=float(np.mean(energies)),
        dtype=jnp.dtype(run.precision),
    )


def density_pairs(frames: Sequence[Frame], cutoff: float) -> float:
    """Mean number of neighbours within the cutoff, from the mean number density."""
    density = np.mean([len(f.position) / abs(np.linalg.det(f.cell)) for f in frames])
    return float(round(density * 4 / 3 * np.pi * cutoff**3, 2))


def train(run: TrainFile, report: Callable[[dict], None] = lambda record: None) -> Mace:
    """Train as the run file says; resumes where a previous call in `directory` stopped.

    Writes `metrics.jsonl`, a record per epoch, and orbax checkpoints, the last two and
    the best. Returns the model with the averaged weights of the best epoch; with a stage
    two, of the best epoch there.
    `report` is called with each record.
    """
    run.directory.mkdir(parents=True, exist_ok=True)
    keys = Keys(run.data.energy_key, run.data.forces_key, run.data.stress_key)
    train_frames = read_frames(run.data.train, keys)
    valid_frames = read_frames(run.data.valid, keys)
    leaked = shared_frames(train_frames, valid_frames)
    if leaked and not run.data.allow_shared_frames:
        raise ValueError(
            f"{leaked} frames stand both in the training and the validation set; remove "
            "them from one, or set data.allow_shared_frames = true."
        )
    model = scratch_model(run, train_frames)
    arch, energies = model.architecture, np.asarray(model.constants["atomic_energies"])[0]
    bucketed = functools.partial(
        make_buckets,
        atomic_numbers=arch.atomic_numbers,
        atomic_energies=energies,
        cutoff=arch.cutoff,
        dtype=np.dtype(run.precision).type,
    )
    return _epochs(run, model, bucketed(train_frames), bucketed(valid_frames), report)


def _epochs(run, model, train_buckets, valid_buckets, report):
    settings = run.optimizer
    transform = optimizer.transformation(settings.clip_norm)
    step = make_step(run, model, transform)
    latest = _manager(run.directory / "checkpoints", keep=2)
    best = _manager(run.directory / "best", keep=1)
    state = _latest(
        latest, optimizer.initial_state(model.weights, transform, settings.learning_rate)
    )
    metrics = run.directory / "metrics.jsonl"
    _truncate(metrics, int(state.epoch))

    if run.stage_two is not None and int(state.epoch) > settings.epochs:
        model, train_buckets, valid_buckets = _shift_energies(
            _read_shares(run), model, train_buckets, valid_buckets
        )
    for epoch in range(int(state.epoch), run.total_epochs):
        start = time.perf_counter()
        stage = run.stage(epoch)
        if epoch == settings.epochs:
            averaged = dataclasses.replace(model, weights=state.average)
            shares = _begin_stage_two(run, averaged, train_buckets)
            model, train_buckets, valid_buckets = _shift_energies(
                shares, model, train_buckets, valid_buckets
            )
            state = optimizer.begin_stage(state, stage.learning_rate)
        state, record = _epoch(run, step, model, state, train_buckets, valid_buckets)
        record["seconds"] = round(time.perf_counter() - start, 1)
        improved = record["valid_loss"] < float(state.best_loss)
        state = optimizer.end_epoch(
            state,
            record["valid_loss"],
            decay=stage.epoch_decay,
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
        )
        latest.save(epoch + 1, args=ocp.args.StandardSave(state))
        if improved:
            best.save(epoch + 1, args=ocp.args.StandardSave(state.average))
        with metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")
        report(record)
    latest.wait_until_finished()
    best.wait_until_finished()
    average = best.restore(best.latest_step(), args=ocp.args.StandardRestore(state.average))
    return dataclasses.replace(model, weights=average)


def _epoch(run, step, model, state, train_buckets, valid_buckets):
    """One pass over the training frames, and what validation says after it."""
    epoch = int(state.epoch)
    stage = run.stage(epoch)
    loss_weights = stage.energy_weight, stage.forces_weight, stage.stress_weight
    losses = []
    order = np.random.default_rng([run.seed, epoch])
    for batch in batches(train_buckets, run.optimizer.batch_size, order):
        state, loss = step(state, batch, loss_weights)
        losses.append(loss)
    train_loss = float(np.mean(jax.device_get(losses)))
    if not np.isfinite(train_loss):
        raise FloatingPointError(
            f"the loss is {train_loss} in epoch {epoch + 1}; lower "
            "optimizer.learning_rate or clip_norm. The last checkpoint is kept."
        )
    averaged = dataclasses.replace(model, weights=state.average)
    record = _validate(run, averaged, valid_buckets, loss_weights)
    return state, record | {
        "epoch": epoch + 1,
        "train_loss": train_loss,
        "learning_rate": float(state.learning_rate),
    }


def _begin_stage_two(run: TrainFile, model: Mace, buckets: Sequence[Bucket]) -> np.ndarray:
    """Energies [species], eV, to add to those of the isolated atoms; kept for a restart."""
    n_species = len(model.architecture.atomic_numbers)
    shares = np.zeros(n_species)
    if run.stage_two is not None and run.stage_two.refit_species_energies:
        n_frames = sum(len(b.index) for b in buckets)
        count = composition(buckets, n_species)
        found = errors.frame_errors(model, buckets, n_frames, run.optimizer.batch_size)
        excess = found["energy"] * count.sum(axis=1)
        shares = -np.linalg.lstsq(count, excess, rcond=None)[0]
    (run.directory / SHARES).write_text(json.dumps(shares.tolist()) + "\n")
    return shares


def _read_shares(run: TrainFile) -> np.ndarray:
    path = run.directory / SHARES
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: {run.directory} has more epochs than "
            f"optimizer.epochs = {run.optimizer.epochs}, but no stage two. "
            "Give stage two another directory, or raise optimizer.epochs."
        )
    return np.array(json.loads(path.read_text()))


def _shift_energies(shares: np.ndarray, model: Mace, *sets: Sequence[Bucket]):
    """The model with `shares` in its isolated-atom energies, the labels without them."""
    energies = np.asarray(model.constants["atomic_energies"]) + shares
    shifted = dataclasses.replace(
        model, constants=model.constants | {"atomic_energies": energies}
    )
    return shifted, *([without_energies(b, shares) for b in buckets] for buckets in sets)


def make_step(run: TrainFile, model: Mace, transform):
    """One compiled update: (state, batch, loss weights) -> (state, loss)."""
    delta, decay = run.loss.huber_delta, run.optimizer.average_decay

    @jax.jit
    def step(state: optimizer.TrainState, batch: Batch, loss_weights: LossWeights):
        def objective(weights):
            trial = dataclasses.replace(model, weights=weights)
            return universal_loss(trial, batch, *loss_weights, delta)

        value, gradient = jax.value_and_grad(objective)(state.weights)
        return optimizer.update(state, gradient, transform, decay), value

    return step


def _validate(
    run: TrainFile, model: Mace, buckets: Sequence[Bucket], loss_weights: LossWeights
) -> dict:
    """Errors of the averaged weights, and the loss that schedule and best model follow."""
    n_frames = sum(len(b.index) for b in buckets)
    found = errors.frame_errors(model, buckets, n_frames, run.optimizer.batch_size)
    row = dataclasses.asdict(errors.error_row("valid", found))
    # one number for the schedule: the stage's weights on squared errors in eV and Å
    rmse = row["energy_rmse"], row["forces_rmse"], row["stress_rmse"]
    squared = [(1e-3 * error) ** 2 for error in rmse]
    row["valid_loss"] = sum(w * e for w, e in zip(loss_weights, squared, strict=True))
    return {key: value for key, value in row.items() if key not in ("name", "frames")}


def _latest(
    manager: ocp.CheckpointManager, start: optimizer.TrainState
) -> optimizer.TrainState:
    """The state of the last checkpoint, or `start` where there is none."""
    epoch = manager.latest_step()
    if epoch is None:
        return start
    restored = manager.restore(epoch, args=ocp.args.StandardRestore(start))
    return cast(optimizer.TrainState, restored)


def _manager(directory: Path, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=keep)
    return ocp.CheckpointManager(directory.absolute(), options=options)


def _truncate(metrics: Path, epochs: int) -> None:
    """Drop records of epochs that the checkpoint does not have."""
    if metrics.exists():
        lines = metrics.read_text().splitlines()[:epochs]
        metrics.write_text("".join(line + "\n" for line in lines))
