"""The raw series of a run, as arrays on the host."""

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.history import Changes, Defects, Events, read_history
from jaxdiff.analysis.regression import Noise
from jaxdiff.io import digest, hdf5, series_v2
from jaxdiff.io.parts import SERIES
from jaxdiff.io.series import (
    FINISHED,
    FORMAT,
    FORMAT_VERSION,
    join_unfinished,
    part_files,
)
from jaxdiff.io.shown import shown
from jaxdiff.lattice.jumps import INTERSTITIAL, VACANCY
from jaxdiff.lattice.network import SiteNetwork, from_json
from jaxdiff.lattice.supercell import Supercell


@dataclasses.dataclass(frozen=True)
class Series:
    """One run of R replicas: events of the defects and F rows of thermodynamics.

    - `temperature` [R], K: targets. `frame_ps`: time between frames of the tracker.
    - `lattice_constant` [R], Å: of the conventional cell, of each replica. `cell`
      [R, 3, 3], Å: lattice vectors as rows. Both are means where they varied.
    - `n_mobile`, `n_anion`: atoms that move and all others in the cell.
    - `events`, `defects`: of all replicas. `frames`: counts of frames by name, each [R];
      see `defects.FrameCounts`; also `anion_displaced`.
    - `lost_frame` [R]: from which frame on the log was incomplete, and nothing is used;
      -1 if it never was. `diverged_ps` [R]: when the replica stopped, from the start of
      production; not a number if it went on to the end.
    - `time_ps` [F]; `kinetic_temperature` [R, F], K; `potential_energy` and
      `conserved_energy` [R, F], eV: production only; F may be 0. Not a number from where a
      replica stopped.
    - `position` [R, K, N, 3], Å, unwrapped, at `position_time_ps` [K]; K may be 0. A
      replica that stopped has its last ones repeated: see `n_kept`. `is_mobile` [N].
    - `run_file`: the resolved TOML; `provenance`: JSON; both texts.
    - `mobile`: symbol of the atoms that move; `formula` of the perfect crystal; empty where
      the run does not say it.
    """

    temperature: Float[np.ndarray, " replicas"]
    frame_ps: float
    lattice_constant: Float[np.ndarray, " replicas"]
    cell: Float[np.ndarray, "replicas 3 3"]
    supercell: Supercell
    n_mobile: int
    n_anion: int
    dwell_frames: int
    core_radius: float
    events: Events
    defects: Defects
    frames: Mapping[str, Int[np.ndarray, " replicas"]]
    lost_frame: Int[np.ndarray, " replicas"]
    diverged_ps: Float[np.ndarray, " replicas"]
    time_ps: Float[np.ndarray, " frames"]
    kinetic_temperature: Float[np.ndarray, "replicas frames"]
    potential_energy: Float[np.ndarray, "replicas frames"]
    conserved_energy: Float[np.ndarray, "replicas frames"]
    position_time_ps: Float[np.ndarray, " kept"]
    position: Float[np.ndarray, "replicas kept atoms 3"]
    is_mobile: Bool[np.ndarray, " atoms"]
    run_file: str
    provenance: str
    status: str
    mobile: str = ""
    formula: str = ""

    @property
    def network(self) -> SiteNetwork:
        """Sites and jumps of the crystal."""
        return self.supercell.network

    @property
    def sign(self) -> int:
        """Which defects the composition makes: interstitials (+1) or vacancies (-1)."""
        return VACANCY if self.excess < 0 else INTERSTITIAL

    @property
    def excess(self) -> int:
        """Mobile atoms beyond the perfect crystal: interstitials less vacancies."""
        return self.n_mobile - self.supercell.n_lattice

    @property
    def stopped(self) -> Bool[np.ndarray, " replicas"]:
        """Which replicas diverged, and were stopped before the end."""
        return np.isfinite(self.diverged_ps)

    @property
    def n_kept(self) -> Int[np.ndarray, " replicas"]:
        """Frames of `position` from before the replica stopped."""
        return n_kept(self.position_time_ps, self.diverged_ps)

    @property
    def exposure_ps(self) -> Float[np.ndarray, " replicas"]:
        """Time of known defects of that sign, summed over them, per replica."""
        name = "vacancy" if self.sign == VACANCY else "interstitial"
        return self.frames[name] * self.frame_ps

    @property
    def event_unit(self) -> Float[np.ndarray, " events"]:
        """The unit of the network in the replica of each event, Å: that of its jumps."""
        return self.lattice_constant[self.events.replica] / self.network.edge

    @property
    def hop_count(self) -> Int[np.ndarray, " replicas"]:
        """Hops of all classes of those defects, per replica."""
        hops = self.events.hops(self.sign)
        return np.bincount(self.events.replica[hops], minlength=len(self.temperature))


