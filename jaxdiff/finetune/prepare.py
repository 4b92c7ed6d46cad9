"""From a run file to a problem: the model to start from, graphs of each set, checks."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import ase.data
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import checkpoints
from jaxdiff.finetune import adaptation, checks
from jaxdiff.finetune.atomic_energies import atomic_energies
from jaxdiff.finetune.batches import Graph, Plan, make_plan
from jaxdiff.finetune.errors import frame_errors, graphs_of, predictions
from jaxdiff.finetune.frames import (
    Frame,
    Keys,
    draw,
    read_frames,
    split_isolated,
    with_small_forces,
)
from jaxdiff.io.trainfile import TrainFile
from jaxdiff.models.architecture import Architecture, Mace
from jaxdiff.models.initial import initialize
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

    model: Mace
    train: list[Graph]
    train_sets: list[DataSet]
    valid: list[DataSet]
    test: list[DataSet]
    plan: Plan
    notes: list[str]


def prepare(run: TrainFile) -> Problem:
    """Read, check and arrange everything that a run file names."""
    target, isolated = split_isolated(read_frames(run.data.train, _keys(run.data)))
    target, valid, note = _splits(run, target)
    test = {name: _read(paths, run.data) for name, paths in run.data.test.items()}
    replay = _read_replay(run)
    known = [*target, *valid, *(replay[0] + replay[1] if replay else [])]
    base = _base(run, known, [f for frames in test.values() for f in frames])

    choice = run.data.isolated_atom_ev
    if choice is None and not isolated and run.model is not None:
        choice = "estimated"
    numbers = base.architecture.atomic_numbers if base else _species(run, known)
    wanted = _with_energies(choice, target, numbers)
    found = atomic_energies(choice, target, isolated, wanted, base)
    notes = [f"isolated atoms: {found.source}", *([found.caution] if found.caution else [])]
    notes += [note]
    energies = _filled(found.values, wanted, numbers, base)
    if base is None:
        model = scratch_model(run, target, numbers, energies)
    else:
        model = _with_heads(run, base, energies, replay)
        if replay and run.replay and run.replay.labels == "model":
            replay = (predictions(base, replay[0]), predictions(base, replay[1]))
    problem = _arrange(run, model, target, valid, test, replay, notes)
    _check(run, problem, found.source, {"validation": valid, **test})
    return problem


def _keys(section) -> Keys:
    return Keys(
        section.energy_key, section.forces_key, section.stress_key, section.virials_key
    )


def _read(paths: Sequence[Path], section) -> list[Frame]:
    return split_isolated(read_frames(paths, _keys(section)))[0]


def _splits(run: TrainFile, frames: list[Frame]) -> tuple[list[Frame], list[Frame], str]:
    """Training and validation frames of the target, and what became of the others."""
    data, largest = run.data, run.data.largest_force_ev_per_angstrom
    valid = _read(data.valid, data) if data.valid else []
    n_read = len(frames) + len(valid)
    frames, valid = with_small_forces(frames, largest), with_small_forces(valid, largest)
    n_large = n_read - len(frames) - len(valid)
    if not data.valid:
        order = np.random.default_rng([run.draw_seed, len(frames)]).permutation(len(frames))
        n_valid = max(1, round(data.valid_fraction * len(frames)))
        held = set(order[:n_valid].tolist())
        valid = [frame for k, frame in enumerate(frames) if k in held]
        frames = [frame for k, frame in enumerate(frames) if k not in held]
    if data.frames_of_type:
        frames, _ = draw(frames, data.frames_of_type, run.draw_seed)
    if not (frames and valid):
        raise ValueError(
            f"{len(frames)} frames are left for training and {len(valid)} for validation, "
            f"{n_large} of {n_read} were left out for their forces; give more frames, "
            "files for data.valid, or a larger data.largest_force_ev_per_angstrom."
        )
    missing = {
        kind: sum(getattr(frame, kind) is None for frame in frames)
        for kind in ("energy", "forces", "stress")
    }
    lacking = ", ".join(f"{n} without {kind}" for kind, n in missing.items() if n)
    note = f"{len(frames)} frames for training, {len(valid)} for validation"
    large = f"; {n_large} with larger forces left out" if n_large else ""
    return frames, valid, note + large + (f"; {lacking}" if lacking else "")


def _read_replay(run: TrainFile) -> tuple[list[Frame], list[Frame]] | None:
    section, largest = run.replay, run.data.largest_force_ev_per_angstrom
    if section is None:
        return None
    frames = with_small_forces(_read(section.train, section), largest)
    if section.count is not None:
        if section.count > len(frames):
            raise ValueError(
                f"replay.count = {section.count}, and the files have {len(frames)} frames; "
                "ask for fewer."
            )
        order = np.random.default_rng([run.draw_seed, len(frames)]).permutation(len(frames))
        frames = [frames[k] for k in sorted(order[: section.count])]
    valid = with_small_forces(_read(section.valid, section), largest)
    if not (frames and valid):
        raise ValueError(
            f"{len(frames)} replay frames are left for training and {len(valid)} for "
            f"validation with forces up to {largest} eV/Å; raise "
            "data.largest_force_ev_per_angstrom."
        )
    return frames, valid


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


def _base(run: TrainFile, known: Sequence[Frame], test: Sequence[Frame]) -> Mace | None:
    """The starting model with one head, for the elements that are kept, in precision."""
    if run.model is None:
        return None
    model = checkpoints.load(run.model.name_or_path)
    heads = model.architecture.heads
    if len(heads) > 1 and run.model.head is None:
        raise ValueError(
            f"{run.model.name_or_path} has the heads {', '.join(heads)}; set model.head to "
            "the one to start from."
        )
    if len(heads) > 1:
        model = checkpoints.restrict_heads(model, [run.model.head or ""])
    if run.model.elements == "data":
        numbers = [f.atomic_number for f in (*known, *test)]
        model = checkpoints.restrict(model, np.unique(np.concatenate(numbers)))
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
        energies = np.array(base.constants["atomic_energies"], np.float64)[0]
    energies[[numbers.index(z) for z in wanted]] = values
    return energies


def _with_heads(run, base: Mace, energies: np.ndarray, replay) -> Mace:
    """The start with the target's isolated atoms, and with a head for replay if any."""
    if replay is None:
        return dataclasses.replace(
            base, constants=base.constants | {"atomic_energies": energies[None]}
        )
    numbers = base.architecture.atomic_numbers
    own = atomic_energies(run.replay.isolated_atom_ev, replay[0], {}, numbers, base)
    return adaptation.with_heads(base, (TARGET, REPLAY), np.stack([energies, own.values]))


