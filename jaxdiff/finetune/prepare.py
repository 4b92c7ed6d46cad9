"""From a run file to a problem: the model to start from, graphs of each set, checks."""

import dataclasses
from collections.abc import Sequence

import ase.data
import jax.numpy as jnp
import numpy as np

from jaxdiff import checkpoints
from jaxdiff.finetune import checks
from jaxdiff.finetune.atomic_energies import atomic_energies
from jaxdiff.finetune.batches import Graph, Plan, make_plan
from jaxdiff.finetune.errors import graphs_of, predictions
from jaxdiff.finetune.inspection import Labels, inspect
from jaxdiff.finetune.scratch import scratch_model
from jaxdiff.finetune.sets import Sets, read_sets
from jaxdiff.io.frame import Frame
from jaxdiff.io.shown import counted
from jaxdiff.io.trainfile import TrainFile
from jaxdiff.models.contract import Model
from jaxdiff.potential import cast

TARGET, REPLAY = "default", "replay"
"""Names of the heads: of the user's data, and of what the starting model had learnt."""


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Labelled frames of one head, and the same as graphs."""

    name: str
    head: int
    frames: list[Frame]
    graphs: list[Graph]


@dataclasses.dataclass(frozen=True)
class Problem:
    """All that training needs.

    - `model`: the start, with the heads and isolated atoms of the data.
    - `train`: graphs of all heads; `valid`: one set per head, the target's first.
    - `test`: sets of the target head that training never sees.
    - `notes`: what a user should read before the first step.
    """

    model: Model
    train: list[Graph]
    train_sets: list[DataSet]
    valid: list[DataSet]
    test: list[DataSet]
    plan: Plan
    notes: list[str]


def prepare(run: TrainFile) -> Problem:
    """Read, check and arrange everything that a run file names."""
    read = read_sets(run)
    replay = read.replay
    known = [*read.train, *read.valid, *(replay[0] + replay[1] if replay else [])]
    base = _base(run, known, [f for frames in read.test.values() for f in frames])
    choice = _choice(run, read)
    numbers = base.species if base else _species(run, known)
    wanted = _with_energies(choice, read.train, numbers)
    found = atomic_energies(choice, read.train, read.isolated, wanted, base)
    notes = [f"isolated atoms: {found.source}", *([found.caution] if found.caution else [])]
    energies = _filled(found.values, wanted, numbers, base)
    if base is None:
        model = scratch_model(run, read.train, numbers, energies)
    else:
        model = _with_heads(run, base, energies, replay)
    _check(run, model, base, read, found.source)
    notes += _unused_charges(model, known)
    alone = [] if model.isolated_is_exact else read.alone
    if not model.isolated_is_exact:
        notes.append(_zero(len(alone)))
    if replay and base and run.replay and run.replay.labels == "model":
        replay = predictions(base, replay[0]), predictions(base, replay[1])
    read = dataclasses.replace(
        read, train=read.train + alone, replay=replay, notes=notes + read.notes
    )
    return _arrange(run, model, read)


def _choice(run: TrainFile, read: Sets):
    """How isolated atoms are found: as the run file says, or by what there is."""
    if run.data.isolated_atom_ev is not None or read.isolated or run.model is None:
        return run.data.isolated_atom_ev
    energies = any(frame.energy is not None for frame in read.train)
    return "estimated" if energies else "foundation"


def _zero(n_alone: int) -> str:
    """A note on the zero of a model whose isolated atoms have energies of their own."""
    if n_alone:
        return f"{counted(n_alone, 'isolated atom')} to train on: fixes the zero"
    return (
        "isolated atoms of this model have energies of their own besides those that are "
        "subtracted; for energies of binding add frames of isolated atoms to train on"
    )


def _unused_charges(model: Model, frames: Sequence[Frame]) -> list[str]:
    """A note on charges of frames, for a model that takes none."""
    charged = [frame for frame in frames if frame.is_charged]
    if model.takes_charge or not charged:
        return []
    return [
        f"charge or multiplicity of {counted(len(charged), 'frame')} is ignored, since "
        f"this model takes neither; the first is {charged[0].source}"
    ]


def _check(run, model: Model, base: Model | None, read: Sets, source: str) -> None:
    """Refuse labels that cannot be meant, unless the run file allows them."""
    others = {"validation": read.valid, **read.test}
    if "shared_frames" not in run.data.allow:
        checks.check_splits(read.train, others)
    sets = [Labels(f, model.isolated_of(0), source) for f in (read.train, *others.values())]
    if read.replay and run.replay.labels == "file":
        own = f'replay.isolated_atom_ev = "{run.replay.isolated_atom_ev}"'
        if isinstance(run.replay.isolated_atom_ev, dict):
            own = "replay.isolated_atom_ev"
        sets += [
            Labels(frames, model.isolated_of(1), own, "replay") for frames in read.replay
        ]
    inspect(sets, base, run.data.allow)


def _species(run: TrainFile, frames: Sequence[Frame]) -> tuple[int, ...]:
    """Atomic numbers of a model from scratch: those of the data and of the run file."""
    numbers = {int(z) for frame in frames for z in frame.atomic_number}
    if isinstance(run.data.isolated_atom_ev, dict):
        numbers |= {ase.data.atomic_numbers[s] for s in run.data.isolated_atom_ev}
    return tuple(sorted(numbers))


def _with_energies(
    choice, frames: Sequence[Frame], numbers: Sequence[int]
) -> tuple[int, ...]:
    """Those of `numbers` that the frames have or the run file names, in the same order."""
    found = {int(z) for frame in frames for z in frame.atomic_number}
    if isinstance(choice, dict):
        found |= {ase.data.atomic_numbers[symbol] for symbol in choice}
    return tuple(z for z in numbers if z in found)


def _base(run: TrainFile, known: Sequence[Frame], test: Sequence[Frame]) -> Model | None:
    """The starting model with one head, for the elements that are kept, in precision."""
    if run.model is None:
        return None
    model = checkpoints.load(run.model.name_or_path)
    heads = model.heads
    if len(heads) > 1 and run.model.head is None:
        raise ValueError(
            f"{run.model.name_or_path} has the heads {', '.join(heads)}; set model.head to "
            "the one to start from."
        )
    if len(heads) > 1:
        model = model.restrict_heads([run.model.head or ""])
    if run.model.elements == "data":
        numbers = [f.atomic_number for f in (*known, *test)]
        model = model.restrict(np.unique(np.concatenate(numbers)))
    return cast(model, jnp.dtype(run.precision))


def _filled(values, wanted, numbers, base) -> np.ndarray:
    """Energies of all species [species]: the starting model's where the target has none."""
    missing = sorted(set(numbers) - set(wanted))
    if base is None and missing:
        names = ", ".join(ase.data.chemical_symbols[z] for z in missing)
        raise ValueError(
            f"{names} stand in the validation set and in no training frame; a model from "
            "scratch cannot learn them. Remove these frames."
        )
    energies = np.zeros(len(numbers))
    if base is not None:
        energies = np.array(base.isolated, np.float64)[0]
    energies[[numbers.index(z) for z in wanted]] = values
    return energies


