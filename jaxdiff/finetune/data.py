"""Labelled configurations: read, checked, and stacked into batches of few shapes."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ase.io
import jax
import numpy as np
from flax import struct

from jaxdiff.neighbors import neighbor_rows, reverse_rows
from jaxdiff.potential import species_index

_PLACES_STEP = 8  # rows are padded to multiples of this many neighbours


@dataclasses.dataclass(frozen=True)
class Keys:
    """Names of the labels in an extxyz file."""

    energy: str = "REF_energy"
    forces: str = "REF_forces"
    stress: str = "REF_stress"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One labelled configuration: eV, Å; stress [3, 3] in eV/Å^3, tension positive.

    `stress` is None where the file has none.
    """

    atomic_number: np.ndarray
    position: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    config_type: str

    @property
    def digest(self) -> str:
        """Hash of what was labelled: species, positions and cell to 1e-6 Å."""
        geometry = np.concatenate([self.position, self.cell]).round(6) + 0.0
        return hashlib.sha256(self.atomic_number.tobytes() + geometry.tobytes()).hexdigest()


def read_frames(paths: Sequence[Path | str], keys: Keys = Keys()) -> list[Frame]:  # noqa: B008
    """All frames of the extxyz files, without repetitions, in the order of the files."""
    frames: dict[str, Frame] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such data file. Give a path that exists; paths in a run file "
                "are relative to the run file."
            )
        for number, atoms in enumerate(ase.io.iread(path, index=":")):
            frame = _frame(atoms, keys, f"{path}, frame {number}")
            frames.setdefault(frame.digest, frame)
    if not frames:
        raise ValueError(f"no frames in {', '.join(map(str, paths))}.")
    return list(frames.values())


def _frame(atoms, keys: Keys, where: str) -> Frame:
    for key, kind, found in (
        (keys.energy, "energy", atoms.info),
        (keys.forces, "forces", atoms.arrays),
    ):
        if key not in found:
            raise ValueError(
                f"{where} has no {kind} under the key {key!r}; it has "
                f"{sorted(found)}. Set {kind}_key to one of them."
            )
    stress = atoms.info.get(keys.stress)
    if stress is not None:
        stress = _stress_matrix(np.asarray(stress, np.float64), where)
    frame = Frame(
        atomic_number=atoms.numbers.astype(np.int32),
        position=atoms.positions.astype(np.float64),
        cell=np.asarray(atoms.cell.array, np.float64),
        pbc=np.asarray(atoms.pbc),
        energy=float(atoms.info[keys.energy]),
        forces=np.asarray(atoms.arrays[keys.forces], np.float64),
        stress=stress,
        config_type=str(atoms.info.get("config_type", "default")),
    )
    for name in ("position", "cell", "energy", "forces", "stress"):
        value = getattr(frame, name)
        if value is not None and not np.all(np.isfinite(value)):
            raise ValueError(f"{where}: {name} holds NaN or infinity; remove the frame.")
    return frame


def _stress_matrix(stress: np.ndarray, where: str) -> np.ndarray:
    if stress.size == 9:
        return stress.reshape(3, 3)
    if stress.size == 6:  # Voigt: xx yy zz yz xz xy
        xx, yy, zz, yz, xz, xy = stress.ravel()
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    raise ValueError(f"{where}: stress has {stress.size} numbers; 6 or 9 are allowed.")


def isolated_energy(
    frame: Frame, atomic_numbers: Sequence[int], atomic_energies: np.ndarray
) -> float:
    """Sum of the isolated-atom energies [species] of a frame, eV, in float64."""
    return float(atomic_energies[species_index(frame.atomic_number, atomic_numbers)].sum())


