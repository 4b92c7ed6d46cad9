"""The raw series of a run, as arrays on the host."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.history import Changes, Defects, Events, read_history
from jaxdiff.analysis.regression import Noise
from jaxdiff.analysis.traces import (
    Traces,
    dataset,
    lacks,
    n_kept,
    per_replica,
    read_traces,
    reading,
)
from jaxdiff.io import series_v2
from jaxdiff.io.parts import SERIES
from jaxdiff.lattice.jumps import INTERSTITIAL, VACANCY
from jaxdiff.lattice.network import SiteNetwork, from_json
from jaxdiff.lattice.supercell import Supercell


@dataclasses.dataclass(frozen=True)
class Series(Traces):
    """One run of R replicas: what `Traces` has, and the events of the defects.

    - `frame_ps`: time between frames of the tracker.
    - `lattice_constant` [R], Å: of the conventional cell, of each replica. `cell`
      [R, 3, 3], Å: lattice vectors as rows. Both are means where they varied.
    - `events`, `defects`: of all replicas. `frames`: counts of frames by name, each [R];
      see `defects.FrameCounts`; also `anion_displaced`.
    - `lost_frame` [R]: from which frame on the log was incomplete, and nothing is used;
      -1 if it never was.
    - `position` [R, K, N, 3], Å, unwrapped, at `position_time_ps` [K]; K may be 0. A
      replica that stopped has its last ones repeated: see `n_kept`. `is_mobile` [N].
    - `mobile`: symbol of the atoms that move; `formula` of the perfect crystal; empty where
      the run does not say it.
    """

    frame_ps: float
    lattice_constant: Float[np.ndarray, " replicas"]
    cell: Float[np.ndarray, "replicas 3 3"]
    supercell: Supercell
    dwell_frames: int
    core_radius: float
    events: Events
    defects: Defects
    frames: Mapping[str, Int[np.ndarray, " replicas"]]
    lost_frame: Int[np.ndarray, " replicas"]
    position_time_ps: Float[np.ndarray, " kept"]
    position: Float[np.ndarray, "replicas kept atoms 3"]
    is_mobile: Bool[np.ndarray, " atoms"]
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


def load_series(path: str | Path, *, allow_incomplete: bool = False) -> Series:
    """Read `series.h5`, or that of a run folder.

    A run that has not finished is read only with `allow_incomplete`.
    """
    path = Path(path)
    path = path / SERIES if path.is_dir() else path
    with reading(path, allow_incomplete=allow_incomplete) as file:
        series = _read(path, file)
        _check_shapes(path, series)
    return series


def _read(path: Path, file: h5py.File) -> Series:
    attributes = series_v2.attributes(file)

    def attribute(name: str) -> Any:
        if name not in attributes:
            raise lacks(path, f"the root attribute {name!r}")
        return attributes[name]

    def data(name: str) -> np.ndarray:
        return dataset(path, file, name)

    if "network" not in attributes and "positions/atomic_number" in file:
        raise ValueError(
            f"{path} is of a crystal without a network of sites, so it has displacements "
            "alone: jaxdiff report evaluates it."
        )
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
    initial, n = data("sites/initial"), len(data("temperature_kelvin"))
    _check_changes(path, network, changes, initial, n)
    usable = np.where(lost < 0, observed, np.maximum(lost - 1, 0))
    events, defects, frames = read_history(supercell, initial, changes, usable)
    return Series(
        **vars(read_traces(path, file)),
        frame_ps=frame_ps,
        lattice_constant=per_replica(path, file, "lattice_constant_angstrom", (n,)),
        cell=per_replica(path, file, "cell_angstrom", (n, 3, 3)),
        supercell=supercell,
        dwell_frames=int(attribute("dwell_frames")),
        core_radius=float(attribute("core_radius_angstrom")),
        events=events,
        defects=defects,
        frames=frames | {"anion_displaced": data("sites/anion_displaced_frames")},
        lost_frame=lost,
        position_time_ps=data("positions/time_ps").astype(float),
        position=data("positions/position"),
        is_mobile=data("positions/is_mobile").astype(bool),
        mobile=str(attribute("mobile")),
        formula=str(attribute("formula")),
    )


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
    n_replicas = len(series.temperature)
    for name, value in series.frames.items():
        if len(value) != n_replicas:
            raise ValueError(
                f"{path}: {name} frames have {len(value)} rows for {n_replicas} replicas; "
                "the file is damaged."
            )
