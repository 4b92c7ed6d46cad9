"""The series of a run as a file, and what every run has: who the replicas are, energies."""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.settling import Settling, settling
from jaxdiff.io import digest, hdf5, series_v2
from jaxdiff.io.series import (
    FINISHED,
    FORMAT,
    FORMAT_VERSION,
    join_unfinished,
    part_files,
)
from jaxdiff.io.shown import shown


@dataclasses.dataclass(frozen=True)
class Traces:
    """Thermodynamics of R replicas, F rows, and where the run is from.

    - `temperature` [R], K: targets. `n_mobile`, `n_anion`: atoms that move and all others.
    - `diverged_ps` [R]: when the replica stopped, from the start of production; not a
      number if it went on to the end.
    - `time_ps` [F]; `kinetic_temperature` [R, F], K; `potential_energy` and
      `conserved_energy` [R, F], eV: production only; F may be 0. Not a number from where a
      replica stopped.
    - `run_file`: the resolved TOML; `provenance`: JSON; both texts.
    - `settling`: the end of the equilibration; None where it was not recorded.
    """

    temperature: Float[np.ndarray, " replicas"]
    n_mobile: int
    n_anion: int
    diverged_ps: Float[np.ndarray, " replicas"]
    time_ps: Float[np.ndarray, " frames"]
    kinetic_temperature: Float[np.ndarray, "replicas frames"]
    potential_energy: Float[np.ndarray, "replicas frames"]
    conserved_energy: Float[np.ndarray, "replicas frames"]
    run_file: str
    provenance: str
    status: str
    settling: Settling | None = dataclasses.field(default=None, kw_only=True)

    @property
    def stopped(self) -> Bool[np.ndarray, " replicas"]:
        """Which replicas diverged, and were stopped before the end."""
        return np.isfinite(self.diverged_ps)


def read_traces(path: Path, file: h5py.File) -> Traces:
    """What a series says of every run."""

    def data(name: str) -> np.ndarray:
        return dataset(path, file, name).astype(float)

    found = Traces(
        temperature=data("temperature_kelvin"),
        n_mobile=int(attribute(path, file, "n_mobile")),
        n_anion=int(attribute(path, file, "n_anion")),
        diverged_ps=diverged_ps(path, file),
        time_ps=data("thermo/time_ps"),
        kinetic_temperature=data("thermo/temperature_kelvin"),
        potential_energy=data("thermo/potential_energy_ev"),
        conserved_energy=data("thermo/conserved_energy_ev"),
        run_file=str(attribute(path, file, "run_file")),
        provenance=str(attribute(path, file, "provenance")),
        status=str(attribute(path, file, "status")),
        settling=_settling(path, file),
    )
    wanted = len(found.temperature), len(found.time_ps)
    for name in ("kinetic_temperature", "potential_energy", "conserved_energy"):
        shape = getattr(found, name).shape
        if shape != wanted:
            raise ValueError(
                f"{path}: /thermo {name} has shape {shape}, expected {wanted} (replicas, "
                "times)."
            )
    return found


def _settling(path: Path, file: h5py.File) -> Settling | None:
    name = "equilibration/time_ps"
    if name not in file or len(dataset(path, file, name)) == 0:
        return None
    names = ("time_ps", "temperature_kelvin", "potential_energy_ev")
    record = [dataset(path, file, f"equilibration/{name}").astype(float) for name in names]
    wanted = len(dataset(path, file, "temperature_kelvin")), len(record[0])
    for name, values in zip(names[1:], record[1:], strict=True):
        if values.shape != wanted:
            raise ValueError(
                f"{path}: /equilibration/{name} has shape {values.shape}, expected "
                f"{wanted} (replicas, times)."
            )
    n_atoms = int(attribute(path, file, "n_mobile") + attribute(path, file, "n_anion"))
    return settling(*record, n_atoms=n_atoms)


def n_kept(
    time_ps: Float[np.ndarray, " kept"], diverged_ps: Float[np.ndarray, " replicas"]
) -> Int[np.ndarray, " replicas"]:
    """How many of the times are before each replica stopped; all of them if it did not."""
    end = np.where(np.isfinite(diverged_ps), diverged_ps, np.inf)
    return np.searchsorted(time_ps, end, side="left")


