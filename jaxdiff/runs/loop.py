"""A loop of rounds: sample, select, label, train; each stage done once, in its folder.

    DIR/run.json                    what the loop was asked for, all run files within
    DIR/labels/                     the labels of all rounds (jaxdiff label)
    DIR/round-00/train-0/, ...      the committee on the data that were there
    DIR/round-01/sample/NAME/       dynamics of the first model of the round before
    DIR/round-01/chosen.extxyz      frames to label; labels-01.extxyz: with labels
    DIR/round-01/train-0/, ...      the committee on all data until then
    DIR/round-01/sample.json, select.json, label.json, train.json
    DIR/rounds.json, rounds.md      the table

The JSON of a stage is written last: where it is, the stage is not done again. Within a
stage dynamics, labels and trainings go on from what they have kept.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase
import jax
import numpy as np

from jaxdiff import checkpoints
from jaxdiff.finetune import (
    Keys,
    Reports,
    error_table,
    read_frames,
    results,
    train_to_folder,
)
from jaxdiff.finetune.environments import Around
from jaxdiff.finetune.errors import ErrorRow
from jaxdiff.finetune.scratch import with_family
from jaxdiff.io import durable, labelfile, runfile
from jaxdiff.io.ase_frames import read_atoms
from jaxdiff.io.folder import RunFolder
from jaxdiff.io.frames import split_isolated
from jaxdiff.io.labelfile import LabelFile
from jaxdiff.io.loopfile import LoopFile
from jaxdiff.io.provenance import provenance, sha256
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.trainfile import TrainFile, read_train_file
from jaxdiff.report.loop import markdown
from jaxdiff.runs import labels, launchers, loop_sample, loop_select
from jaxdiff.runs.label_unit import LABEL_UNIT
from jaxdiff.runs.simulation import Progress
from jaxdiff.stop import Stopped

RUN, TABLE, TABLE_TEXT = "run.json", "rounds.json", "rounds.md"
LABELS, CHOSEN = "labels", "chosen.extxyz"

FREE = (
    "loop.stop", "loop.label.workers", "loop.output", "label.dft.command", "label.output",
    "train.directory",
)  # fmt: skip

OTHER_METHOD = 5000.0
"""meV/atom by which no model is off on labels of the method that it was trained on."""

_RETRIES = 2
_KEYS = "REF_energy", "REF_forces", "REF_stress"

Say = Callable[[str], None]
Stage = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Recipes:
    """The run files that a loop plays, before it gives them models, seeds and folders."""

    sample: dict[str, RunFile]
    label: LabelFile
    train: TrainFile


@dataclasses.dataclass(frozen=True)
class Show:
    """What is told while a loop goes on.

    - `say`: a sentence. `progress`: as of `jaxdiff simulate`. `table`: after each round.
    """

    say: Say
    progress: Progress
    table: Callable[[str], None]


def read_recipes(run: LoopFile) -> Recipes:
    """The run files, each checked by itself and for what a loop needs."""
    sample = {name: runfile.load(one.run_file) for name, one in run.sample.items()}
    for name, one in sample.items():
        loop_sample.check(one, name)
        _around(run, one)
    train = with_family(read_train_file(run.train.run_file))
    keys = (train.data.energy_key, train.data.forces_key, train.data.stress_key)
    if keys != _KEYS:
        raise ValueError(
            f"{run.train.run_file} has the keys {', '.join(keys)}, and the labels of a "
            f"loop are called {', '.join(_KEYS)}; name those of data.train alike."
        )
    if train.data.head is not None:
        raise ValueError(
            f"{run.train.run_file} has data.head, and the labels of a loop have no head; "
            "write the frames of that head to a file of their own."
        )
    for path in (*train.data.train, *train.data.valid):
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such data file, and {run.train.run_file} names it; give one, "
                "or label its frames first (jaxdiff label)."
            )
    label = labelfile.load(run.label.run_file)
    labels.require_program(label)
    return Recipes(sample, label, train)


def run_loop(run: LoopFile, show: Show) -> Stage:
    """Run it, go on with it, or find it complete; the content of rounds.json.

    Raises `Stopped` after a signal, once the stage that was going on has saved itself.
    """
    recipes = read_recipes(run)
    directory = Path(run.output.directory).absolute()
    folder = RunFolder(directory, free=FREE)
    if not (directory / RUN).is_file():
        folder.require_empty()
    with folder.claimed():
        _require_same(folder, run, recipes)
        return _Loop(run, recipes, directory, show).complete()


def _require_same(folder: RunFolder, run: LoopFile, recipes: Recipes) -> None:
    """An error where the folder holds another loop; a new folder becomes this one's."""
    asked = {
        "loop": run.model_dump(mode="json"),
        "sample": {
            name: one.model_dump(mode="json") for name, one in recipes.sample.items()
        },
        "label": recipes.label.model_dump(mode="json"),
        "train": recipes.train.model_dump(mode="json"),
        "data_sha256": {str(path): sha256(path) for path in recipes.train.data.train},
    }
    path = folder.directory / RUN
    if path.is_file():
        folder.require_same(json.loads(path.read_text(encoding="utf-8")), asked)
    durable.write_json(path, asked)


