"""The numbers of a report as CSV files, units in the names of the columns."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.series import Series
from jaxdiff.analysis.study import Study
from jaxdiff.analysis.walkers import follow
from jaxdiff.io import durable

_VALUES = {
    "rate": "per_ps",
    "residence": "ps",
    "headline_diffusivity": "cm2_per_s",
    "defect_diffusivity": "cm2_per_s",
    "defect_diffusivity_replicas": "cm2_per_s",
    "defect_diffusivity_gls": "cm2_per_s",
    "tracer_diffusivity": "cm2_per_s",
    "tracer_diffusivity_by_class": "cm2_per_s",
    "tracer_diffusivity_msd": "cm2_per_s",
    "haven_ratio": "1",
}


def write_tables(folder: Path, series: Series, study: Study) -> None:
    """Write temperatures.csv, events.csv and residences.csv."""
    _write(folder / "temperatures.csv", *_temperatures(study))
    _write(folder / "events.csv", *_events(series))
    _write(folder / "residences.csv", *_residences(series))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    durable.write_text(path, text.getvalue())


def _temperatures(study: Study) -> tuple[list[str], list[list[Any]]]:
    header = ["temperature_kelvin", "lattice_constant_angstrom", "replicas"]
    header += ["stopped", "exposure_ps", "hops"]
    for name, unit in _VALUES.items():
        label = name if unit == "1" else f"{name}_{unit}"
        header += [label, f"{label}_low", f"{label}_high"]
    rows = []
    for row in study.rows:
        cells: list[Any] = [
            row.temperature_kelvin,
            row.lattice_constant_angstrom,
            row.n_replicas,
            row.n_stopped,
            row.exposure_ps,
            row.hops,
        ]
        for name in _VALUES:
            estimate: Estimate = getattr(row, name)
            cells += [estimate.value, *estimate.interval]
        rows.append(["" if c != c else c for c in cells])  # NaN: not known
    return header, rows


def _events(series: Series) -> tuple[list[str], list[list[Any]]]:
    events, unit = series.events, series.event_unit[:, None]
    header = ["replica", "temperature_kelvin", "time_ps", "class", "defect"]
    header += [f"{end}_{axis}_angstrom" for end in ("from", "to") for axis in "xyz"]
    place = np.concatenate([events.start, events.end], axis=1) * unit
    rows = [
        [
            int(events.replica[i]),
            series.temperature[events.replica[i]],
            round((int(events.frame[i]) + 1) * series.frame_ps, 9),
            series.network.classes[events.kind[i]],
            int(events.defect[i]),
            *place[i].round(6).tolist(),
            int(events.n_moved[i]),
        ]
        for i in range(len(events.kind))
    ]
    return [*header, "cations_moved"], rows


def _residences(series: Series) -> tuple[list[str], list[list[Any]]]:
    walkers = follow(series)
    data = walkers.residences()
    rows = [
        [
            int(walkers.replica[w]),
            walkers.temperature[w],
            int(walkers.number[w]),
            round(float(length), 9),
            int(entered),
            int(ended),
        ]
        for w, length, entered, ended in zip(
            data.replica, data.length, data.entered, data.ended, strict=True
        )
    ]
    header = ["replica", "temperature_kelvin", "defect", "length_ps"]
    return [*header, "began_by_hop", "ended_by_hop"], rows