def n_kept(
    time_ps: Float[np.ndarray, " kept"], diverged_ps: Float[np.ndarray, " replicas"]
) -> Int[np.ndarray, " replicas"]:
    """How many of the times are before each replica stopped; all of them if it did not."""
    end = np.where(np.isfinite(diverged_ps), diverged_ps, np.inf)
    return np.searchsorted(time_ps, end, side="left")


@dataclasses.dataclass(frozen=True)
class HopTotals:
    """Hops pooled over replicas; what rates and diffusivities are computed from.

    - `network`: of the jumps. `kind` [E]: class of each event; hops, and exchanges and
      other events that move cations.
    - `squared_jump` [E], Å^2: of the defect; zero where none moved. `squared_steps` [E],
      Å^2: summed over the cations moved.
    - `lattice_constant`, Å: that of the replicas; the root of the mean a^2 over exposure
      where it differs. Only bounds without hops need it.
    - `dispersion`: scale of the variance of counts, 1 for Poisson; or as estimated.
    """

    exposure_ps: float
    network: SiteNetwork
    kind: Int[np.ndarray, " events"]
    squared_jump: Float[np.ndarray, " events"]
    squared_steps: Float[np.ndarray, " events"]
    n_mobile: int
    lattice_constant: float
    sign: int = INTERSTITIAL
    dispersion: float | Noise = 1.0

    @property
    def hops(self) -> int:
        """Hops of all classes."""
        return int(self.hops_by_class.sum())

    @property
    def hops_by_class(self) -> Int[np.ndarray, " classes"]:
        """Hops of the classes that are hops."""
        n = self.network.n_hop_classes
        return np.bincount(self.kind[self.squared_jump > 0], minlength=n)[:n]


def pool(
    series: Series,
    replica: Bool[np.ndarray, " replicas"],
    dispersion: float | Noise = 1.0,
) -> HopTotals:
    """Sums over the replicas selected; hops are those of the defects of `series.sign`."""
    events = series.events
    chosen = replica[events.replica]
    square = series.event_unit[chosen] ** 2
    hop = events.hops(series.sign)
    return HopTotals(
        exposure_ps=float(series.exposure_ps[replica].sum()),
        network=series.network,
        kind=events.kind[chosen],
        squared_jump=np.where(hop, events.squared_jump, 0)[chosen] * square,
        squared_steps=events.squared_steps[chosen] * square,
        n_mobile=series.n_mobile,
        lattice_constant=_mean_constant(series, replica),
        sign=series.sign,
        dispersion=dispersion,
    )


def _mean_constant(series: Series, replica: Bool[np.ndarray, " replicas"]) -> float:
    """Root of the mean of a^2 over exposure, Å, as it enters a diffusivity."""
    constant, exposure = series.lattice_constant[replica], series.exposure_ps[replica]
    if (constant == constant[0]).all():
        return float(constant[0])
    weight = exposure if exposure.any() else np.ones(len(exposure))
    return float(np.sqrt(np.average(constant**2, weights=weight)))


_FARTHEST_IMAGE = 1_000_000  # from the origin, unit cells along an axis
_UNREADABLE = (*hdf5.UNREADABLE, ArithmeticError, AttributeError, MemoryError)


def load_series(path: str | Path, *, allow_incomplete: bool = False) -> Series:
    """Read `series.h5`, or that of a run folder.

    A run that has not finished is read only with `allow_incomplete`.
    """
    path = Path(path)
    path = path / SERIES if path.is_dir() else path
    try:
        with open_series(path, allow_incomplete=allow_incomplete) as file:
            hdf5.require_modest(file)
            series = _read(path, file)
        _check_shapes(path, series)
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        if isinstance(error, ValueError) and str(path.parent) in str(error):
            raise  # a sentence of ours
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {shown(str(error), quote='')}); "
            "take a copy that is whole, or repeat the run."
        ) from error
    return series


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
    status = _attribute(path, file, "status")
    if status not in FINISHED and not allow_incomplete:
        raise ValueError(
            f"{path} has status={status!r}, not 'complete': the run is going on or was cut "
            "off. Resume it, or allow incomplete runs to report on what there is."
        )


def _attribute(path: Path, file: h5py.File, name: str) -> Any:
    if name not in file.attrs:
        raise _lacks(path, f"the root attribute {name!r}")
    return file.attrs[name]


def _lacks(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} lacks {what}; the file is damaged.")


def _dataset(path: Path, file: h5py.File, name: str) -> np.ndarray:
    if name not in file:
        raise _lacks(path, f"the dataset /{name}")
    return series_v2.values(file, name)


def per_replica(
    path: Path, file: h5py.File, name: str, shape: tuple[int, ...]
) -> np.ndarray:
    """A dataset with a row for each replica, or the attribute of that name for all."""
    given = file[name] if name in file else _attribute(path, file, name)
    value = np.asarray(given, float)
    try:
        return np.broadcast_to(value, shape).copy()
    except ValueError:
        raise ValueError(
            f"{path}: {name} has shape {value.shape}, expected {shape}, a row for each "
            "replica, or one for all; the file is damaged."
        ) from None