def _with_heads(run, base: Model, energies: np.ndarray, replay) -> Model:
    """The start with the target's isolated atoms, and with a head for replay if any."""
    if replay is None:
        return base.with_isolated(energies[None])
    numbers = base.species
    own = atomic_energies(run.replay.isolated_atom_ev, replay[0], {}, numbers, base)
    return base.with_heads((TARGET, REPLAY), np.stack([energies, own.values]))


def _arrange(run, model: Model, read: Sets) -> Problem:
    of_type = run.data.weight_of_type

    def data_set(name, frames, head=0, weight=1.0):
        def of_frame(frame):
            return weight * of_type.get(frame.config_type, 1.0)

        return DataSet(name, head, list(frames), graphs_of(model, frames, head, of_frame))

    train_sets, valid_sets = (
        [data_set("train", read.train)],
        [data_set("valid", read.valid)],
    )
    replay, notes = read.replay, read.notes
    repeated = train_sets[0].graphs
    if replay:
        train_sets += [data_set("train_replay", replay[0], 1, run.replay.weight)]
        valid_sets += [data_set("valid_replay", replay[1], 1, run.replay.weight)]
        wanted = run.replay.least_target_ratio * len(replay[0])
        times = max(1, int(wanted / len(read.train)))
        repeated = repeated * times
        notes = [*notes, f"{len(replay[0])} replay frames; target frames {times} times"]
    train = repeated + (train_sets[1].graphs if replay else [])
    everything = [*train, *(g for s in valid_sets for g in s.graphs)]
    sizes = run.optimizer.batch_size, run.optimizer.batch_edges
    test_sets = [data_set(name, frames) for name, frames in read.test.items()]
    everything += [g for s in test_sets for g in s.graphs]
    plan = make_plan(everything, *sizes)
    return Problem(model, train, train_sets, valid_sets, test_sets, plan, notes)
