"""The raw series of a run: parts while it runs, one HDF5 file once it is complete.

Layout (format 3): attributes of the root say what was run; `temperature_kelvin`,
`replica_seed_index`, `lattice_constant_angstrom` and `cell_angstrom` [R] who the replicas
are; `thermo/*` and `equilibration/*` [R, F] what was measured; `sites/*` the sites of the
cations at the start and every change of them, each as (index in the unit cell, image of it
in three unit vectors) of the attribute `network`; `crossings/*` and `positions/*` whole
frames, if they were asked for (where no network is known there is nothing else, and
`positions/atomic_number` [N] says what they are); `diverged_ps` [R] when a replica stopped,
or not a number. Every dataset has a `unit`. Frames of the tracker are numbered from 1.

While a run goes on, what it measures gathers in memory and is written with each checkpoint
as one more part (`parts/000000.h5`, ...), each a file of this layout, each there as a whole
or not at all. The parts joined are the series. Parts and series carry their own SHA-256;
the checkpoint and the series have those of the parts, which are compared before any is
joined. Files from before there were digests have none of this and are still read.
"""

import io
import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxdiff.io import digest, durable, series_v2
from jaxdiff.io.parts import (
    PARTS,
    SERIES,
    WAY_ON,
    PartError,
    checked_digests,
    joined_parts,
    part_file,
    part_files,
    sources_of,
)

FORMAT, FORMAT_VERSION = "jaxdiff-series", 3
INITIAL = "sites/initial"
FINISHED = ("complete", "diverged")
"""Status of a series that is all there; in the second some replicas stopped early."""

THERMO = {
    "temperature_kelvin": "K",
    "potential_energy_ev": "eV",
    "conserved_energy_ev": "eV",
    "pressure_gpa": "GPa",
    "volume_angstrom3": "Å^3",
}
CHANGES = {"replica": "1", "frame": "frame", "cation": "1", "site": "1"}
FRAME_COUNTS = ("frames", "anion_displaced_frames", "lost_frame")

_CHUNK_BYTES = 1 << 16

_GROWING = {  # dataset -> axis along which it grows, dtype, unit
    **{f"{g}/time_ps": (0, "f8", "ps") for g in ("thermo", "equilibration", "positions")},
    **{
        f"{group}/{name}": (1, "f8", unit)
        for group in ("thermo", "equilibration")
        for name, unit in THERMO.items()
    },
    **{
        f"{group}{name}": (0, "i4", unit)
        for group in ("sites/change_", "crossings/")
        for name, unit in CHANGES.items()
    },
    "crossings/position": (0, "f4", "Å"),
    "positions/position": (1, "f4", "Å"),
}
_LATEST = {  # datasets of which the last part has the value
    **{f"sites/{name}": "frame" for name in FRAME_COUNTS},
    "diverged_ps": "ps",
}
_BY_REPLICA = ("sites/change_", "crossings/")  # rows in the order of replicas, then of time


