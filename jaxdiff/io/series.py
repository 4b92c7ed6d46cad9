"""The raw series of a run: parts while it runs, one HDF5 file once it is complete.

Layout (format 2): attributes of the root say what was run; `temperature_kelvin`,
`replica_seed_index`, `lattice_constant_angstrom` and `cell_angstrom` [R] who the replicas
are; `thermo/*` and `equilibration/*` [R, F] what was measured; `sites/*` the sites of the
cations at the start and every change of them; `crossings/*` and `positions/*` whole frames,
if they were asked for; `diverged_ps` [R] when a replica stopped, or not a number. Every
dataset has a `unit`. Frames of the tracker are numbered from 1.

While a run goes on, what it measures gathers in memory and is written with each checkpoint
as one more part (`parts/000000.h5`, ...), each a file of this layout, each there as a whole
or not at all. The parts joined are the series.
"""

import io
import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxdiff.io import atomic

FORMAT, FORMAT_VERSION = "jaxdiff-series", 2
SERIES, PARTS = "series.h5", "parts"
FINISHED = ("complete", "diverged")
"""Status of a series that is all there; in the second some replicas stopped early."""

THERMO = {
    "temperature_kelvin": "K",
    "potential_energy_ev": "eV",
    "conserved_energy_ev": "eV",
    "pressure_gpa": "GPa",
    "volume_angstrom3": "Å^3",
}
CHANGES = {"replica": "1", "frame": "frame", "cation": "1", "site": "a/4"}
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
        n_parts: int = 0,
    ) -> None:
        """Go on after the first `n_parts` parts; any others are discarded.

        - `temperature` [R], K; `seed_index` [R]; `lattice_constant` [R], Å; `cell`
          [R, 3, 3], Å: of each replica. `is_mobile` [N]: cations.
        - `attributes`: further attributes of the root, plain values.
        - `provenance`: what is needed to trace the run; stored as JSON.
        """
        self.directory, self.n_parts = Path(directory), n_parts
        self._parts = self.directory / PARTS
        self._parts.mkdir(parents=True, exist_ok=True)
        for path in part_files(self.directory):
            if int(path.stem) >= n_parts:
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
        self._shape = len(temperature), len(is_mobile)
        self._rows: dict[str, list[np.ndarray]] = {path: [] for path in _GROWING}
        self._latest: dict[str, np.ndarray] = {
            "diverged_ps": np.full(len(temperature), np.nan)
        }
        self._changed = n_parts == 0

    def append(self, group: str, time_ps: np.ndarray, **columns: np.ndarray) -> None:
        """Add frames [F, R] of every column of `THERMO` to `thermo` or `equilibration`."""
        self._changed = True
        self._rows[f"{group}/time_ps"].append(np.asarray(time_ps))
        for name in THERMO:
            self._rows[f"{group}/{name}"].append(np.asarray(columns[name]).T)

    def start_sites(self, site: np.ndarray) -> None:
        """The sites [R, M, 3], a/4, from which the changes lead on."""
        self._changed = True
        self._fixed["sites/initial"] = np.asarray(site, np.int32), "a/4"

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

    @property
    def pending_bytes(self) -> int:
        """Size of what has not been written yet."""
        return sum(array.nbytes for rows in self._rows.values() for array in rows)

    def flush(self) -> int:
        """Write what has gathered as the next part; the number of parts then."""
        memory = io.BytesIO()
        with h5py.File(memory, "w") as file:
            _write_attributes(file, self._attributes, self._provenance, "running")
            for path, (value, unit) in self._fixed.items():
                _create(file, path, value, unit)
            for path, value in self._latest.items():
                _create(file, path, value, _LATEST[path])
            for path, rows in self._rows.items():
                axis, dtype, unit = _GROWING[path]
                empty = np.zeros(_empty_shape(path, *self._shape), dtype)
                _growing(file, path, empty.shape, dtype, unit)
                _extend(file, path, np.concatenate([empty, *rows], axis), axis)
        atomic.write_bytes(self._parts / f"{self.n_parts:06d}.h5", memory.getbuffer())
        self._rows = {path: [] for path in _GROWING}
        self.n_parts, self._changed = self.n_parts + 1, False
        return self.n_parts

    def finish(self, status: str, **provenance: Any) -> None:
        """Write what is left, and join all parts to `series.h5`."""
        if self._changed:
            self.flush()
        self._provenance.update(provenance)
        paths = _sources(self.directory)
        join(paths, self.directory / SERIES, status, self._provenance, self.n_parts)
        for path in part_files(self.directory):
            path.unlink()


