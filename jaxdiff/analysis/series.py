"""The raw series of a run, as arrays on the host."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.observables.counts import UNITS

FORMAT, FORMAT_VERSION = "jaxdiff-series", 1


@dataclasses.dataclass(frozen=True)
class Series:
    """One run of R replicas: counters of hops and F rows of thermodynamics.

    - `temperature` [R], K: targets. `frame_ps`: time between frames of the detector.
    - `hops`: the counters of `observables.UNITS` by name, each [R, ...].
    - `time_ps` [F]; `kinetic_temperature` [R, F], K; `potential_energy` and
      `conserved_energy` [R, F], eV: production only.
    - `run_file`: the resolved TOML; `provenance`: JSON; both texts.
    """

    temperature: Float[np.ndarray, " replicas"]
    frame_ps: float
    lattice_constant: float
    supercell: tuple[int, int, int]
    n_mobile: int
    n_anion: int
    dwell_frames: int
    core_radius: float
    hops: Mapping[str, np.ndarray]
    time_ps: Float[np.ndarray, " frames"]
    kinetic_temperature: Float[np.ndarray, "replicas frames"]
    potential_energy: Float[np.ndarray, "replicas frames"]
    conserved_energy: Float[np.ndarray, "replicas frames"]
    run_file: str
    provenance: str
    status: str

    @property
    def exposure_ps(self) -> Float[np.ndarray, " replicas"]:
        """Time with a known defect, per replica."""
        return self.hops["exposure_frames"] * self.frame_ps

    @property
    def hop_count(self) -> Int[np.ndarray, " replicas"]:
        """Hops of all classes, per replica."""
        return self.hops["hops_by_class"].sum(axis=-1)


@dataclasses.dataclass(frozen=True)
class HopTotals:
    """Counters pooled over replicas; what rates and diffusivities are computed from.

    - `squared_displacement`: of the defect, summed over hops, Å^2.
    - `squared_steps`: of the cations, summed over hops and exchanges, Å^2.
    - `dispersion`: scale of the variance of counts, 1 for Poisson.
    """

    exposure_ps: float
    hops_by_class: Int[np.ndarray, " classes"]
    exchanges: int
    squared_displacement: float
    squared_steps: float
    cosine_sum: float
    cosine_squared_sum: float
    cosine_count: int
    n_mobile: int
    lattice_constant: float
    dispersion: float = 1.0

    @property
    def hops(self) -> int:
        """Hops of all classes."""
        return int(self.hops_by_class.sum())


def pool(
    series: Series, replica: Bool[np.ndarray, " replicas"], dispersion: float = 1.0
) -> HopTotals:
    """Sums over the replicas selected."""
    total = {
        name: np.asarray(value[replica].sum(axis=0))
        for name, value in series.hops.items()
        if not name.startswith("event_") and name != "first_hop_frame"
    }
    square = (series.lattice_constant / 4) ** 2
    return HopTotals(
        exposure_ps=float(total["exposure_frames"]) * series.frame_ps,
        hops_by_class=total["hops_by_class"],
        exchanges=int(total["exchanges"]),
        squared_displacement=float(total["squared_defect_displacement"]) * square,
        squared_steps=float(total["squared_atom_steps"]) * square,
        cosine_sum=float(total["cosine_sum"]),
        cosine_squared_sum=float(total["cosine_squared_sum"]),
        cosine_count=int(total["cosine_count"]),
        n_mobile=series.n_mobile,
        lattice_constant=series.lattice_constant,
        dispersion=dispersion,
    )


def load_series(path: str | Path, *, allow_incomplete: bool = False) -> Series:
    """Read `series.h5`; a run that has not finished only with `allow_incomplete`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; it is written by a run. Give the folder of a run that "
            "has started production."
        )
    with _open(path) as file:
        _check_format(path, file, allow_incomplete)
        series = _read(path, file)
    _check_shapes(path, series)
    return series


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read as HDF5 ({error}). If a run is writing it, try again "
            "later; otherwise the file is damaged and the run has to be repeated."
        ) from error


def _check_format(path: Path, file: h5py.File, allow_incomplete: bool) -> None:
    kind, version = file.attrs.get("format"), file.attrs.get("format_version")
    if kind != FORMAT or version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format={kind!r}, format_version={version}; this version reads "
            f"{FORMAT!r}, {FORMAT_VERSION}."
        )
    status = _attribute(path, file, "status")
    if status != "complete" and not allow_incomplete:
        raise ValueError(
            f"{path} has status={status!r}, not 'complete': the run is going on or was cut "
            "off. Resume it, or allow incomplete runs to report on what there is."
        )


def _attribute(path: Path, file: h5py.File, name: str) -> Any:
    if name not in file.attrs:
        raise ValueError(f"{path} lacks the root attribute {name!r}; the file is damaged.")
    return file.attrs[name]


def _dataset(path: Path, file: h5py.File, name: str) -> np.ndarray:
    if name not in file:
        raise ValueError(f"{path} lacks the dataset /{name}; the file is damaged.")
    return np.asarray(file[name])


def _read(path: Path, file: h5py.File) -> Series:
    def attribute(name: str) -> Any:
        return _attribute(path, file, name)

    def thermo(name: str) -> np.ndarray:
        return _dataset(path, file, f"thermo/{name}").astype(float)

    n_x, n_y, n_z = (int(n) for n in attribute("supercell"))
    frame_ps = float(attribute("timestep_fs")) * int(attribute("steps_per_frame")) / 1000
    return Series(
        temperature=_dataset(path, file, "temperature_kelvin").astype(float),
        frame_ps=frame_ps,
        lattice_constant=float(attribute("lattice_constant_angstrom")),
        supercell=(n_x, n_y, n_z),
        n_mobile=int(attribute("n_mobile")),
        n_anion=int(attribute("n_anion")),
        dwell_frames=int(attribute("dwell_frames")),
        core_radius=float(attribute("core_radius_angstrom")),
        hops={name: _dataset(path, file, f"hops/{name}") for name in UNITS},
        time_ps=thermo("time_ps"),
        kinetic_temperature=thermo("temperature_kelvin"),
        potential_energy=thermo("potential_energy_ev"),
        conserved_energy=thermo("conserved_energy_ev"),
        run_file=str(attribute("run_file")),
        provenance=str(attribute("provenance")),
        status=str(attribute("status")),
    )


def _check_shapes(path: Path, series: Series) -> None:
    n_replicas, n_frames = len(series.temperature), len(series.time_ps)
    for name, value in series.hops.items():
        if len(value) != n_replicas:
            raise ValueError(
                f"{path}: /hops/{name} has {len(value)} rows for {n_replicas} replicas."
            )
    for name in ("kinetic_temperature", "potential_energy", "conserved_energy"):
        shape = getattr(series, name).shape
        if shape != (n_replicas, n_frames):
            raise ValueError(
                f"{path}: /thermo {name} has shape {shape}, expected "
                f"{(n_replicas, n_frames)} (replicas, times)."
            )