class SeriesWriter:
    """Gathers what a run measures; `flush` writes it, `finish` joins all to one file."""

    def __init__(
        self,
        directory: str | Path,
        *,
        temperature: np.ndarray,
        seed_index: np.ndarray,
        lattice_constant: np.ndarray,
        cell: np.ndarray,
        is_mobile: np.ndarray,
        attributes: dict[str, Any],
        provenance: dict[str, Any],
        atomic_number: np.ndarray | None = None,
        n_parts: int = 0,
        digests: Sequence[str] = (),
    ) -> None:
        """Go on after the first `n_parts` parts; any others are discarded.

        Raises `PartError` where one of these is missing or not the one that was written.

        - `temperature` [R], K; `seed_index` [R]; `lattice_constant` [R], Å; `cell`
          [R, 3, 3], Å: of each replica. `is_mobile` [N]: cations.
        - `attributes`: further attributes of the root, plain values.
        - `provenance`: what is needed to trace the run; stored as JSON.
        - `atomic_number` [N]: where no network says which atoms there are.
        - `digests`: SHA-256 of each part; of a run from before there were any, none.
        """
        self.directory, self.n_parts = Path(directory), n_parts
        joined = joined_parts(self.directory)
        self.digests = checked_digests(self.directory, joined, n_parts, digests)
        self._parts = self.directory / PARTS
        self._parts.mkdir(parents=True, exist_ok=True)
        for path in part_files(self.directory):
            if not joined <= int(path.stem) < n_parts:
                path.unlink()
        self._attributes = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **attributes,
        }
        self._provenance = dict(provenance)
        self._fixed: dict[str, tuple[np.ndarray, str]] = {
            "temperature_kelvin": (np.asarray(temperature, np.float64), "K"),
            "replica_seed_index": (np.asarray(seed_index, np.int64), "1"),
            "lattice_constant_angstrom": (np.asarray(lattice_constant, np.float64), "Å"),
            "cell_angstrom": (np.asarray(cell, np.float64), "Å"),
            "positions/is_mobile": (np.asarray(is_mobile, bool), "1"),
        }
        if atomic_number is not None:
            number = np.asarray(atomic_number, np.int32)
            self._fixed["positions/atomic_number"] = number, "1"
        if joined:
            self._require_own(self.directory / SERIES)
        self._shape = len(temperature), len(is_mobile)
        self._rows: dict[str, list[np.ndarray]] = {path: [] for path in _GROWING}
        self._latest: dict[str, np.ndarray] = {
            "diverged_ps": np.full(len(temperature), np.nan)
        }
        self._changed = n_parts == 0

    def _require_own(self, path: Path) -> None:
        """An error unless the series that is there is of these replicas, seed and model."""
        with h5py.File(path) as file:
            provenance = json.loads(str(file.attrs["provenance"]))
            same = [
                provenance.get(key) == self._provenance.get(key)
                for key in ("seed", "model_sha256")
            ] + [
                name in file and _same(_dataset(file, name)[...], value)
                for name, (value, _) in self._fixed.items()
            ]
        if not all(same):
            raise PartError(f"{path} is of another run. {WAY_ON}")

    def append(self, group: str, time_ps: np.ndarray, **columns: np.ndarray) -> None:
        """Add frames [F, R] of every column of `THERMO` to `thermo` or `equilibration`."""
        self._changed = True
        self._rows[f"{group}/time_ps"].append(np.asarray(time_ps))
        for name in THERMO:
            self._rows[f"{group}/{name}"].append(np.asarray(columns[name]).T)

    def start_sites(self, site: np.ndarray) -> None:
        """The sites [R, M, 4], (index, image), from which the changes lead on."""
        self._changed = True
        self._fixed[INITIAL] = np.asarray(site, np.int32), "1"

    def append_sites(
        self, changes: dict[str, np.ndarray], counts: dict[str, np.ndarray]
    ) -> None:
        """Add changes of site (`CHANGES`) and replace `FRAME_COUNTS` [R]."""
        self._changed = True
        for name in CHANGES:
            self._rows[f"sites/change_{name}"].append(np.asarray(changes[name]))
        for name in FRAME_COUNTS:
            self._latest[f"sites/{name}"] = np.asarray(counts[name], np.int64)

    def append_crossings(self, entries: dict[str, np.ndarray]) -> None:
        """Add frames at crossings: `CHANGES` and `position` [n, N, 3], Å."""
        self._changed = True
        for name in (*CHANGES, "position"):
            self._rows[f"crossings/{name}"].append(np.asarray(entries[name]))

    def append_positions(self, time_ps: np.ndarray, position: np.ndarray) -> None:
        """Add whole frames [R, F, N, 3], Å."""
        self._changed = True
        self._rows["positions/time_ps"].append(np.asarray(time_ps))
        self._rows["positions/position"].append(np.asarray(position, np.float32))

    def set_diverged(self, time_ps: np.ndarray) -> None:
        """When each replica stopped [R], ps; not a number for those that go on."""
        self._changed = True
        self._latest["diverged_ps"] = np.asarray(time_ps, np.float64)

    def column(self, path: str) -> np.ndarray:
        """A dataset that grows, so far: of the parts, and what is not written yet."""
        written = []
        for part in part_files(self.directory):
            with h5py.File(part) as file:
                written.append(_dataset(file, path)[...])
        axis, dtype, _ = _GROWING[path]
        empty = np.zeros(_empty_shape(path, *self._shape), dtype)
        return np.concatenate([empty, *written, *self._rows[path]], axis)

    @property
    def pending_bytes(self) -> int:
        """Size of what has not been written yet."""
        return sum(array.nbytes for rows in self._rows.values() for array in rows)

    def flush(self) -> int:
        """Write what has gathered as the next part; the number of parts then."""
        memory = io.BytesIO()
        with h5py.File(memory, "w") as file:
            attributes = self._attributes | {"part": self.n_parts}
            _write_attributes(file, attributes, self._provenance, "running")
            for path, (value, unit) in self._fixed.items():
                _create(file, path, value, unit)
            for path, value in self._latest.items():
                _create(file, path, value, _LATEST[path])
            for path, rows in self._rows.items():
                axis, dtype, unit = _GROWING[path]
                empty = np.zeros(_empty_shape(path, *self._shape), dtype)
                _growing(file, path, empty.shape, dtype, unit)
                _extend(file, path, np.concatenate([empty, *rows], axis), axis)
        content = digest.sealed(memory.getvalue())
        durable.write_bytes(part_file(self.directory, self.n_parts), content)
        self.digests = (*self.digests, digest.of_bytes(content))
        self._rows = {path: [] for path in _GROWING}
        self.n_parts, self._changed = self.n_parts + 1, False
        return self.n_parts

    def finish(self, status: str, **provenance: Any) -> None:
        """Write what is left, and join all parts to `series.h5`."""
        if self._changed:
            self.flush()
        self._provenance.update(provenance)
        paths, target = sources_of(self.directory), self.directory / SERIES
        done = joined_parts(self.directory)
        checked_digests(self.directory, done, self.n_parts, self.digests)
        join(paths, target, status, self._provenance, self.n_parts)
        digest.verify(target)
        for path in part_files(self.directory):
            path.unlink()


