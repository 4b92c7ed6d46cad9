"""The raw series of a run: one HDF5 file, written after every chunk.

Layout (format 1): attributes of the root say what was run; `temperature_kelvin` and
`replica_seed_index` [R] who the replicas are; `thermo/*` and `equilibration/*` [R, F] what
was measured; `hops/*` [R, ...] the counters of the detector. Every dataset has a `unit`.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

FORMAT, FORMAT_VERSION = "jaxdiff-series", 1

THERMO = {
    "temperature_kelvin": "K",
    "potential_energy_ev": "eV",
    "conserved_energy_ev": "eV",
}
EQUILIBRATION = {"temperature_kelvin": "K", "potential_energy_ev": "eV"}


class SeriesWriter:
    """An open series file. A crash loses at most the chunk that was not yet appended."""

    def __init__(
        self,
        path: str | Path,
        *,
        temperature: np.ndarray,
        seed_index: np.ndarray,
        attributes: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        """Create the file; it must not exist.

        - `temperature` [R], K; `seed_index` [R]: of each replica.
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
        self._create("temperature_kelvin", np.asarray(temperature, np.float64), "K")
        self._create("replica_seed_index", np.asarray(seed_index, np.int64), "1")
        for group, columns in (("thermo", THERMO), ("equilibration", EQUILIBRATION)):
            self._growing(f"{group}/time_ps", (0,), "ps")
            for name, unit in columns.items():
                self._growing(f"{group}/{name}", (len(temperature), 0), unit)
        self._status("running")

    def append(self, group: str, time_ps: np.ndarray, **columns: np.ndarray) -> None:
        """Add frames [F, R] to `thermo` or `equilibration`, and write them out."""
        self._extend(f"{group}/time_ps", np.asarray(time_ps, np.float64))
        for name, column in columns.items():
            self._extend(f"{group}/{name}", np.asarray(column, np.float64).T)
        self._file.flush()

    def write_hops(self, counters: dict[str, Any], units: dict[str, str]) -> None:
        """Write the detector's counters [R, ...] over those of the chunk before."""
        for name, value in counters.items():
            value, path = np.asarray(value), f"hops/{name}"
            if path in self._file:
                self._dataset(path)[...] = value
            else:
                self._create(path, value, units[name])
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

    def _growing(self, path: str, shape: tuple[int, ...], unit: str) -> None:
        chunks = (*shape[:-1], 1024)
        limit = (*shape[:-1], None)
        dataset = self._file.create_dataset(
            path, shape, "f8", maxshape=limit, chunks=chunks, fletcher32=True
        )
        dataset.attrs["unit"] = unit

    def _extend(self, path: str, values: np.ndarray) -> None:
        dataset = self._dataset(path)
        length = dataset.shape[-1]
        dataset.resize(length + values.shape[-1], axis=dataset.ndim - 1)
        dataset[..., length:] = values