@struct.dataclass
class Batch:
    """Configurations laid end to end: atoms of graph g are rows g * n … (g + 1) * n - 1.

    - `displacement`, `sender`, `reverse`: neighbour rows, as in `models.mace.Edges`.
    - `species`, `atom_weight` [atoms]: weight 0 marks padding.
    - `volume`, `n_atoms` [graphs]: Å^3, count without padding.
    - `energy` [graphs]: interaction energy (isolated atoms subtracted in float64), eV.
    - `forces` [atoms, 3] eV/Å; `stress` [graphs, 3, 3] eV/Å^3.
    - `energy_weight`, `forces_weight`, `stress_weight` [graphs].
    """

    displacement: Any
    sender: Any
    reverse: Any
    species: Any
    atom_weight: Any
    volume: Any
    n_atoms: Any
    energy: Any
    forces: Any
    stress: Any
    energy_weight: Any
    forces_weight: Any
    stress_weight: Any


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Frames padded to one shape, stacked on a leading axis; `index` into the data set."""

    index: np.ndarray
    graphs: Batch  # every field with a leading axis of frames; sender and reverse local


def make_buckets(
    frames: Sequence[Frame],
    atomic_numbers: Sequence[int],
    atomic_energies: np.ndarray,
    cutoff: float,
    dtype=np.float32,
) -> list[Bucket]:
    """Neighbour rows of every frame, grouped by their padded number of neighbours."""
    n_pad = max(len(f.atomic_number) for f in frames)
    rows = [neighbor_rows(f.position, f.cell, cutoff, tuple(f.pbc)) for f in frames]
    groups = collections.defaultdict(list)
    for number, (sender, _) in enumerate(rows):
        groups[-(-sender.shape[1] // _PLACES_STEP) * _PLACES_STEP].append(number)
    buckets = []
    for places, members in sorted(groups.items()):
        stacked = [
            _graph(
                frames[m], rows[m], atomic_numbers, atomic_energies, n_pad, places, dtype
            )
            for m in members
        ]
        graphs = jax.tree.map(lambda *leaves: np.stack(leaves), *stacked)
        buckets.append(Bucket(np.array(members), graphs))
    return buckets


def composition(buckets: Sequence[Bucket], n_species: int) -> np.ndarray:
    """Number of atoms of each species [frames, species], in the order of the data set."""
    count = np.zeros((sum(len(b.index) for b in buckets), n_species))
    for bucket in buckets:
        present = bucket.graphs.atom_weight[..., None] > 0
        of_species = bucket.graphs.species[..., None] == np.arange(n_species)
        count[bucket.index] = (present & of_species).sum(axis=1)
    return count


def without_energies(bucket: Bucket, energies: np.ndarray) -> Bucket:
    """The same frames; `energies` [species], eV, of each atom are taken off the labels."""
    graphs = bucket.graphs
    of_atom = np.where(graphs.atom_weight > 0, energies[graphs.species], 0.0)
    energy = (graphs.energy - of_atom.sum(axis=1)).astype(graphs.energy.dtype)
    return dataclasses.replace(bucket, graphs=dataclasses.replace(graphs, energy=energy))


def _graph(frame, row, atomic_numbers, atomic_energies, n_pad, places, dtype) -> Batch:
    """One frame as the arrays of a batch of one, padded to n_pad atoms."""
    n_atoms = len(frame.atomic_number)
    sender, shift = _pad_rows(row, n_pad, places)
    used = sender < n_pad
    safe = np.where(used, sender, 0)
    position = np.zeros((n_pad, 3))
    position[:n_atoms] = frame.position
    vector = position[:, None] - position[safe] - shift @ frame.cell
    far = np.array([1e3, 0.0, 0.0])
    species = np.zeros(n_pad, np.int32)
    species[:n_atoms] = species_index(frame.atomic_number, atomic_numbers)
    forces = np.zeros((n_pad, 3))
    forces[:n_atoms] = frame.forces
    isolated = isolated_energy(frame, atomic_numbers, atomic_energies)
    has_stress = frame.stress is not None
    return Batch(
        displacement=np.where(used[..., None], vector, far).astype(dtype),
        sender=safe.astype(np.int32),
        reverse=reverse_rows(sender, shift),
        species=species,
        atom_weight=(np.arange(n_pad) < n_atoms).astype(dtype),
        volume=dtype(abs(np.linalg.det(frame.cell))),
        n_atoms=dtype(n_atoms),
        energy=dtype(frame.energy - isolated),
        forces=forces.astype(dtype),
        stress=(frame.stress if has_stress else np.zeros((3, 3))).astype(dtype),
        energy_weight=dtype(1.0),
        forces_weight=dtype(1.0),
        stress_weight=dtype(has_stress),
    )


def _pad_rows(row, n_pad, places):
    sender, shift = row
    n_atoms, present = sender.shape
    wide_sender = np.full((n_pad, places), n_pad, np.int32)
    wide_shift = np.zeros((n_pad, places, 3), np.int32)
    wide_sender[:n_atoms, :present] = np.where(sender < n_atoms, sender, n_pad)
    wide_shift[:n_atoms, :present] = shift
    return wide_sender, wide_shift


def join(graphs: Batch, chosen: np.ndarray) -> Batch:
    """The chosen frames of a bucket as one batch, laid end to end."""
    picked = jax.tree.map(lambda leaf: leaf[chosen], graphs)
    n_graphs, n_pad, places = picked.sender.shape
    first = np.arange(n_graphs, dtype=np.int32)[:, None, None]
    size = n_pad * places
    unused = picked.reverse == size
    reverse = np.where(unused, n_graphs * size, picked.reverse + first * size)

    def flat(leaf):
        return leaf.reshape(n_graphs * n_pad, *leaf.shape[2:])

    return dataclasses.replace(
        picked,
        displacement=flat(picked.displacement),
        sender=flat(picked.sender + first * n_pad),
        reverse=flat(reverse.astype(np.int32)),
        species=flat(picked.species),
        atom_weight=flat(picked.atom_weight),
        forces=flat(picked.forces),
    )


def batches(
    buckets: Sequence[Bucket], batch_size: int, order: np.random.Generator | None = None
) -> Iterator[Batch]:
    """One pass over the data; shuffled within and between buckets when `order` is given.

    Each bucket's last batch is filled up with frames of weight 0, so that a bucket has
    one shape and compiles once.
    """
    plan = []
    for bucket in buckets:
        local = np.arange(len(bucket.index))
        if order is not None:
            local = order.permutation(local)
        plan += [
            (bucket, local[start : start + batch_size])
            for start in range(0, len(local), batch_size)
        ]
    if order is not None:
        plan = [plan[k] for k in order.permutation(len(plan))]
    for bucket, chosen in plan:
        missing = batch_size - len(chosen)
        filled = np.concatenate([chosen, np.repeat(chosen[:1], missing)])
        batch = join(bucket.graphs, filled)
        if missing:
            present = np.arange(batch_size) < len(chosen)
            batch = dataclasses.replace(
                batch,
                energy_weight=np.where(present, batch.energy_weight, 0),
                forces_weight=np.where(present, batch.forces_weight, 0),
                stress_weight=np.where(present, batch.stress_weight, 0),
            )
        yield batch


def shared_frames(first: Sequence[Frame], second: Sequence[Frame]) -> int:
    """How many frames stand in both sets: a split that leaks."""
    return len({f.digest for f in first} & {f.digest for f in second})