@dataclasses.dataclass(frozen=True)
class _Loop:
    run: LoopFile
    recipes: Recipes
    directory: Path
    show: Show

    def complete(self) -> Stage:
        """All rounds, each stage of which is done once."""
        stop = self.run.stop
        rounds = [{"round": 0, "train": self._stage(0, "train", self._train)}]
        self._write(rounds, None)
        for number in range(1, stop.rounds + 1):
            done: Stage = {"round": number}
            rounds.append(done)
            done["sample"] = self._stage(number, "sample", self._sample)
            done["select"] = self._stage(number, "select", self._select)
            if done["select"]["nine_of_ten"] < stop.deviation_ev_per_angstrom:
                return self._write(
                    rounds,
                    f"nine of ten sampled frames are disputed by less than "
                    f"{stop.deviation_ev_per_angstrom:g} eV/Å",
                )
            done["label"] = self._stage(number, "label", self._label)
            done["train"] = self._stage(number, "train", self._train)
            self._write(rounds, None)
        return self._write(rounds, f"{stop.rounds} rounds are done (stop.rounds)")

    def _stage(self, number: int, name: str, make: Callable[[int], Stage]) -> Stage:
        """What a stage came to; it is not done again."""
        path = self._round(number) / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        self.show.say(f"round {number}: {name}")
        path.parent.mkdir(exist_ok=True)
        content = make(number)
        durable.write_json(path, content)
        jax.clear_caches()  # programs of other shapes follow
        return content

    def _write(self, rounds: list[Stage], ended: str | None) -> Stage:
        last = max(r["round"] for r in rounds if "train" in r)
        content = {
            **provenance(),
            "units": "deviations eV/Å, energies meV/atom, forces meV/Å",
            "models": [str(path) for path in self._models(last)],
            "ended": ended,
            "rounds": rounds,
        }
        text = markdown(content)
        durable.write_json(self.directory / TABLE, content)
        durable.write_text(self.directory / TABLE_TEXT, text)
        self.show.table(text)
        return content

    def _round(self, number: int) -> Path:
        return self.directory / f"round-{number:02d}"

    def _models(self, number: int) -> list[Path]:
        """Those trained in a round; the first one samples in the next."""
        return [
            self._round(number) / f"train-{k}" / results.MODEL
            for k in range(self.run.train.models)
        ]

    def _labels(self, number: int) -> Path:
        return self._round(number) / f"labels-{number:02d}.extxyz"

    def _data(self, number: int) -> list[Path]:
        """Files to train on after a round, those of the recipe first."""
        later = [self._labels(r) for r in range(1, number + 1)]
        return [*self.recipes.train.data.train, *later]

    def _sample(self, number: int) -> Stage:
        """Dynamics of all kinds, and their frames in one file each."""
        found: Stage = {"model": str(self._models(number - 1)[0]), "frames": {}}
        found["diverged"] = {}
        for name, recipe in self.recipes.sample.items():
            directory = self._round(number) / "sample" / name
            frames, diverged = loop_sample.sample(
                self._sampling(recipe, number, directory),
                name,
                self.show.progress,
                self.show.say,
            )
            labels.write_extxyz(directory.with_suffix(".extxyz"), frames)
            found["frames"][name] = len(frames)
            found["diverged"][name] = list(diverged)
        return found

    def _sampling(self, recipe: RunFile, number: int, directory: Path) -> RunFile:
        """The recipe with the model of the round before, and random numbers of its own."""
        table = recipe.model_dump(mode="json")
        table["model"]["name_or_path"] = str(self._models(number - 1)[0])
        table["model"]["head"] = None
        table["ensemble"]["seed"] += number
        table["output"]["directory"] = str(directory)
        return runfile.parse(table)

    def _select(self, number: int) -> Stage:
        """Deviation of the committee on all sampled frames, and the frames to label."""
        paths = self._models(number - 1)
        models = [checkpoints.load(path) for path in paths]
        known = _crystals(self._data(number - 1))
        chosen: list[ase.Atoms] = []
        found: Stage = {"deviation": {}, "chosen": {}}
        for name, section in self.run.sample.items():
            frames = read_atoms(self._round(number) / "sample" / f"{name}.extxyz")
            deviation = loop_select.deviations(models, [str(p) for p in paths], frames)
            found["deviation"][name] = loop_select.summary(deviation)
            selected = loop_select.choose(
                models[0],
                frames,
                deviation,
                known,
                section.count,
                _around(self.run, self.recipes.sample[name]),
                self.run.select.highest_ev_per_angstrom or np.inf,
            )
            found["chosen"][name] = selected.why
            for row, why in zip(selected.rows, selected.why, strict=True):
                atoms = frames[row]
                atoms.info["select_force_deviation"] = why["deviation_ev_per_angstrom"]
                if why["distance"] is not None:
                    atoms.info["select_distance"] = why["distance"]
                chosen.append(atoms)
        labels.write_extxyz(self._round(number) / CHOSEN, chosen)
        worst = max(found["deviation"].values(), key=lambda one: one["nine_of_ten"])
        return {"nine_of_ten": worst["nine_of_ten"], **found}

    def _label(self, number: int) -> Stage:
        """DFT of the chosen frames; what the model of the round before makes of it."""
        sources = [
            (atoms, f"round {number}, {atoms.info['sample_source']}")
            for atoms in read_atoms(self._round(number) / CHOSEN)
        ]
        output = labelfile.OutputSection(directory=str(self.directory / LABELS))
        planned = labels.plan(
            self.recipes.label.model_copy(update={"output": output}), sources
        )
        units = labels.units_of(planned, sources)
        left = [unit for unit in dict.fromkeys(units) if unit.result() is None]
        outcome = launchers.run_local(
            left,
            workers=self.run.label.workers,
            retries=_RETRIES,
            command=LABEL_UNIT,
            say=self.show.say,
        )
        if outcome.signal is not None:
            raise Stopped(
                f"Stopped by signal {outcome.signal} in the labels of round {number}; the "
                "same command goes on.",
                outcome.signal,
            )
        labels.collect(planned)
        frames = labels.labelled_frames(list(dict.fromkeys(units)), planned.settings)
        failed = {unit.source: _reason(unit) for unit in units if _reason(unit)}
        if not frames:
            source, reason = next(iter(failed.items()))
            raise ValueError(
                f"none of {len(units)} frames of round {number} could be labelled; "
                f"{source}: {reason}. Remove the folder {planned.directory} to begin the "
                "labels anew."
            )
        labels.write_extxyz(self._labels(number), frames)
        row = self._errors_on_new(number)
        return {"labelled": len(frames), "failed": failed, "errors": row}

    def _errors_on_new(self, number: int) -> Stage:
        """Of the model that sampled, on labels that it has not seen."""
        frames = read_frames([self._labels(number)])
        model = checkpoints.load(self._models(number - 1)[0])
        row = error_table(model, {"new": frames})[0]
        if row.energy_mae > OTHER_METHOD:
            raise ValueError(
                f"the labels of round {number} and the model's energies differ by "
                f"{row.energy_mae / 1e3:.3g} eV/atom: data.train of "
                f"{self.run.train.run_file} is of another method (pseudopotentials, "
                "functional) than the labels; label those frames with the same settings "
                "(jaxdiff label)."
            )
        return _row(row)

    def _train(self, number: int) -> Stage:
        """The recipe with each seed, on all frames labelled until then."""
        n_frames, rows = 0, []
        for k, path in enumerate(self._models(number)):
            recipe = self.recipes.train
            data = recipe.data.model_copy(update={"train": self._data(number)})
            run = recipe.model_copy(
                update={"seed": recipe.seed + k, "directory": path.parent, "data": data}
            )
            self.show.say(f"round {number}: train, seed {run.seed}")
            table = train_to_folder(run, Reports(note=self.show.say))
            jax.clear_caches()
            if k == 0:
                n_frames = table[0].frames
                rows = [_row(one) for one in table if not one.name.startswith("train")]
        return {"frames": n_frames, "errors": rows}


def _around(run: LoopFile, sample: RunFile) -> Around:
    section = run.select
    return Around(section.around, section.radius_angstrom, sample.system.mobile)


def _crystals(paths: Sequence[Path]) -> list[ase.Atoms]:
    """Frames of training data without isolated atoms."""
    frames, _ = split_isolated(read_frames(paths, Keys(needed=())))
    return [ase.Atoms(f.atomic_number, f.position, cell=f.cell, pbc=f.pbc) for f in frames]


def _reason(unit: labels.LabelUnit) -> str:
    """Why it has no label; empty where it has one."""
    result = unit.result()
    if result is None:
        return f"the program died {_RETRIES + 1} times, see {unit.log}"
    return str(result.get("failed", ""))


def _row(row: ErrorRow) -> Stage:
    return {
        key: None if isinstance(value, float) and np.isnan(value) else value
        for key, value in dataclasses.asdict(row).items()
    }
