"""The study of a run of any crystal, from the positions that it kept."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxdiff.analysis.checks import check_traces
from jaxdiff.analysis.traces import n_kept, read_traces, reading
from jaxdiff.analysis.transport import LEAST_FRAMES
from jaxdiff.analysis.transport_study import TransportStudy
from jaxdiff.io.config import table_of
from jaxdiff.io.parts import SERIES
from jaxdiff.io.trajectory import Trajectory, trajectory_of
from jaxdiff.io.trajectory_source import RawFrame, Source, Tally
from jaxdiff.runs.displacements import Displacements
from jaxdiff.runs.start import in_keys

ATOMS = "positions/atomic_number"
"""The dataset of a series without a network of sites."""


def is_kept(directory: Path, *, allow_incomplete: bool = False) -> bool:
    """Whether the run in a folder has kept positions of a crystal without known sites."""
    with reading(directory / SERIES, allow_incomplete=allow_incomplete) as file:
        return ATOMS in file and "network" not in file.attrs


def study_kept(
    directory: Path, *, allow_incomplete: bool = False
) -> tuple[TransportStudy, dict[str, Any]]:
    """Diffusion and conductivity over the replicas, and where they are from.

    Replicas that stopped before they kept enough frames are left out.

    Raises `ValueError` where none is left, or sites are asked for that do not fit.
    """
    path = directory / SERIES
    with reading(path, allow_incomplete=allow_incomplete) as file:
        traces = read_traces(path, file)
        time = np.asarray(file["positions/time_ps"])
        frames = n_kept(time, traces.diverged_ps)
        whole = np.flatnonzero(frames >= LEAST_FRAMES).tolist()
        if not whole:
            raise ValueError(
                f"{path} has {frames.max(initial=0)} frames of a replica, and a mean "
                f"squared displacement over time needs {LEAST_FRAMES} at least; run longer "
                "(production.duration_ps), or keep more (output.positions_every_ps)."
            )
        trajectories = [_replica(path, file, r, time[: frames[r]]) for r in whole]
        asked = _asked(table_of(traces.run_file), traces.temperature[whole].tolist(), time)
        try:
            study, _ = Displacements.of(
                trajectories, asked, "hops.network is none"
            ).results()
        except ValueError as error:
            raise ValueError(in_keys(str(error))) from None
    study = replace(study, checks=(*check_traces(traces), *study.checks))
    left_out = sorted(set(range(len(frames))) - set(whole))
    run = json.loads(traces.provenance)
    return study, {"run": run, "replicas_left_out": left_out}


def _asked(table: dict[str, Any], kelvin: list[float], time: np.ndarray) -> dict[str, Any]:
    """The options of `jaxdiff analyze` that a run file says."""
    hops, every = table["hops"], float(time[1] - time[0])
    dwell_ps = hops["stride_fs"] * hops["dwell_strides"] / 1e3
    return {
        "mobile": table["system"]["mobile"],
        "temperature_kelvin": kelvin,
        "charge": table["system"].get("mobile_charge"),
        "network": hops["network"],
        "dwell_frames": max(1, round(dwell_ps / every)),
        "core_radius_angstrom": hops["core_radius_angstrom"],
    }


def _replica(path: Path, file: h5py.File, replica: int, time: np.ndarray) -> Trajectory:
    """Its frames, while the file is open; the cell is fixed."""
    position: Any = file["positions/position"]
    cell = np.asarray(file["cell_angstrom"])[replica]

    def frames(_: Tally) -> Iterator[RawFrame]:
        for k, ps in enumerate(time.tolist()):
            yield RawFrame(None, ps, lambda k=k: (position[replica, k].astype(float), cell))

    source = Source(
        format="run",
        atomic_number=np.asarray(file[ATOMS]),
        periodic=(True, True, True),
        unwrapping="none, never wrapped",
        exact=True,
        time_stated=True,
        frames=frames,
    )
    return trajectory_of(path.with_name(f"replica {replica} of {path.name}"), source)
