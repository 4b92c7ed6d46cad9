"""Training: epochs over batches, validation, checkpoints, the best model kept."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.finetune import adaptation, errors, optimizer
from jaxdiff.finetune.adaptation import Adaptation, Lora
from jaxdiff.finetune.batches import (
    Batch,
    batches,
    composition,
    n_batches,
    without_energies,
)
from jaxdiff.finetune.files import Record, RunFiles
from jaxdiff.finetune.loss import Loss, LossWeights, batch_loss
from jaxdiff.finetune.prepare import DataSet, Problem, prepare
from jaxdiff.finetune.provenance import require_same_run, run_folder
from jaxdiff.finetune.scratch import with_family
from jaxdiff.finetune.targets import Targets, departure, of_epoch, target_loss
from jaxdiff.io import durable
from jaxdiff.io.trainfile import TrainFile
from jaxdiff.models.contract import Model
from jaxdiff.objectives.barrier import SearchFailed
from jaxdiff.stop import Stopped, StopRequest

SHARES = "species_energies.json"


@dataclasses.dataclass(frozen=True)
class Reports:
    """What is called while training goes on.

    - `start`: with the problem, before the first step.
    - `batch`: with the epoch and the fraction of it that is done.
    - `targets`: with the value of each target at the start, by name, and its goal.
    - `epoch`: with the record of each.
    - `note`: with what was wrong with the states that were found.
    """

    start: Callable[[Problem], None] = lambda problem: None
    batch: Callable[[int, float], None] = lambda epoch, fraction: None
    targets: Callable[[dict[str, tuple[float, float]]], None] = lambda values: None
    epoch: Callable[[Record], None] = lambda record: None
    note: Callable[[str], None] = lambda text: None


@dataclasses.dataclass(frozen=True)
class Trained:
    """The model with the averaged weights of the best epoch, and what it was trained on."""

    model: Model
    problem: Problem


def train(run: TrainFile, reports: Reports = Reports()) -> Trained:  # noqa: B008
    """Train as the run file says; resumes where a previous call in `directory` stopped.

    Writes `metrics.jsonl`, a record per epoch, and orbax checkpoints, the last two and
    the best; with a stage two, the best epoch is one of that stage.

    Raises `ValueError` when the folder holds another run or another process is in it,
    `Stopped` when the process is asked to stop, after saving, and `FloatingPointError`
    when the loss is no number.
    """
    run = with_family(run)
    with run_folder(run).claimed():
        problem = prepare(run)
        require_same_run(run)
        reports.start(problem)
        with StopRequest() as request:
            return _epochs(run, problem, reports, request)


@dataclasses.dataclass(frozen=True)
class _Session:
    """What stays the same from the first epoch to the last."""

    run: TrainFile
    settings: optimizer.Settings
    step: Any
    lora: Lora | None
    files: RunFiles
    reports: Reports
    request: StopRequest

    def model(self, problem: Problem, weights: optimizer.Weights) -> Model:
        """With the trained weights in it."""
        return Adaptation(problem.model, self.lora).assemble(weights)


def _begin(
    run: TrainFile, problem: Problem, reports: Reports, request: StopRequest
) -> tuple[_Session, Problem, optimizer.TrainState]:
    """The session, and problem and state where it was left, or at the start."""
    frozen, lora = run.freeze.groups if run.freeze else (), None
    if run.lora:
        lora = Lora(run.lora.rank, run.lora.alpha)
    weights = adaptation.initial_weights(problem.model, frozen, lora, run.seed)
    settings = update_settings(run, problem)
    transform = optimizer.transformation(settings)
    start = optimizer.initial_state(weights, transform, run.optimizer.learning_rate)
    files = RunFiles(run.directory)
    state = files.latest(start)
    if files.note:
        reports.note(f"{files.note}; the training goes on from the state before.")
    files.truncate_metrics(int(state.epoch))
    if run.stage_two and _in_stage_two(run, state):
        problem = _shifted(problem, _read_shares(run))
    step = make_step(run_loss(run), transform, settings, run.loss.start_weight)
    return _Session(run, settings, step, lora, files, reports, request), problem, state


def _epochs(
    run: TrainFile, problem: Problem, reports: Reports, request: StopRequest
) -> Trained:
    session, problem, state = _begin(run, problem, reports, request)
    while True:
        state = _out_of_patience(run, state)
        if int(state.epoch) >= run.total_epochs:
            break
        begin, epoch = time.perf_counter(), int(state.epoch)
        if run.stage_two and epoch == run.optimizer.epochs and int(state.batch) == 0:
            problem, state = _begin_stage_two(session, problem, state)
        targets = _targets(session, problem, state)
        state = _updates(session, problem, state, targets)
        if request.signal is not None:
            _stop(session, state)
        record = _record(session, problem, state, targets)
        record["seconds"] = round(time.perf_counter() - begin, 1)
        better = record["valid_loss"] < float(state.best_loss)
        state = optimizer.end_epoch(
            state,
            record["valid_loss"],
            decay=run.stage(epoch).epoch_decay,
            factor=run.optimizer.plateau_factor,
            patience=run.optimizer.plateau_patience,
        )
        session.files.append_metrics(record)
        session.files.save(state, best=better)
        reports.epoch(record)
    average = session.files.best(state.average)
    session.files.close()
    return Trained(session.model(problem, average), problem)


def _stop(session: _Session, state: optimizer.TrainState) -> NoReturn:
    """Save and end, for the process was asked to."""
    session.files.save(state)
    session.files.close()
    assert session.request.signal is not None
    raise Stopped(
        f"stopped in epoch {int(state.epoch) + 1} and saved in {session.run.directory}; "
        "the same command goes on from there.",
        session.request.signal,
    )


def _out_of_patience(run: TrainFile, state: optimizer.TrainState) -> optimizer.TrainState:
    """After too many epochs without a better one the stage ends."""
    if int(state.since_best) < run.optimizer.patience:
        return state
    in_first = run.stage_two and int(state.epoch) < run.optimizer.epochs
    end = run.optimizer.epochs if in_first else run.total_epochs
    return dataclasses.replace(
        state,
        epoch=jnp.asarray(end, jnp.int32),
        since_best=jnp.zeros_like(state.since_best),
    )


def _in_stage_two(run: TrainFile, state: optimizer.TrainState) -> bool:
    """Whether stage two has begun: its first epoch may be cut short."""
    done, epochs = int(state.epoch), run.optimizer.epochs
    return done > epochs or (done == epochs and int(state.batch) > 0)


def run_loss(run: TrainFile) -> Loss:
    """The loss of a run file."""
    return Loss(run.loss.kind, run.loss.huber_delta, run.loss.virials)


def update_settings(run: TrainFile, problem: Problem) -> optimizer.Settings:
    """How a run file updates weights."""
    section = run.optimizer
    per_epoch = n_batches(problem.train, problem.plan, np.random.default_rng(run.seed))
    cosine = section.cosine_floor is not None
    factors: dict[str, float] = {**section.rate_factors}
    adaptation.check_groups(problem.model, factors, "in optimizer.rate_factors")
    return optimizer.Settings(
        kind=section.kind,
        beta1=section.beta1,
        clip_norm=section.clip_norm,
        weight_decay=section.weight_decay,
        decays=problem.model.decays,
        rate_factor=lambda name: factors.get(adaptation.group(name), 1.0),
        average_decay=section.average_decay,
        warmup_updates=math.ceil(section.warmup_epochs * per_epoch),
        updates_per_epoch=per_epoch,
        cosine_epochs=section.epochs if cosine else None,
        cosine_floor=section.cosine_floor or 0.0,
    )


def make_step(
    loss: Loss, transform: Any, settings: optimizer.Settings, start_weight: float = 0.0
) -> Any:
    """One compiled update: (adaptation, state, batch, loss weights, targets) -> state.

    `start_weight`: of the departure from the starting weights.
    """

    @jax.jit
    def step(
        adapted: Adaptation,
        state: optimizer.TrainState,
        batch: Batch,
        loss_weights: LossWeights,
        targets: Targets = (),
    ) -> optimizer.TrainState:
        def objective(weights):
            model = adapted.assemble(weights)
            value = batch_loss(model, batch, loss, loss_weights)
            if start_weight:
                value = value + start_weight * departure(model, adapted.base)
            if targets:
                value = value + target_loss(model, targets)
            return value

        value, gradient = jax.value_and_grad(objective)(state.weights)
        return optimizer.update(state, gradient, value, transform, settings)

    return step


def _targets(session: _Session, problem: Problem, state: optimizer.TrainState) -> Targets:
    """The targets of this epoch, at the stationary points of its first weights."""
    run, epoch = session.run, int(state.epoch)
    model = session.model(problem, state.weights)
    try:
        targets = of_epoch(run.directory, epoch, model, run.targets)
    except SearchFailed as error:
        session.files.close()
        raise ValueError(f"epoch {epoch + 1}, target: {error}") from error
    if targets and epoch == 0:
        session.reports.targets(
            {t.section.name: (float(t.value(model)), t.section.goal) for t in targets}
        )
    return targets


def _updates(
    session: _Session, problem: Problem, state: optimizer.TrainState, targets: Targets
) -> optimizer.TrainState:
    """The batches of one epoch that are still to be done; fewer when asked to stop."""
    run, epoch, done = session.run, int(state.epoch), int(state.batch)
    stage = run.stage(epoch)
    loss_weights = stage.energy_weight, stage.forces_weight, stage.stress_weight
    adapted = Adaptation(problem.model, session.lora)
    seed = [run.seed, epoch]
    total = n_batches(problem.train, problem.plan, np.random.default_rng(seed))
    order = np.random.default_rng(seed)
    for number, (_, batch) in enumerate(batches(problem.train, problem.plan, order)):
        if number < done:
            continue
        if session.request.signal is not None:
            return state
        state = session.step(adapted, state, batch, loss_weights, targets)
        session.reports.batch(epoch + 1, (number + 1) / total)
    mean = float(state.loss_sum) / total
    if not np.isfinite(mean):
        raise FloatingPointError(
            f"the loss is {mean} in epoch {epoch + 1}; lower optimizer.learning_rate or "
            "clip_norm. The last checkpoint is kept."
        )
    return state


def _record(
    session: _Session, problem: Problem, state: optimizer.TrainState, targets: Targets
) -> Record:
    """Losses and errors after an epoch; targets and the first head decide which is best."""
    run, model = session.run, session.model(problem, state.average)
    stage = run.stage(int(state.epoch))
    weights = stage.energy_weight, stage.forces_weight, stage.stress_weight
    target, *others = [
        _validate(run_loss(run), problem, model, data, weights) for data in problem.valid
    ]
    record = {
        "epoch": int(state.epoch) + 1,
        "train_loss": float(state.loss_sum) / int(state.batch),
        "valid_loss": target.pop("loss"),
        **target,
        "learning_rate": float(optimizer.scheduled_rate(state, session.settings)),
        "compilations": session.step._cache_size(),
    }
    if targets:
        record["valid_loss"] += float(target_loss(model, targets))
        record["targets"] = {t.section.name: float(t.value(model)) for t in targets}
    for data, row in zip(problem.valid[1:], others, strict=True):
        record |= {f"{data.name}_{key}": value for key, value in row.items()}
    return record


def _validate(loss: Loss, problem: Problem, model: Model, data: DataSet, weights) -> Record:
    """Loss and errors of the averaged weights over a set."""
    found, terms = errors.evaluate(model, data.graphs, problem.plan, loss)
    row = dataclasses.asdict(errors.error_row(data.name, found))
    kept = {k: v for k, v in row.items() if k not in ("name", "frames")}
    return {"loss": float(np.dot(weights, terms)), **kept}


def _begin_stage_two(
    session: _Session, problem: Problem, state: optimizer.TrainState
) -> tuple[Problem, optimizer.TrainState]:
    """Refit the isolated atoms where that is asked for, kept for a restart; a new rate."""
    run, model = session.run, session.model(problem, state.average)
    assert run.stage_two is not None
    n_species = len(model.species)
    shares = np.zeros(n_species)
    if run.stage_two.refit_species_energies:
        graphs = [g for g in problem.train_sets[0].graphs if g.arrays.energy_weight[0] > 0]
        count = composition(graphs, n_species)
        found = errors.frame_errors(model, graphs, problem.plan)
        excess = found["energy"] * count.sum(axis=1)
        shares = -np.linalg.lstsq(count, excess, rcond=None)[0]
    durable.write_text(run.directory / SHARES, json.dumps(shares.tolist()) + "\n")
    state = optimizer.begin_stage(state, run.stage_two.learning_rate)
    return _shifted(problem, shares), state


def _read_shares(run: TrainFile) -> np.ndarray:
    path = run.directory / SHARES
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: {run.directory} has more epochs than "
            f"optimizer.epochs = {run.optimizer.epochs}, but no stage two. "
            "Give stage two another directory, or raise optimizer.epochs."
        )
    return np.array(json.loads(path.read_text()))


def _shifted(problem: Problem, shares: np.ndarray) -> Problem:
    """The target head's isolated atoms with `shares` added, its labels without them."""
    if not shares.any():
        return problem
    energies = np.array(problem.model.isolated)
    energies[0] += shares
    model = problem.model.with_isolated(energies)

    def moved(graphs):
        return [without_energies(g, shares) if g.arrays.head[0] == 0 else g for g in graphs]

    def set_moved(data: DataSet) -> DataSet:
        return dataclasses.replace(data, graphs=moved(data.graphs))

    return dataclasses.replace(
        problem,
        model=model,
        train=moved(problem.train),
        train_sets=[set_moved(s) for s in problem.train_sets],
        valid=[set_moved(s) for s in problem.valid],
        test=[set_moved(s) for s in problem.test],
    )