def _read(path: Path, file: h5py.File) -> Series:
    attributes = series_v2.attributes(file)

    def attribute(name: str) -> Any:
        if name not in attributes:
            raise _lacks(path, f"the root attribute {name!r}")
        return attributes[name]

    def data(name: str) -> np.ndarray:
        return _dataset(path, file, name)

    if "sites/frames" not in file:
        raise ValueError(f"{path} has no production yet: the run is equilibrating.")
    rows = np.asarray(attribute("supercell")).tolist()
    network = from_json(str(attribute("network")))
    supercell = Supercell(network, tuple(map(tuple, rows)))
    frame_ps = float(attribute("frame_ps"))
    observed, lost = data("sites/frames"), data("sites/lost_frame")
    changes = Changes(
        *(data(f"sites/change_{n}") for n in ("replica", "frame", "cation", "site"))
    )
    # frames of the tracker are numbered from 1: the sites before are those at the start
    changes = dataclasses.replace(changes, frame=changes.frame - 1)
    initial, temperature = data("sites/initial"), data("temperature_kelvin").astype(float)
    n = len(temperature)
    _check_changes(path, network, changes, initial, n)
    usable = np.where(lost < 0, observed, np.maximum(lost - 1, 0))
    events, defects, frames = read_history(supercell, initial, changes, usable)
    return Series(
        temperature=temperature,
        frame_ps=frame_ps,
        lattice_constant=per_replica(path, file, "lattice_constant_angstrom", (n,)),
        cell=per_replica(path, file, "cell_angstrom", (n, 3, 3)),
        supercell=supercell,
        n_mobile=int(attribute("n_mobile")),
        n_anion=int(attribute("n_anion")),
        dwell_frames=int(attribute("dwell_frames")),
        core_radius=float(attribute("core_radius_angstrom")),
        events=events,
        defects=defects,
        frames=frames | {"anion_displaced": data("sites/anion_displaced_frames")},
        lost_frame=lost,
        diverged_ps=diverged_ps(path, file),
        time_ps=data("thermo/time_ps").astype(float),
        kinetic_temperature=data("thermo/temperature_kelvin").astype(float),
        potential_energy=data("thermo/potential_energy_ev").astype(float),
        conserved_energy=data("thermo/conserved_energy_ev").astype(float),
        position_time_ps=data("positions/time_ps").astype(float),
        position=data("positions/position"),
        is_mobile=data("positions/is_mobile").astype(bool),
        run_file=str(attribute("run_file")),
        provenance=str(attribute("provenance")),
        status=str(attribute("status")),
        mobile=str(attribute("mobile")),
        formula=str(attribute("formula")),
    )


def diverged_ps(path: Path, file: h5py.File) -> Float[np.ndarray, " replicas"]:
    """When each replica stopped, ps; not a number for those that did not.

    Files from before replicas were stopped one by one do not say it: none did.
    """
    shape = (len(_dataset(path, file, "temperature_kelvin")),)
    if "diverged_ps" not in file:
        return np.full(shape, np.nan)
    return per_replica(path, file, "diverged_ps", shape)


def _check_changes(
    path: Path, network: SiteNetwork, changes: Changes, initial: np.ndarray, n: int
) -> None:
    """Every change is of a replica, a cation and a site that there are, from frame 0."""
    lengths = {len(column) for column in vars(changes).values()}
    shaped = initial.ndim == 3 and initial.shape[0] == n and initial.shape[2] == 4
    if len(lengths) != 1 or not shaped or changes.site.shape[1:] != (4,):
        raise ValueError(f"{path}: /sites has columns that do not fit; it is damaged.")
    sites = np.concatenate([initial.reshape(-1, 4), changes.site])
    image = np.abs(sites[:, 1:].astype(np.int64))
    bounds = (
        (changes.replica, n),
        (changes.cation, initial.shape[1]),
        (changes.frame, np.inf),
        (sites[:, 0], len(network.fraction)),
        (image, _FARTHEST_IMAGE),
    )
    if any(((given < 0) | (given >= end)).any() for given, end in bounds):
        raise ValueError(f"{path}: /sites names what there is not; the file is damaged.")


def _check_shapes(path: Path, series: Series) -> None:
    n_replicas, n_frames = len(series.temperature), len(series.time_ps)
    for name, value in series.frames.items():
        if len(value) != n_replicas:
            raise ValueError(
                f"{path}: {name} frames have {len(value)} rows for {n_replicas} replicas; "
                "the file is damaged."
            )
    for name in ("kinetic_temperature", "potential_energy", "conserved_energy"):
        shape = getattr(series, name).shape
        if shape != (n_replicas, n_frames):
            raise ValueError(
                f"{path}: /thermo {name} has shape {shape}, expected "
                f"{(n_replicas, n_frames)} (replicas, times)."
            )
