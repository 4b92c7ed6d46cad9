"""Labelled configurations: read from files, each geometry once; isolated atoms; draws."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.data
import numpy as np
from ase.geometry import minkowski_reduce

from jaxdiff.io.ase_frames import read_atoms
from jaxdiff.io.deepmd import read_deepmd
from jaxdiff.io.frame import Frame, sound, stress_label
from jaxdiff.io.geometry import first_of_geometry
from jaxdiff.io.repeats import joined, refuse_contradictions

ISOLATED_ATOM = "IsolatedAtom"
"""`config_type` of frames that hold one atom, and its energy; in any spelling."""

FAR = 8.0
"""Å from an atom to its nearest image: so far away no crystal has it."""

ZERO = 1e-12  # eV/Å^3: a stress that was not computed
_ENERGY_SPREAD = 1e-3  # eV, of two energies of one isolated atom


@dataclasses.dataclass(frozen=True)
class Keys:
    """Names of the labels in an extxyz file, and what is wanted of it.

    - `head`: frames of this head alone; None: of the only one.
    - `needed`: labels without which a file is refused.
    - `section`: of the run file that has these names, for messages.
    """

    energy: str = "REF_energy"
    forces: str = "REF_forces"
    stress: str = "REF_stress"
    virials: str = "REF_virials"
    head: str | None = None
    needed: tuple[str, ...] = ("energy", "forces")
    section: str = "data"


@dataclasses.dataclass(frozen=True)
class Reading:
    """Frames of files, each geometry once, and sentences on what was left out."""

    frames: list[Frame]
    notes: list[str]


def read_frames(paths: Sequence[Path | str], keys: Keys = Keys()) -> list[Frame]:  # noqa: B008
    """All frames of the files, each geometry once, in the order of the files.

    A path is a file that ASE reads, or a folder in one of DeePMD's formats. A label may be
    missing in some frames, but those of `keys.needed` not in all of a file.

    Raises `ValueError` where a geometry has two different labels, or the files two heads.
    """
    return read_labelled(paths, keys).frames


def read_labelled(paths: Sequence[Path | str], keys: Keys) -> Reading:
    """The frames of the files, and what was left out of them; see `read_frames`."""
    read = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such data file (looked for at {path.resolve()}). Give a path "
                "that exists."
            )
        read += _read_deepmd(path, keys) if path.is_dir() else _read_file(path, keys)
    if not read:
        raise ValueError(f"no frames in {', '.join(map(str, paths))}.")
    read = _of_head(read, keys)
    frames, notes = _without_zero_stress(read)
    first = first_of_geometry(frames)
    refuse_contradictions(frames, first)
    kept = joined(frames, first)
    if len(kept) < len(frames):
        notes.append(
            f"{len(frames) - len(kept)} of {len(frames)} frames of {_files(frames)} repeat "
            "another with the same labels, and were left out"
        )
    return Reading(kept, notes)


def _files(frames: Sequence[Frame]) -> str:
    return ", ".join(dict.fromkeys(frame.file for frame in frames))


def _of_head(frames: list[Frame], keys: Keys) -> list[Frame]:
    """The frames of the head that is asked for; of the only one where none is."""
    counts = collections.Counter(frame.head for frame in frames)
    found = ", ".join(f"{head} ({n} frames)" for head, n in sorted(counts.items()))
    if keys.head is None and len(counts) > 1:
        raise ValueError(
            f"{_files(frames)} hold the heads {found}, whose labels belong to different "
            f"methods; set {keys.section}.head to the one to read."
        )
    if keys.head is not None and keys.head not in counts:
        raise ValueError(
            f"{keys.section}.head = {keys.head!r}, and {_files(frames)} hold {found}; give "
            "one of these."
        )
    return [frame for frame in frames if keys.head in (None, frame.head)]


def _without_zero_stress(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """A stress of nine zeros is what writers give where none was computed."""
    zero = [f for f in frames if f.stress is not None and np.abs(f.stress).max() < ZERO]
    if not zero:
        return list(frames), []
    unknown = {id(frame) for frame in zero}
    kept = [dataclasses.replace(f, stress=None) if id(f) in unknown else f for f in frames]
    n_clusters = sum(not frame.volume for frame in zero)
    return kept, [
        f"stress of nine zeros in {len(zero)} of {len(frames)} frames, {n_clusters} of "
        f"them without a cell, first {zero[0].source}: taken as missing, weight 0"
    ]


def split_isolated(frames: Iterable[Frame]) -> tuple[list[Frame], dict[int, float]]:
    """The frames that are no isolated atoms; energies of those, eV, by atomic number.

    An isolated atom says so by its `config_type`, or is a single atom with an energy and no
    image within FAR.
    """
    others, isolated = [], {}
    for frame in frames:
        if not is_isolated(frame):
            others.append(frame)
            continue
        number, energy = int(frame.atomic_number[0]), frame.energy
        assert energy is not None  # else it is not alone
        if abs(isolated.setdefault(number, energy) - energy) > _ENERGY_SPREAD:
            raise ValueError(
                f"{frame.source} gives an isolated {ase.data.chemical_symbols[number]} "
                f"{energy:.6g} eV, and another frame {isolated[number]:.6g} eV; keep one "
                "of them."
            )
    return others, isolated


def is_isolated(frame: Frame) -> bool:
    """See `split_isolated`."""
    named = re.sub("[^a-z]", "", frame.config_type.lower()) == ISOLATED_ATOM.lower()
    if named and (frame.n_atoms != 1 or frame.energy is None):
        raise ValueError(
            f"{frame.source} has config_type {frame.config_type}, {frame.n_atoms} "
            f"atoms and energy {frame.energy}; give one atom and its energy, or "
            "another type."
        )
    return named or _is_alone(frame)


def _is_alone(frame: Frame) -> bool:
    """One atom with an energy, and no image of it near."""
    if frame.n_atoms != 1 or frame.energy is None:
        return False
    pbc: Any = np.array(frame.pbc, bool)
    vectors = np.asarray(minkowski_reduce(frame.cell, pbc)[0])
    return bool(np.all(np.linalg.norm(vectors[pbc], axis=1) > FAR))


def draw(
    frames: Sequence[Frame], count_of_type: dict[str, int], seed: int
) -> tuple[list[Frame], list[Frame]]:
    """So many frames of each `config_type`, drawn at random; and the frames left over.

    Both keep the order of the data. A set drawn with the same seed and fewer frames is a
    part of the larger one.
    """
    chosen: set[int] = set()
    for kind, count in count_of_type.items():
        members = [k for k, frame in enumerate(frames) if frame.config_type == kind]
        if count > len(members):
            known = collections.Counter(frame.config_type for frame in frames)
            raise ValueError(
                f"{count} frames of type {kind!r} are asked for; the data have "
                f"{dict(sorted(known.items()))}. Ask for fewer, or give more files."
            )
        order = np.random.default_rng([seed, len(members)]).permutation(members)
        chosen.update(order[:count].tolist())
    drawn = [frame for k, frame in enumerate(frames) if k in chosen]
    return drawn, [frame for k, frame in enumerate(frames) if k not in chosen]


def with_small_forces(frames: Sequence[Frame], largest: float | None) -> list[Frame]:
    """The frames whose labels have no component of a force above `largest`, eV/Å."""
    return [
        frame
        for frame in frames
        if largest is None or frame.forces is None or np.abs(frame.forces).max() <= largest
    ]


def _read_deepmd(path: Path, keys: Keys) -> Iterator[Frame]:
    frames = list(read_deepmd(path))
    _require(frames, path, keys, {"energy": "energy.npy", "forces": "force.npy"}, None)
    yield from frames


def _read_file(path: Path, keys: Keys) -> Iterator[Frame]:
    read = read_atoms(path)
    frames = [
        _frame(atoms, keys, f"{path.name}, frame {number}")
        for number, atoms in enumerate(read)
    ]
    found = sorted({k for a in read for k in (*a.info, *a.arrays, *_results(a))})
    names = {"energy": keys.energy, "forces": keys.forces}
    _require(frames, path, keys, names, found)
    yield from frames


def _require(
    frames: Sequence[Frame],
    path: Path,
    keys: Keys,
    names: dict[str, str],
    found: Sequence[str] | None,
) -> None:
    """A file has the labels that are needed, in one of its frames at least."""
    for kind in keys.needed:
        if not frames or any(getattr(frame, kind) is not None for frame in frames):
            continue
        without = (
            f"set loss.{kind}_weight = 0 (and that of stage_two) to train without {kind}"
        )
        if found is None:
            raise ValueError(f"{path} has no {names[kind]}; give it, or {without}.")
        alike = [name for name in found if kind[:4] in name.lower()]
        give = f"set {keys.section}.{kind}_key to one of them" if alike else "give others"
        raise ValueError(
            f"{path} has no {kind} under the key {names[kind]!r} in any frame; its frames "
            f"have {', '.join(alike or found)}: {give}, or {without}."
        )


def _results(atoms: ase.Atoms) -> dict:
    """Labels that ASE has moved from an extxyz file into a calculator."""
    return atoms.calc.results if atoms.calc is not None else {}


def _of_structure(value: Any) -> float:
    """Charge or multiplicity; not a number where it is none, which few models mind."""
    number = np.asarray(value)
    return float(number) if number.ndim == 0 and number.dtype.kind in "iuf" else np.nan


def _frame(atoms: ase.Atoms, keys: Keys, where: str) -> Frame:
    info = _results(atoms) | atoms.info
    forces = (_results(atoms) | atoms.arrays).get(keys.forces)
    cell = np.asarray(atoms.cell.array, np.float64)
    stress = stress_label(info.get(keys.stress), info.get(keys.virials), cell, where)
    return sound(
        Frame(
            atomic_number=atoms.numbers.astype(np.int32),
            position=atoms.positions.astype(np.float64),
            cell=cell,
            pbc=np.asarray(atoms.pbc),
            energy=_number(info.get(keys.energy), keys.energy, where),
            forces=None if forces is None else np.asarray(forces, np.float64),
            stress=stress,
            config_type=str(info.get("config_type", "default")),
            head=str(info.get("head", "Default")),
            charge=_of_structure(info.get("charge", 0.0)),
            multiplicity=_of_structure(info.get("spin", 1.0)),
            weight=float(info.get("config_weight", 1.0)),
            energy_weight=float(info.get("config_energy_weight", 1.0)),
            forces_weight=float(info.get("config_forces_weight", 1.0)),
            stress_weight=float(info.get("config_stress_weight", 1.0)),
            source=where,
        )
    )


def _number(value: Any, key: str, where: str) -> float | None:
    if value is None:
        return None
    if np.size(value) != 1 or isinstance(value, str):
        raise ValueError(f"{where}: {key} is {value!r}; one number, in eV, is wanted.")
    return float(np.ravel(value)[0])
