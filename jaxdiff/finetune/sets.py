"""From the files of a run to sets: target, validation, tests, replay, isolated atoms."""

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import ase.data
import ase.formula
import numpy as np

from jaxdiff.io.frame import Frame
from jaxdiff.io.frames import (
    Keys,
    draw,
    is_isolated,
    read_labelled,
    split_isolated,
    with_small_forces,
)
from jaxdiff.io.shown import counted
from jaxdiff.io.trainfile import TrainFile

_LISTED = 3


@dataclasses.dataclass(frozen=True)
class Sets:
    """What the files of the target and of replay hold, before any model is looked at.

    - `isolated`: energies of isolated atoms, eV, by atomic number; `alone`: their frames.
    """

    train: list[Frame]
    valid: list[Frame]
    test: dict[str, list[Frame]]
    replay: tuple[list[Frame], list[Frame]] | None
    isolated: dict[int, float]
    alone: list[Frame]
    notes: list[str]


def read_sets(run: TrainFile) -> Sets:
    """Frames of all sets, isolated atoms, and sentences on what was left out."""
    data, notes = run.data, []

    def read(paths: Sequence[Path], keys: Keys) -> list[Frame]:
        found = read_labelled(paths, keys)
        notes.extend(found.notes)
        return found.frames

    keys = _keys(run, data)
    target, valid = read(data.train, keys), read(data.valid, keys) if data.valid else []
    test = {name: read(paths, keys) for name, paths in data.test.items()}
    every = [*target, *valid, *(f for t in test.values() for f in t)]
    isolated, alone = split_isolated(every)[1], [f for f in target if is_isolated(f)]
    test = {name: split_isolated(frames)[0] for name, frames in test.items()}
    train, valid, large = _splits(run, split_isolated(target)[0], split_isolated(valid)[0])
    notes += [_contents("training", train), _contents("validation", valid), *large]
    replay = None
    if run.replay is not None:
        keys = _keys(run, run.replay, "replay")
        replay = read(run.replay.train, keys), read(run.replay.valid, keys)
        replay = _replay_sets(run, *(split_isolated(frames)[0] for frames in replay))
        if run.replay.labels == "file":
            notes.append(_contents("replay", replay[0]))
    return Sets(train, valid, test, replay, isolated, alone, notes)


def _contents(name: str, frames: Sequence[Frame]) -> str:
    """How many frames a set has, of which compositions, and which labels they lack."""
    counts = collections.Counter(
        ase.formula.Formula.from_list(
            [ase.data.chemical_symbols[z] for z in np.sort(frame.atomic_number)]
        ).format("reduce")
        for frame in frames
    )
    parts = [f"{n} of {formula}" for formula, n in counts.most_common(_LISTED)]
    parts += [f"{len(counts) - _LISTED} other compositions"] * (len(counts) > _LISTED)
    lacking = {
        kind: sum(getattr(frame, kind) is None for frame in frames)
        for kind in ("energy", "forces", "stress")
    }
    parts += [f"{n} without {kind}" for kind, n in lacking.items() if n]
    n_frames = counted(len(frames), "frame")
    return f"{name}: {n_frames}; {', '.join(parts)}"


def _splits(
    run: TrainFile, frames: list[Frame], valid: list[Frame]
) -> tuple[list[Frame], list[Frame], list[str]]:
    """Training and validation frames of the target, and what became of the others."""
    data, largest = run.data, run.data.largest_force_ev_per_angstrom
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
    large = [f"{n_large} with larger forces left out"] if n_large else []
    return frames, valid, large


def _replay_sets(
    run: TrainFile, frames: list[Frame], valid: list[Frame]
) -> tuple[list[Frame], list[Frame]]:
    """Replay frames for training, drawn where a count is given, and for validation."""
    section, largest = run.replay, run.data.largest_force_ev_per_angstrom
    assert section is not None
    frames = with_small_forces(frames, largest)
    if section.count is not None:
        if section.count > len(frames):
            raise ValueError(
                f"replay.count = {section.count}, and the files have {len(frames)} frames; "
                "ask for fewer."
            )
        order = np.random.default_rng([run.draw_seed, len(frames)]).permutation(len(frames))
        frames = [frames[k] for k in sorted(order[: section.count])]
    valid = with_small_forces(valid, largest)
    if not (frames and valid):
        raise ValueError(
            f"{len(frames)} replay frames are left for training and {len(valid)} for "
            f"validation with forces up to {largest} eV/Å; raise "
            "data.largest_force_ev_per_angstrom."
        )
    return frames, valid


def _keys(run: TrainFile, section, name: str = "data") -> Keys:
    stages = [run.loss, *([run.stage_two] if run.stage_two else [])]
    needed = [
        kind
        for kind in ("energy", "forces")
        if any(getattr(stage, f"{kind}_weight") for stage in stages)
    ]
    if name == "replay" and section.labels == "model":
        needed = []
    return Keys(
        section.energy_key,
        section.forces_key,
        section.stress_key,
        section.virials_key,
        section.head,
        tuple(needed),
        name,
    )