def join_unfinished(directory: Path, path: Path) -> bool:
    """Join what there is of a run that has not finished; False where there is nothing."""
    paths = sources_of(directory)
    if paths:
        with h5py.File(paths[-1]) as last:
            provenance = json.loads(str(last.attrs["provenance"]))
        join(paths, path, "running", provenance, len(paths))
    return bool(paths)


def renew(path: Path) -> None:
    """Write a joined series of an older format anew in that of today."""
    digest.verify_or_tell(path)
    with h5py.File(path) as file:
        attributes: dict[str, Any] = dict(file.attrs)
        if not series_v2.is_old(file):
            return
    provenance = json.loads(attributes["provenance"])
    join([path], path, attributes["status"], provenance, int(attributes["n_parts"]))


def join(
    sources: list[Path],
    path: Path,
    status: str,
    provenance: dict[str, Any],
    n_parts: int,
) -> None:
    """One file of the parts of a run, in order; changes of site sorted by replica."""
    with ExitStack() as stack, durable.replacing(path) as partial:
        files = [stack.enter_context(h5py.File(source)) for source in sources]
        with h5py.File(partial, "w") as file:
            attributes = series_v2.attributes(files[-1])
            attributes |= {"format_version": FORMAT_VERSION, "n_parts": n_parts}
            attributes.pop("part", None)
            _write_attributes(file, attributes, provenance, status)
            _join_fixed(file, files)
            n_replicas_and_atoms = (
                len(_dataset(file, "temperature_kelvin")),
                len(_dataset(file, "positions/is_mobile")),
            )
            for name, (axis, dtype, unit) in _GROWING.items():
                shape = _empty_shape(name, *n_replicas_and_atoms)
                _growing(file, name, shape, dtype, unit)
                if not name.startswith(_BY_REPLICA):
                    for part in files:
                        _extend(file, name, series_v2.values(part, name), axis)
            for group in _BY_REPLICA:
                _join_by_replica(file, files, group)
        digest.seal(partial)