def joined_parts(directory: Path) -> int:
    """How many parts `series.h5` holds; 0 where there is none."""
    path = directory / SERIES
    if not path.exists():
        return 0
    with h5py.File(path) as file:
        count: Any = file.attrs["n_parts"]
        return int(count)


def part_files(directory: Path) -> list[Path]:
    """The parts in a run's folder, in order."""
    return sorted((directory / PARTS).glob("[0-9]*.h5"))


def join_unfinished(directory: Path, path: Path) -> bool:
    """Join what there is of a run that has not finished; False where there is nothing."""
    paths = _sources(directory)
    if paths:
        with h5py.File(paths[-1]) as last:
            provenance = json.loads(str(last.attrs["provenance"]))
        join(paths, path, "running", provenance, len(paths))
    return bool(paths)


def _sources(directory: Path) -> list[Path]:
    """The joined file, if there is one, and the parts that are not yet in it."""
    done, joined = joined_parts(directory), directory / SERIES
    new = [path for path in part_files(directory) if int(path.stem) >= done]
    return ([joined] if done else []) + new


def join(
    sources: list[Path],
    path: Path,
    status: str,
    provenance: dict[str, Any],
    n_parts: int,
) -> None:
    """One file of the parts of a run, in order; changes of site sorted by replica."""
    partial = path.with_name(f".{path.name}.partial")
    files = [h5py.File(source) for source in sources]
    try:
        with h5py.File(partial, "w") as file:
            attributes = dict(files[-1].attrs) | {"n_parts": n_parts}
            _write_attributes(file, attributes, provenance, status)
            _join_fixed(file, files)
            for name, (axis, dtype, unit) in _GROWING.items():
                shape = list(_dataset(files[0], name).shape)
                shape[axis] = 0
                _growing(file, name, tuple(shape), dtype, unit)
                if not name.startswith(_BY_REPLICA):
                    for part in files:
                        _extend(file, name, _dataset(part, name)[...], axis)
            for group in _BY_REPLICA:
                _join_by_replica(file, files, group)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written ({error}); make room and run the command again. The "
            f"parts in {path.parent / PARTS} are untouched."
        ) from error
    finally:
        for source in files:
            source.close()


def _join_fixed(file: h5py.File, files: list[h5py.File]) -> None:
    """What does not grow: from the first part that has it, or from the last."""
    names: list[str] = []
    for part in files:
        part.visit(lambda name: names.append(name))  # noqa: B023  called at once
    for name in dict.fromkeys(names):
        having = [part for part in files if name in part]
        source = having[-1 if name in _LATEST else 0][name]
        if isinstance(source, h5py.Dataset) and name not in _GROWING:
            _create(file, name, source[...], str(source.attrs["unit"]))


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
                target[to] = _dataset(part, name)[...][order]


def _empty_shape(path: str, n_replicas: int, n_atoms: int) -> tuple[int, ...]:
    """Shape of a growing dataset before its first row."""
    if path.endswith("/position"):
        shape = (n_atoms, 3)
        return (0, *shape) if path.startswith("crossings") else (n_replicas, 0, *shape)
    if path.endswith("site"):
        return 0, 3
    return (n_replicas, 0) if _GROWING[path][0] == 1 else (0,)


def _write_attributes(
    file: h5py.File, attributes: dict[str, Any], provenance: dict[str, Any], status: str
) -> None:
    for name, value in attributes.items():
        file.attrs[name] = value
    file.attrs["status"] = status
    file.attrs["provenance"] = json.dumps(provenance)


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
