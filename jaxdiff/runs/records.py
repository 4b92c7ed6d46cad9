"""What a run writes about itself: series, provenance, estimate of its cost, final state."""

import dataclasses
import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase.io
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import md, units
from jaxdiff.devices import devices_for
from jaxdiff.io import runfile
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.series import SeriesWriter
from jaxdiff.observables import as_supercell
from jaxdiff.runs.build import Ensemble
from jaxdiff.system import to_ase

_PACKAGES = ("jaxdiff", "jax", "jaxlib", "jax-md", "flax", "numpy")


def open_series(
    ensemble: Ensemble, directory: Path, started: float, n_parts: int
) -> SeriesWriter:
    """The series of a run, after its first `n_parts` parts."""
    return SeriesWriter(
        directory,
        temperature=ensemble.temperature,
        seed_index=ensemble.seed_index,
        lattice_constant=ensemble.lattice_constant,
        cell=ensemble.cell,
        is_mobile=ensemble.is_mobile,
        attributes=_attributes(ensemble),
        provenance=_provenance(ensemble, started),
        n_parts=n_parts,
    )


def append_part(series: SeriesWriter, run: RunFile, group: str, part: md.Part) -> None:
    """The frames of a chunk that are kept."""
    frame = part.step // run.steps_per_frame
    kept = frame % run.output.thermo_stride_frames == 0
    rows = part.series
    series.append(
        group,
        part.step[kept] * run.ensemble.timestep_fs / 1e3,
        temperature_kelvin=rows.temperature[kept],
        potential_energy_ev=rows.potential_energy[kept],
        conserved_energy_ev=rows.conserved_energy[kept],
        pressure_gpa=rows.pressure[kept] / units.GIGAPASCAL,
        volume_angstrom3=rows.volume[kept],
    )


def diverged_ps(run: RunFile, state: md.EnsembleState) -> np.ndarray:
    """When each replica stopped [R], ps of production; not a number if it goes on."""
    step = np.asarray(state.bad_step, float)
    return np.where(step < 0, np.nan, step * run.ensemble.timestep_fs / 1e3)


def estimate(ensemble: Ensemble, conditions: md.Conditions, state: md.EnsembleState) -> str:
    """What the run will cost, measured on one frame that is thrown away."""
    run, stride = ensemble.run, ensemble.plan.steps_per_frame
    arguments = jnp.asarray(stride, jnp.int32), jnp.asarray(md.NVE, jnp.int32)
    begin = time.perf_counter()
    trial, _ = ensemble.run_chunk(ensemble.potential.params, conditions, state, *arguments)
    jax.block_until_ready(trial)
    step_s = (time.perf_counter() - begin) / stride
    n_steps = run.steps(run.equilibration.duration_ps + run.production.duration_ps)
    n_replicas, n_atoms = state.n_replicas, len(ensemble.is_mobile)
    total_ns = n_replicas * run.production.duration_ps / 1e3
    nanoseconds = n_replicas * run.ensemble.timestep_fs / 1e6 / step_s * 86400
    n_devices = len(devices_for(run.n_replicas))
    return (
        f"{n_replicas} replicas of {n_atoms} atoms, {total_ns:.3g} ns in all: about "
        f"{_duration(n_steps * step_s)} ({1e6 * step_s / n_replicas / n_atoms:.3g} µs per "
        f"atom and step, {nanoseconds:.3g} ns/day in all on {n_devices} "
        f"{jax.default_backend()} device(s)). Memory: "
        f"{ensemble.memory.words(n_replicas // n_devices)}."
    )


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def write_final(path: Path, ensemble: Ensemble, state: md.EnsembleState) -> None:
    """The last sound state, one frame per replica, with velocities; unwrapped.

    `replica` of a frame is the replica's number in the study.
    """
    frames, first = [], ensemble.run.replica_range[0]
    for r, system in enumerate(ensemble.systems):
        position = np.asarray(state.motion.position[r])
        velocity = np.asarray(state.motion.momentum[r]) / np.asarray(system.mass)[:, None]
        cell = np.asarray(state.motion.cell[r])
        moved = dataclasses.replace(system, position=position, velocity=velocity, cell=cell)
        atoms = to_ase(moved)
        kelvin = float(ensemble.temperature[r])
        atoms.info |= {"replica": first + r, "temperature_kelvin": kelvin}
        frames.append(atoms)
    partial = path.with_name(f".{path.name}.partial")
    ase.io.write(partial, frames, format="extxyz")
    partial.replace(path)


def date(seconds: float) -> str:
    """As text, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _attributes(ensemble: Ensemble) -> dict[str, Any]:
    run, n_mobile = ensemble.run, int(ensemble.is_mobile.sum())
    return {
        "run_file": runfile.to_toml(run),
        "timestep_fs": run.ensemble.timestep_fs,
        "steps_per_frame": run.steps_per_frame,
        "frame_ps": run.ensemble.timestep_fs * run.steps_per_frame / 1000,
        "dwell_frames": run.hops.dwell_strides,
        "core_radius_angstrom": run.hops.core_radius_angstrom,
        "supercell": as_supercell(run.system.supercell).matrix,
        "n_mobile": n_mobile,
        "n_anion": len(ensemble.is_mobile) - n_mobile,
    }


def _provenance(ensemble: Ensemble, started: float) -> dict[str, Any]:
    run, device = ensemble.run, jax.devices()[0]
    return {
        "versions": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "device": f"{device.device_kind} ({device.platform}, {platform.machine()})",
        "n_devices": len(devices_for(run.n_replicas)),
        "group_size": ensemble.plan.group_size,
        "replica_bytes": ensemble.memory.state,
        "working_bytes": ensemble.memory.working,
        "precision": run.model.precision,
        "matmul_precision": str(
            jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
        ),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "thermostat": run.production.thermostat if run.barostat is None else "npt",
        "model": run.model.name_or_path,
        "model_sha256": ensemble.potential.sha256,
        "cutoff_angstrom": ensemble.potential.cutoff,
        "neighbor_capacity": ensemble.capacity,
        "seed": run.ensemble.seed,
        "started": date(started),
    }
