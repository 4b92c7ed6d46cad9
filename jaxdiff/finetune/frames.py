"""Labelled configurations: read from files, each label checked or marked as missing."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import ase
import numpy as np

from jaxdiff.io.ase_frames import read_atoms

ISOLATED_ATOM = "IsolatedAtom"
"""`config_type` of frames that hold one atom, and its energy."""


@dataclasses.dataclass(frozen=True)
class Keys:
    """Names of the labels in an extxyz file."""

    energy: str = "REF_energy"
    forces: str = "REF_forces"
    stress: str = "REF_stress"
    virials: str = "REF_virials"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One configuration: eV, Å; stress [3, 3] in eV/Å^3, tension positive.

    A label that is missing is None. `weight` and those of the labels multiply its terms of
    the loss; `source` says where the frame was read.
    """

    atomic_number: np.ndarray
    position: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    config_type: str = "default"
    weight: float = 1.0
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 1.0
    source: str = ""

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_number)

    @property
    def volume(self) -> float:
        """Of the cell, Å^3; 0 where there is none."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def digest(self) -> str:
        """Hash of what was labelled: species, positions and cell to 1e-6 Å."""
        geometry = np.concatenate([self.position, self.cell]).round(6) + 0.0
        return hashlib.sha256(self.atomic_number.tobytes() + geometry.tobytes()).hexdigest()


def read_frames(paths: Sequence[Path | str], keys: Keys = Keys()) -> list[Frame]:  # noqa: B008
    """All frames of the files, without repetitions, in the order of the files.

    A path is a file that ASE reads, or a folder in DeePMD's npy format. A label may be
    missing in some frames, but not in all of a file.
    """
    frames: dict[str, Frame] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such data file (looked for at {path.resolve()}). Give a path "
                "that exists."
            )
        for frame in _read_deepmd(path) if path.is_dir() else _read_file(path, keys):
            frames.setdefault(frame.digest, frame)
    if not frames:
        raise ValueError(f"no frames in {', '.join(map(str, paths))}.")
    return list(frames.values())


def split_isolated(frames: Iterable[Frame]) -> tuple[list[Frame], dict[int, float]]:
    """The frames that are no isolated atoms; energies of those, eV, by atomic number."""
    others, isolated = [], {}
    for frame in frames:
        if frame.config_type != ISOLATED_ATOM:
            others.append(frame)
        elif frame.n_atoms != 1 or frame.energy is None:
            raise ValueError(
                f"{frame.source} has config_type {ISOLATED_ATOM}, {frame.n_atoms} atoms "
                f"and energy {frame.energy}; give one atom and its energy, or another type."
            )
        else:
            isolated[int(frame.atomic_number[0])] = frame.energy
    return others, isolated


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


def shared_frames(first: Sequence[Frame], second: Sequence[Frame]) -> list[str]:
    """Where frames stand that are in both sets: a split that leaks."""
    known = {frame.digest: frame.source for frame in first}
    return [
        f"{known[frame.digest]} = {frame.source}"
        for frame in second
        if frame.digest in known
    ]


def _read_file(path: Path, keys: Keys) -> Iterator[Frame]:
    read = read_atoms(path)
    frames = [
        _frame(atoms, keys, f"{path.name}, frame {number}")
        for number, atoms in enumerate(read)
    ]
    for kind in ("energy", "forces"):
        if frames and all(getattr(frame, kind) is None for frame in frames):
            found = sorted({*read[0].info, *read[0].arrays, *_results(read[0])})
            raise ValueError(
                f"{path} has no {kind} under the key {getattr(keys, kind)!r} in any frame; "
                f"its first has {found}. Set {kind}_key to one of them."
            )
    yield from frames


def _results(atoms: ase.Atoms) -> dict:
    """Labels that ASE has moved from an extxyz file into a calculator."""
    return atoms.calc.results if atoms.calc is not None else {}


def _frame(atoms: ase.Atoms, keys: Keys, where: str) -> Frame:
    info = _results(atoms) | atoms.info
    energy = info.get(keys.energy)
    forces = (_results(atoms) | atoms.arrays).get(keys.forces)
    cell = np.asarray(atoms.cell.array, np.float64)
    frame = Frame(
        atomic_number=atoms.numbers.astype(np.int32),
        position=atoms.positions.astype(np.float64),
        cell=cell,
        pbc=np.asarray(atoms.pbc),
        energy=None if energy is None else float(energy),
        forces=None if forces is None else np.asarray(forces, np.float64),
        stress=_stress(info, keys, cell, where),
        config_type=str(info.get("config_type", "default")),
        weight=float(info.get("config_weight", 1.0)),
        energy_weight=float(info.get("config_energy_weight", 1.0)),
        forces_weight=float(info.get("config_forces_weight", 1.0)),
        stress_weight=float(info.get("config_stress_weight", 1.0)),
        source=where,
    )
    return _finite(frame)


def _finite(frame: Frame) -> Frame:
    for name in ("position", "cell", "energy", "forces", "stress", "weight"):
        value = getattr(frame, name)
        if value is not None and not np.all(np.isfinite(value)):
            raise ValueError(
                f"{frame.source}: {name} holds NaN or infinity; remove the frame."
            )
    return frame


def _stress(info: dict, keys: Keys, cell: np.ndarray, where: str) -> np.ndarray | None:
    """The stress label, or -virial / volume."""
    volume = abs(np.linalg.det(cell))
    for key, factor in ((keys.stress, 1.0), (keys.virials, -1.0 / (volume or np.inf))):
        value = info.get(key)
        if value is None:
            continue
        if volume == 0:
            raise ValueError(f"{where} has a {key} and no cell; remove one of them.")
        return factor * _matrix(np.asarray(value, np.float64), where)
    return None


def _matrix(stress: np.ndarray, where: str) -> np.ndarray:
    if stress.size == 9:
        return stress.reshape(3, 3)
    if stress.size == 6:  # Voigt: xx yy zz yz xz xy
        xx, yy, zz, yz, xz, xy = stress.ravel()
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    raise ValueError(f"{where}: stress has {stress.size} numbers; 6 or 9 are allowed.")


def _read_deepmd(path: Path) -> Iterator[Frame]:
    """The frames of a folder in DeePMD's npy format: type.raw, type_map.raw, set.*/."""
    for name in ("type.raw", "type_map.raw"):
        if not (path / name).is_file():
            raise ValueError(
                f"{path} is a folder without {name}; a folder of data is in DeePMD's npy "
                "format. Give such a folder, or files that ASE reads."
            )
    try:
        import dpdata
    except ImportError:
        raise ValueError(
            f"{path} is in DeePMD's format, which needs dpdata; "
            'install it with pip install "jaxdiff[deepmd]".'
        ) from None

    system = dpdata.LabeledSystem(str(path), fmt="deepmd/npy")
    data = system.data
    if not len(data["energies"]):
        raise ValueError(f"{path} holds no labelled frame: energy.npy and force.npy lack.")
    symbols = [data["atom_names"][kind] for kind in data["atom_types"]]
    numbers = ase.Atoms(symbols).numbers.astype(np.int32)
    periodic = not data.get("nopbc", False)
    for k, energy in enumerate(data["energies"]):
        cell = np.asarray(data["cells"][k] if periodic else np.zeros((3, 3)), np.float64)
        virial = data.get("virials")
        stress = None
        if virial is not None and periodic:
            stress = -np.asarray(virial[k], np.float64) / abs(np.linalg.det(cell))
        yield _finite(
            Frame(
                atomic_number=numbers,
                position=np.asarray(data["coords"][k], np.float64),
                cell=cell,
                pbc=np.array([periodic] * 3),
                energy=float(energy),
                forces=np.asarray(data["forces"][k], np.float64),
                stress=stress,
                config_type=path.name,
                source=f"{path.name}, frame {k}",
            )
        )
