"""Labels in a folder: each frame once, calculated anywhere, joined to one extxyz.

    DIR/settings.json      what the labels depend on beside the frames; pseudo/ its files
    DIR/frames.json        digest and source of each frame, in the order of their numbers
    DIR/units/0000.toml    the program of a frame and its command
    DIR/units/0000/        frame, input, output; label.json, written last; 0000.log
    DIR/labels.extxyz      frames with REF_energy, REF_forces, REF_stress
    DIR/failed.extxyz      frames without a label, and why

A unit can be run anywhere, again and again, by `cd DIR; jaxdiff label-unit
units/0000.toml`; once it has a label it stays as it is.
"""

import dataclasses
import io
import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np

from jaxdiff.dft import Settings, code
from jaxdiff.dft.contract import PSEUDO
from jaxdiff.io import digest, durable
from jaxdiff.io.ase_frames import read_atoms
from jaxdiff.io.config import table_to_toml
from jaxdiff.io.folder import RunFolder
from jaxdiff.io.labelfile import LabelFile
from jaxdiff.runs.task import UNITS, Batch, Task

SETTINGS, FRAMES, LABEL = "settings.json", "frames.json", "label.json"
LABELS, FAILED, FRAME = "labels.extxyz", "failed.extxyz", "frame.extxyz"

MAX_FRAMES = 10_000  # four digits

_PLACES = 6
"""Decimals of Å that tell two geometries apart."""

_OLD = (
    "REF_energy",
    "REF_stress",
    "REF_virials",
    "energy",
    "stress",
    "virial",
    "free_energy",
)
_OLD_ARRAYS = ("REF_forces", "forces")