def scratch_model(
    run: TrainFile, frames: Sequence[Frame], numbers: Sequence[int], energies: np.ndarray
) -> Mace:
    """Random weights; scale and shift from the data, as upstream's "rms_forces_scaling".

    The scale is the root mean square of the forces, the shift the mean interaction energy
    per atom. `energies` [species] are those of the isolated atoms, eV.
    """
    section = run.scratch
    assert section is not None
    forces = [f.forces.ravel() for f in frames if f.forces is not None]
    isolated = dict(zip(numbers, energies, strict=True))
    bound = [
        (f.energy - sum(isolated[int(z)] for z in f.atomic_number)) / f.n_atoms
        for f in frames
        if f.energy is not None
    ]
    architecture = Architecture(
        scale_shift=True,
        atomic_numbers=tuple(numbers),
        heads=(TARGET,),
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
        atomic_energies=np.asarray(energies)[None],
        scale=float(np.sqrt(np.mean(np.concatenate(forces) ** 2))),
        shift=float(np.mean(bound)),
        dtype=jnp.dtype(run.precision),
    )


def density_pairs(frames: Sequence[Frame], cutoff: float) -> float:
    """Mean number of neighbours within the cutoff, from the mean number density."""
    density = np.mean([f.n_atoms / f.volume for f in frames if f.volume])
    return float(round(density * 4 / 3 * np.pi * cutoff**3, 2))


def _arrange(run, model, target, valid, test, replay, notes) -> Problem:
    of_type = run.data.weight_of_type

    def data_set(name, frames, head=0, weight=1.0):
        def of_frame(frame):
            return weight * of_type.get(frame.config_type, 1.0)

        return DataSet(name, head, list(frames), graphs_of(model, frames, head, of_frame))

    train_sets, valid_sets = [data_set("train", target)], [data_set("valid", valid)]
    repeated = train_sets[0].graphs
    if replay:
        train_sets += [data_set("train_replay", replay[0], 1, run.replay.weight)]
        valid_sets += [data_set("valid_replay", replay[1], 1, run.replay.weight)]
        wanted = run.replay.least_target_ratio * len(replay[0])
        times = max(1, int(wanted / len(target)))
        repeated = repeated * times
        notes = [*notes, f"{len(replay[0])} replay frames; target frames {times} times"]
    train = repeated + (train_sets[1].graphs if replay else [])
    everything = [*train, *(g for s in valid_sets for g in s.graphs)]
    sizes = run.optimizer.batch_size, run.optimizer.batch_edges
    test_sets = [data_set(name, frames) for name, frames in test.items()]
    everything += [g for s in test_sets for g in s.graphs]
    plan = make_plan(everything, *sizes)
    return Problem(model, train, train_sets, valid_sets, test_sets, plan, notes)


def _check(run: TrainFile, problem: Problem, source: str, others) -> None:
    """Refuse labels that cannot be meant, unless the run file allows them."""
    target = problem.train_sets[0]
    frames = target.frames
    stated = {
        "shared_frames": lambda: checks.check_splits(frames, others),
        "net_force": lambda: checks.check_forces(frames),
        "stress": lambda: checks.check_stress(frames),
        "energy_offset": lambda: _check_energies(run, problem, target, source),
    }
    for kind, check in stated.items():
        if kind not in run.data.allow:
            check()


def _check_energies(run, problem: Problem, target: DataSet, source: str) -> None:
    labelled = [g for g in target.graphs if g.arrays.energy_weight[0] > 0]
    if not labelled:
        return
    checks.check_binding(
        np.array([g.arrays.energy[0] / g.n_atoms for g in labelled]), source
    )
    if run.model is not None:
        found = frame_errors(problem.model, labelled, problem.plan)["energy"]
        checks.check_offset(found, source)