def _join_fixed(file: h5py.File, files: list[h5py.File]) -> None:
    """What does not grow: from the first part that has it, or from the last."""
    names: list[str] = []
    for part in files:
        part.visit(lambda name: names.append(name))  # noqa: B023  called at once
    for name in dict.fromkeys(names):
        having = [part for part in files if name in part]
        part = having[-1 if name in _LATEST else 0]
        if isinstance(part[name], h5py.Dataset) and name not in _GROWING:
            unit = "1" if name == INITIAL else str(part[name].attrs["unit"])
            _create(file, name, series_v2.values(part, name), unit)


def _join_by_replica(file: h5py.File, files: list[h5py.File], group: str) -> None:
    """Rows of the parts, sorted by replica; those of a replica stay in order."""
    replica = [_dataset(part, f"{group}replica")[...] for part in files]
    every = np.concatenate(replica)
    place = np.empty(len(every), int)
    place[np.argsort(every, kind="stable")] = np.arange(len(every))
    starts = np.cumsum([0, *map(len, replica)])
    for name in (n for n in _GROWING if n.startswith(group)):
        target = _dataset(file, name)
        target.resize(len(every), axis=0)
        for part, first, own in zip(files, starts, replica, strict=False):
            order = np.argsort(own, kind="stable")  # h5py writes to rising places only
            to = place[first : first + len(own)][order]
            if len(to):
                target[to] = series_v2.values(part, name)[order]


def _empty_shape(path: str, n_replicas: int, n_atoms: int) -> tuple[int, ...]:
    """Shape of a growing dataset before its first row."""
    if path.endswith("/position"):
        shape = (n_atoms, 3)
        return (0, *shape) if path.startswith("crossings") else (n_replicas, 0, *shape)
    if path.endswith("site"):
        return 0, 4
    return (n_replicas, 0) if _GROWING[path][0] == 1 else (0,)


def _write_attributes(
    file: h5py.File, attributes: dict[str, Any], provenance: dict[str, Any], status: str
) -> None:
    for name, value in attributes.items():
        file.attrs[name] = value
    file.attrs["status"] = status
    file.attrs["provenance"] = json.dumps(provenance)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Not a number, as lattice constants of what has none, is itself."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _dataset(file: h5py.File, path: str) -> h5py.Dataset:
    dataset = file[path]
    assert isinstance(dataset, h5py.Dataset)  # for the type checker
    return dataset


def _create(file: h5py.File, path: str, value: np.ndarray, unit: str) -> None:
    file.create_dataset(path, data=value).attrs["unit"] = unit


def _growing(
    file: h5py.File, path: str, shape: tuple[int, ...], dtype: str, unit: str
) -> None:
    """An empty dataset that grows along the one axis of length zero."""
    row = np.dtype(dtype).itemsize * math.prod(n for n in shape if n)
    rows = max(1, _CHUNK_BYTES // row)
    dataset = file.create_dataset(
        path,
        shape,
        dtype,
        maxshape=tuple(n or None for n in shape),
        chunks=tuple(n or rows for n in shape),
        fletcher32=True,
    )
    dataset.attrs["unit"] = unit


def _extend(file: h5py.File, path: str, values: np.ndarray, axis: int) -> None:
    dataset = _dataset(file, path)
    length = dataset.shape[axis]
    dataset.resize(length + values.shape[axis], axis=axis)
    dataset[(slice(None),) * axis + (slice(length, None),)] = values