@dataclasses.dataclass(frozen=True)
class LabelUnit(Task):
    """One frame to label.

    - `digest`: of geometry and settings. `source`: where the frame was read.
    - `n_processes`: that its command starts, as far as can be seen.
    """

    digest: str
    source: str
    n_processes: int = 1

    @property
    def name(self) -> str:
        """The frame in messages."""
        return f"frame {self.index} ({self.source})"

    @property
    def cores(self) -> int:
        """One for each process."""
        return self.n_processes

    def final_code(self) -> int | None:
        """0 once there is a label, or a reason why there is none."""
        return None if self.result() is None else 0

    def result(self) -> dict[str, Any] | None:
        """What its run has written; nothing where it has not come to an end."""
        try:
            found = json.loads((self.directory / LABEL).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(
                f"{self.directory / LABEL} is damaged ({error}); remove it, and the frame "
                "is labelled again."
            ) from None
        return found


@dataclasses.dataclass(frozen=True)
class LabelRun(Batch):
    """All frames of a folder, also those of earlier calls."""

    units: tuple[LabelUnit, ...]
    settings: Settings

    @property
    def cores_words(self) -> str:
        """One for each process."""
        return f"one for each process\n# of dft.command ({self.units[0].cores})"


@dataclasses.dataclass(frozen=True)
class Collected:
    """What a folder holds now, as numbers of units; `unfinished` may still come."""

    labelled: tuple[int, ...]
    failed: dict[int, str]
    unfinished: tuple[int, ...]
    notes: tuple[str, ...]


def label_folder(run: LabelFile) -> RunFolder:
    """The folder; nothing of its settings may change."""
    return RunFolder(Path(run.output.directory).absolute(), free=("output.directory",))


def plan(run: LabelFile, frames: Sequence[tuple[ase.Atoms, str]]) -> LabelRun:
    """Add frames with their sources to the folder, each once, and write their inputs.

    Nothing is calculated. Raises `ValueError` where the folder holds labels of other
    settings, or a frame is not one for these.
    """
    folder = label_folder(run)
    directory, program = folder.directory, code(run.dft.code)
    settings = program.settings(run.dft)
    identity = json.loads(json.dumps(settings.identity))
    path = directory / SETTINGS
    if path.is_file():
        folder.require_same(json.loads(path.read_text(encoding="utf-8")), identity)
    else:
        folder.require_empty((PSEUDO, SETTINGS))
        _copy(settings.files, directory / PSEUDO)
        durable.write_json(path, identity)
    known = _known(directory)
    rows = list(known)
    number = {row["digest"]: index for index, row in enumerate(rows)}
    for atoms, source in frames:
        name = frame_digest(atoms, identity)
        if name in number:
            continue
        if len(rows) == MAX_FRAMES:
            raise ValueError(f"{directory} has {MAX_FRAMES} frames; give another folder.")
        _write_frame(
            program, directory / UNITS / f"{len(rows):04d}", atoms, source, identity
        )
        number[name] = len(rows)
        rows.append({"digest": name, "source": source})
    units = tuple(_unit(run, directory, index, row) for index, row in enumerate(rows))
    if not units:
        raise ValueError(f"{directory} has no frames yet; give files with some.")
    if len(rows) > len(known):
        durable.write_json(directory / FRAMES, rows)
    return LabelRun(directory, units, settings)


def frame_digest(atoms: ase.Atoms, identity: Mapping[str, Any]) -> str:
    """Of a geometry, to 1e-6 Å, and of the settings."""
    total = json.dumps(identity, sort_keys=True).encode()
    total += np.asarray(atoms.numbers, "<i4").tobytes() + bytes(atoms.pbc.tolist())
    for values in (atoms.cell.array, atoms.positions):
        rounded = np.round(np.asarray(values, "<f8"), _PLACES) + 0.0  # no negative zero
        total += rounded.tobytes()
    return digest.of_bytes(total)


def units_of(run: LabelRun, frames: Sequence[tuple[ase.Atoms, str]]) -> list[LabelUnit]:
    """The unit of each frame, in their order; a frame that occurs twice has one."""
    identity = json.loads(json.dumps(run.settings.identity))
    by_digest = {unit.digest: unit for unit in run.units}
    return [by_digest[frame_digest(atoms, identity)] for atoms, _ in frames]


def collect(run: LabelRun) -> Collected:
    """Write labels.extxyz and failed.extxyz from all that has come to an end."""
    labelled, failed, unfinished = {}, {}, []
    reasons, notes = {}, []
    for unit in run.units:
        result = unit.result()
        if result is None:
            unfinished.append(unit.index)
        elif "failed" in result:
            reasons[unit.index] = str(result["failed"])
            failed[unit.index] = _without_label(unit, result)
        else:
            labelled[unit.index] = _labelled(unit, result, run.settings)
    _write_extxyz(run.directory / LABELS, list(labelled.values()))
    _write_extxyz(run.directory / FAILED, list(failed.values()))
    odd = sum(_is_odd(a, run.settings.identity) for a in labelled.values())
    if odd:
        notes.append(
            f"without spin polarisation, but with an odd number of electrons: {odd} of "
            f"{len(labelled)} labels"
        )
    n_stress = sum("REF_stress" not in atoms.info for atoms in labelled.values())
    if n_stress:
        notes.append(f"without stress: {n_stress} of {len(labelled)} labels")
    return Collected(tuple(labelled), reasons, tuple(unfinished), tuple(notes))


def require_program(run: LabelFile) -> None:
    """An error where the command is none on this machine."""
    first = next(iter(shlex.split(run.dft.command)), "")
    if shutil.which(first) is None:
        raise ValueError(
            f"dft.command: {first or 'nothing'} is not installed here or not on the path; "
            "install it, or give its path."
        )


def forget_failed(run: LabelRun) -> None:
    """Frames that have failed are to be tried again."""
    _, output = code(str(run.settings.identity["code"])).arguments([])
    for unit in run.units:
        if "failed" in (unit.result() or {}):
            for name in (output, LABEL):  # without an output no label is made of it
                (unit.directory / name).unlink(missing_ok=True)


def labelled_frames(units: Sequence[LabelUnit], settings: Settings) -> list[ase.Atoms]:
    """The frames of these units that have a label, with it."""
    found = []
    for unit in units:
        result = unit.result()
        if result is not None and "failed" not in result:
            found.append(_labelled(unit, result, settings))
    return found


def read_sources(paths: Sequence[Path]) -> list[tuple[ase.Atoms, str]]:
    """All frames of files with where they stand."""
    found = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; give one with frames.")
        frames = read_atoms(path)
        found += [(a, f"{path.name}, frame {number}") for number, a in enumerate(frames)]
    return found


def write_extxyz(path: Path, frames: Sequence[ase.Atoms]) -> None:
    """Whole or not at all."""
    text = io.StringIO()
    ase.io.write(text, list(frames), format="extxyz")
    durable.write_text(path, text.getvalue())


def _write_extxyz(path: Path, frames: Sequence[ase.Atoms]) -> None:
    """The same, and no file where there are none."""
    if frames:
        write_extxyz(path, frames)
    else:
        path.unlink(missing_ok=True)


def _known(directory: Path) -> list[dict[str, str]]:
    path = directory / FRAMES
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [{"digest": str(r["digest"]), "source": str(r["source"])} for r in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error!r}); label the frames again in another folder."
        ) from None


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        durable.write_bytes(folder / name, path.read_bytes())