_UNREADABLE = (*hdf5.UNREADABLE, ArithmeticError, AttributeError, MemoryError)


@contextmanager
def reading(path: Path, *, allow_incomplete: bool = False) -> Iterator[h5py.File]:
    """The series of a run, every fault of the file in a sentence of ours."""
    try:
        with open_series(path, allow_incomplete=allow_incomplete) as file:
            hdf5.require_modest(file)
            yield file
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        if isinstance(error, ValueError) and str(path.parent) in str(error):
            raise  # a sentence of ours
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {shown(str(error), quote='')}); "
            "take a copy that is whole, or repeat the run."
        ) from error


@contextmanager
def open_series(path: Path, *, allow_incomplete: bool = False) -> Iterator[h5py.File]:
    """The file `series.h5` of a run; of one that goes on, what it has written so far."""
    if path.is_file():
        with _open(path) as file:
            _check_format(path, file, allow_incomplete)
            yield file
        return
    if not part_files(path.parent):
        raise FileNotFoundError(
            f"{path} does not exist; it is written by a run. Give the folder of a run that "
            "has started production."
        )
    with tempfile.TemporaryDirectory() as folder:
        joined = Path(folder) / path.name
        join_unfinished(path.parent, joined)
        with open_series(joined, allow_incomplete=allow_incomplete) as file:
            yield file


def _open(path: Path) -> h5py.File:
    whole = digest.verify_or_tell(path)
    try:
        if not whole:
            hdf5.require_heaps(path)
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read as HDF5 ({error}). If a run is writing it, try again "
            "later; otherwise the file is damaged and the run has to be repeated."
        ) from error


def _check_format(path: Path, file: h5py.File, allow_incomplete: bool) -> None:
    kind, version = file.attrs.get("format"), file.attrs.get("format_version")
    if kind != FORMAT or version not in (series_v2.FORMAT_VERSION, FORMAT_VERSION):
        raise ValueError(
            f"{path} has format={kind!r}, format_version={version}; this version reads "
            f"{FORMAT!r}, {series_v2.FORMAT_VERSION} and {FORMAT_VERSION}. Files of "
            "version 1 hold no changes of site: run again, or use jaxdiff 0.1."
        )
    status = attribute(path, file, "status")
    if status not in FINISHED and not allow_incomplete:
        raise ValueError(
            f"{path} has status={status!r}, not 'complete': the run is going on or was cut "
            "off. Resume it, or allow incomplete runs to report on what there is."
        )


def attribute(path: Path, file: h5py.File, name: str) -> Any:
    """One of the root, which a sound file has."""
    if name not in file.attrs:
        raise lacks(path, f"the root attribute {name!r}")
    return file.attrs[name]


def lacks(path: Path, what: str) -> ValueError:
    """The error of a file without something."""
    return ValueError(f"{path} lacks {what}; the file is damaged.")


def dataset(path: Path, file: h5py.File, name: str) -> np.ndarray:
    """Its values, as this version has them."""
    if name not in file:
        raise lacks(path, f"the dataset /{name}")
    return series_v2.values(file, name)


def per_replica(
    path: Path, file: h5py.File, name: str, shape: tuple[int, ...]
) -> np.ndarray:
    """A dataset with a row for each replica, or the attribute of that name for all."""
    given = file[name] if name in file else attribute(path, file, name)
    value = np.asarray(given, float)
    try:
        return np.broadcast_to(value, shape).copy()
    except ValueError:
        raise ValueError(
            f"{path}: {name} has shape {value.shape}, expected {shape}, a row for each "
            "replica, or one for all; the file is damaged."
        ) from None


def diverged_ps(path: Path, file: h5py.File) -> Float[np.ndarray, " replicas"]:
    """When each replica stopped, ps; not a number for those that did not.

    Files from before replicas were stopped one by one do not say it: none did.
    """
    shape = (len(dataset(path, file, "temperature_kelvin")),)
    if "diverged_ps" not in file:
        return np.full(shape, np.nan)
    return per_replica(path, file, "diverged_ps", shape)
