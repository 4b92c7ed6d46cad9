"""The raw series of a run: one HDF5 file, written after every chunk.

Layout (format 2): attributes of the root say what was run; `temperature_kelvin` and
`replica_seed_index` [R] who the replicas are; `thermo/*` and `equilibration/*` [R, F] what
was measured; `sites/*` the sites of the cations at the start and every change of them;
`crossings/*` and `positions/*` whole frames, if they were asked for. Every dataset has a
`unit`. Frames of the tracker are numbered from 1.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

FORMAT, FORMAT_VERSION = "jaxdiff-series", 2

THERMO = {
    "temperature_kelvin": "K",
    "potential_energy_ev": "eV",
    "conserved_energy_ev": "eV",
}
EQUILIBRATION = {"temperature_kelvin": "K", "potential_energy_ev": "eV"}
CHANGES = {"replica": "1", "frame": "frame", "cation": "1", "site": "a/4"}
FRAME_COUNTS = ("frames", "anion_displaced_frames", "lost_frame")

_CHUNK_BYTES = 1 << 16


class SeriesWriter:
    """An open series file. A crash loses at most the chunk that was not yet appended."""

    def __init__(
        self,
        path: str | Path,
        *,
        temperature: np.ndarray,
        seed_index: np.ndarray,
        is_mobile: np.ndarray,
        attributes: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        """Create the file; it must not exist.

        - `temperature` [R], K; `seed_index` [R]: of each replica. `is_mobile` [N]: cations.
        - `attributes`: further attributes of the root, plain values.
        - `provenance`: what is needed to trace the run; stored as JSON.
        """
        path = Path(path)
        if path.exists():
            raise ValueError(
                f"{path} exists already; give another output directory, or move it away."
            )
        self._file = h5py.File(path, "w")
        self._provenance = dict(provenance)
        root = self._file.attrs
        root["format"], root["format_version"] = FORMAT, FORMAT_VERSION
        for name, value in attributes.items():
            root[name] = value
        n_replicas, n_atoms = len(temperature), len(is_mobile)
        self._create("temperature_kelvin", np.asarray(temperature, np.float64), "K")
        self._create("replica_seed_index", np.asarray(seed_index, np.int64), "1")
        for group, columns in (("thermo", THERMO), ("equilibration", EQUILIBRATION)):
            self._growing(f"{group}/time_ps", (0,), "f8", "ps")
            for name, unit in columns.items():
                self._growing(f"{group}/{name}", (n_replicas, 0), "f8", unit)
        for group in ("sites/change", "crossings/"):
            joint = "_" if group[-1] != "/" else ""
            for name, unit in CHANGES.items():
                shape = (0, 3) if name == "site" else (0,)
                self._growing(f"{group}{joint}{name}", shape, "i4", unit)
        self._growing("crossings/position", (0, n_atoms, 3), "f4", "Å")
        self._create("positions/is_mobile", np.asarray(is_mobile, bool), "1")
        self._growing("positions/time_ps", (0,), "f8", "ps")
        self._growing("positions/position", (n_replicas, 0, n_atoms, 3), "f4", "Å")
        self._status("running")

    def append(self, group: str, time_ps: np.ndarray, **columns: np.ndarray) -> None:
        """Add frames [F, R] to `thermo` or `equilibration`, and write them out."""
        self._extend(f"{group}/time_ps", time_ps, 0)
        for name, column in columns.items():
            self._extend(f"{group}/{name}", np.asarray(column).T, 1)
        self._file.flush()

    def start_sites(self, site: np.ndarray) -> None:
        """Write the sites [R, M, 3], a/4, from which the changes lead on."""
        self._create("sites/initial", np.asarray(site, np.int32), "a/4")
        for name in FRAME_COUNTS:
            start = np.full(len(site), -1 if name == "lost_frame" else 0, np.int64)
            self._create(f"sites/{name}", start, "frame")
        self._file.flush()

    def append_sites(
        self, changes: dict[str, np.ndarray], counts: dict[str, np.ndarray]
    ) -> None:
        """Add changes of site (`CHANGES`) and overwrite `FRAME_COUNTS` [R]."""
        for name in CHANGES:
            self._extend(f"sites/change_{name}", changes[name], 0)
        for name in FRAME_COUNTS:
            self._dataset(f"sites/{name}")[...] = counts[name]
        self._file.flush()

    def append_crossings(self, entries: dict[str, np.ndarray]) -> None:
        """Add frames at crossings: `CHANGES` and `position` [n, N, 3], Å."""
        for name in (*CHANGES, "position"):
            self._extend(f"crossings/{name}", entries[name], 0)
        self._file.flush()

    def append_positions(self, time_ps: np.ndarray, position: np.ndarray) -> None:
        """Add whole frames [R, F, N, 3], Å."""
        self._extend("positions/time_ps", time_ps, 0)
        self._extend("positions/position", position, 1)
        self._file.flush()

    def finish(self, status: str, **provenance: Any) -> None:
        """Set the status, add to the provenance, and write everything out."""
        self._provenance.update(provenance)
        self._status(status)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        """Use as `with SeriesWriter(...) as series`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened."""
        self.close()

    def _status(self, status: str) -> None:
        self._file.attrs["status"] = status
        self._file.attrs["provenance"] = json.dumps(self._provenance)
        self._file.flush()

    def _dataset(self, path: str) -> h5py.Dataset:
        dataset = self._file[path]
        assert isinstance(dataset, h5py.Dataset)  # for the type checker
        return dataset

    def _create(self, path: str, value: np.ndarray, unit: str) -> None:
        self._file.create_dataset(path, data=value).attrs["unit"] = unit

    def _growing(self, path: str, shape: tuple[int, ...], dtype: str, unit: str) -> None:
        """An empty dataset that grows along the one axis of length zero."""
        row = np.dtype(dtype).itemsize * int(np.prod([n for n in shape if n]))
        rows = max(1, _CHUNK_BYTES // row)
        dataset = self._file.create_dataset(
            path,
            shape,
            dtype,
            maxshape=tuple(n or None for n in shape),
            chunks=tuple(n or rows for n in shape),
            fletcher32=True,
        )
        dataset.attrs["unit"] = unit

    def _extend(self, path: str, values: np.ndarray, axis: int) -> None:
        dataset, values = self._dataset(path), np.asarray(values)
        length = dataset.shape[axis]
        dataset.resize(length + values.shape[axis], axis=axis)
        dataset[(slice(None),) * axis + (slice(length, None),)] = values