def _write_frame(
    program: Any, folder: Path, atoms: ase.Atoms, source: str, identity: Mapping[str, Any]
) -> None:
    """A frame and its input; a folder that a call which was ended left is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kept = atoms.copy()
    for name in _OLD:
        kept.info.pop(name, None)
    for name in _OLD_ARRAYS:
        kept.arrays.pop(name, None)
    kept.set_constraint()
    write_extxyz(folder / FRAME, [kept])
    try:
        program.write(folder, kept, identity)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _unit(run: LabelFile, directory: Path, index: int, row: dict[str, str]) -> LabelUnit:
    """The unit, and its run file as the command is now."""
    unit = LabelUnit(
        index, directory / UNITS / f"{index:04d}", row["digest"], row["source"],
        _processes(run.dft.command),
    )  # fmt: skip
    text = table_to_toml({"dft": {"code": run.dft.code, "command": run.dft.command}})
    path = unit.run_file
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        durable.write_text(path, text)
    return unit


def _processes(command: str) -> int:
    """The number after -n or -np, as launchers of MPI have it."""
    words = command.split()
    for option, value in zip(words, words[1:], strict=False):
        if option in ("-n", "-np", "--ntasks") and value.isdecimal():
            return max(1, int(value))
    return 1


def _frame(unit: LabelUnit) -> ase.Atoms:
    atoms = read_atoms(unit.directory / FRAME)[0]
    atoms.calc = None
    return atoms


def _labelled(unit: LabelUnit, result: dict[str, Any], settings: Settings) -> ase.Atoms:
    atoms = _frame(unit)
    atoms.info["REF_energy"] = result["energy_ev"]
    atoms.arrays["REF_forces"] = np.array(result["forces_ev_per_angstrom"], float)
    if result["stress_ev_per_angstrom3"] is not None:
        stress = np.array(result["stress_ev_per_angstrom3"], float)
        atoms.info["REF_stress"] = stress.ravel()
    facts = {f"label_{name}": value for name, value in result["facts"].items()}
    identity = json.dumps(settings.identity, sort_keys=True).encode()
    atoms.info |= facts | {
        "label_source": unit.source,
        "label_settings_sha256": digest.of_bytes(identity),
        "label_sha256": unit.digest,
    }
    return atoms


def _without_label(unit: LabelUnit, result: dict[str, Any]) -> ase.Atoms:
    atoms = _frame(unit)
    atoms.info |= {"label_source": unit.source, "label_failed": str(result["failed"])}
    return atoms


def _is_odd(atoms: ase.Atoms, identity: Mapping[str, Any]) -> bool:
    electrons = atoms.info.get("label_electrons")
    spin = "label_magnetization_bohr_magneton" in atoms.info
    return electrons is not None and round(float(electrons)) % 2 == 1 and not spin
