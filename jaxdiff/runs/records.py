"""What a run writes about itself: series, provenance, estimate of its cost, final state."""

import dataclasses
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ase.io
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import md, units
from jaxdiff.devices import devices_for, given_cores
from jaxdiff.io import durable, runfile
from jaxdiff.io.provenance import provenance
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.series import SeriesWriter
from jaxdiff.io.shown import counted
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.species import species
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.md.configurational import curvature
from jaxdiff.md.timestep import Forces, Spectrum, spectrum
from jaxdiff.runs.build import EQUILIBRATION, PRODUCTION, Ensemble
from jaxdiff.system import to_ase


def open_series(
    ensemble: Ensemble,
    directory: Path,
    started: float,
    n_parts: int,
    digests: tuple[str, ...] = (),
    **more: Any,
) -> SeriesWriter:
    """The series of a run, after its first `n_parts` parts with these digests.

    - `more`: of the provenance.
    """
    return SeriesWriter(
        directory,
        temperature=ensemble.temperature,
        seed_index=ensemble.seed_index,
        lattice_constant=ensemble.lattice_constant,
        cell=ensemble.cell,
        is_mobile=ensemble.is_mobile,
        attributes=_attributes(ensemble),
        provenance=_provenance(ensemble, started) | more,
        atomic_number=None
        if ensemble.run.system.supercell
        else np.asarray(ensemble.systems[0].atomic_number),
        n_parts=n_parts,
        digests=digests,
    )


def append_part(series: SeriesWriter, run: RunFile, group: str, part: md.Part) -> None:
    """The frames of a chunk that are kept; of the equilibration all, to see its end."""
    frame = part.step // run.steps_per_frame
    every = 1 if group == EQUILIBRATION else run.output.thermo_stride_frames
    kept = frame % every == 0
    rows = part.series
    series.append(
        group,
        part.step[kept] * run.ensemble.timestep_fs / 1e3,
        temperature_kelvin=rows.kinetic_temperature[kept],
        potential_energy_ev=rows.potential_energy[kept],
        conserved_energy_ev=rows.conserved_energy[kept],
        pressure_gpa=rows.pressure[kept] / units.GIGAPASCAL,
        volume_angstrom3=rows.volume[kept],
    )


def diverged_ps(run: RunFile, state: md.EnsembleState) -> np.ndarray:
    """When each replica stopped [R], ps of production; not a number if it goes on."""
    step = np.asarray(state.bad_step, float)
    stopped = np.asarray(state.diverged)
    return np.where(stopped, step * run.ensemble.timestep_fs / 1e3, np.nan)


def estimate(ensemble: Ensemble, conditions: md.Conditions, state: md.EnsembleState) -> str:
    """What the run will cost, measured on one frame that is thrown away."""
    run, stride = ensemble.run, ensemble.plan.steps_per_frame
    arguments = jnp.asarray(stride, jnp.int32), ensemble.plan.number("nve")
    begin = time.perf_counter()
    trial, _ = ensemble.run_chunk(ensemble.potential.params, conditions, state, *arguments)
    jax.block_until_ready(trial)
    step_s = (time.perf_counter() - begin) / stride
    n_steps = run.steps(run.equilibration.duration_ps + run.production.duration_ps)
    n_replicas, n_atoms = state.n_replicas, len(ensemble.is_mobile)
    total_ns = n_replicas * run.production.duration_ps / 1e3
    nanoseconds = n_replicas * run.ensemble.timestep_fs / 1e6 / step_s * 86400
    n_devices = len(devices_for(run.n_replicas))
    place = counted(n_devices, f"{jax.default_backend()} device")
    if jax.default_backend() == "cpu":
        place = counted(min(n_devices, given_cores()), "core")
    return (
        f"{counted(n_replicas, 'replica')} of {n_atoms} atoms, "
        f"{total_ns:.3g} ns in all: about "
        f"{_duration(n_steps * step_s)} ({1e6 * step_s / n_replicas / n_atoms:.3g} µs per "
        f"atom and step, {nanoseconds:.3g} ns/day in all on {place}). "
        "Memory: "
        f"{ensemble.memory.words(n_replicas, n_devices)}."
    )


def crystal_spectrum(
    ensemble: Ensemble, conditions: md.Conditions, state: md.EnsembleState
) -> Spectrum:
    """Frequencies of the crystals at the positions of a state, by the run's own forces."""
    place = np.asarray(state.motion.position, float)
    forces = _forces(ensemble, conditions, state)
    return spectrum(forces, place, np.asarray(conditions.mass, float))


def configurational_temperature(
    ensemble: Ensemble, conditions: md.Conditions, state: md.EnsembleState
) -> list[dict[str, float]]:
    """Of the positions of a state: by temperature, over replicas that have not stopped.

    `timestep_error` is what the time step adds to it, as a fraction; none where the
    thermostat holds the positions. `kelvin` is not a number where forces have no
    curvature.
    """
    place, first = np.asarray(state.motion.position, float), ensemble.run.replica_range[0]
    number = range(first, first + len(place))
    forces = _forces(ensemble, conditions, state)
    found = curvature(forces, place, np.asarray(conditions.mass, float), number)
    step = ensemble.run.ensemble.timestep_fs * units.FEMTOSECOND
    is_verlet = ensemble.run.integrator(PRODUCTION) != "langevin"
    rows = []
    for kelvin in np.unique(ensemble.temperature).tolist():
        mine = (ensemble.temperature == kelvin) & ~np.asarray(state.diverged)
        if mine.any():
            own = found.of(mine)
            kt, error = own.temperature()
            rows.append(
                {
                    "temperature_kelvin": kelvin,
                    "replicas": int(mine.sum()),
                    "kelvin": kt / units.KB,
                    "standard_error_kelvin": error / units.KB,
                    "timestep_error": own.position_error(step) if is_verlet else 0.0,
                }
            )
    return rows


def _forces(
    ensemble: Ensemble, conditions: md.Conditions, state: md.EnsembleState
) -> Forces:
    """Forces at other positions than those of a state, by the run's own program."""
    place = state.motion.position

    def force(position: np.ndarray) -> np.ndarray:
        moved = jax.device_put(jnp.asarray(position, place.dtype), place.sharding)
        motion = dataclasses.replace(state.motion, position=moved)
        there = dataclasses.replace(state, motion=motion)
        params = ensemble.potential.params
        found = md.evaluate(ensemble.run_chunk, params, conditions, there)
        return np.asarray(found.force, float)

    return force


def timestep_words(run: RunFile, found: Spectrum) -> str:
    """What the time step of a run does to its temperatures, before it starts."""
    step = run.ensemble.timestep_fs * units.FEMTOSECOND
    text = (
        f"Time step {run.ensemble.timestep_fs:g} fs, highest frequency "
        f"{found.highest_thz:.1f} THz: "
    )
    if run.integrator(PRODUCTION) == "langevin":
        low = found.momentum_error(step)
        text += f"positions at the temperature asked for, momenta {low:.2%} colder."
    else:
        text += f"positions {found.position_error(step):.2%} hotter than the momenta."
    if run.ensemble.timestep_fs * found.highest_thz > 100:
        text += (
            " That is more than a tenth of the shortest period "
            f"({100 / found.highest_thz:.2g} fs): set ensemble.timestep_fs lower."
        )
    return text


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
    with durable.replacing(path) as partial:
        ase.io.write(partial, frames, format="extxyz")


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
        "n_mobile": n_mobile,
        "n_anion": len(ensemble.is_mobile) - n_mobile,
        **_of_sites(ensemble),
    }


def _of_sites(ensemble: Ensemble) -> dict[str, Any]:
    """What moves on which network; of any crystal what moves alone."""
    cells = ensemble.run.system.supercell
    if cells is None:
        return {"mobile": ensemble.run.system.mobile}
    supercell = Supercell.of(ROCK_SALT, cells)
    number = np.asarray(ensemble.systems[0].atomic_number)
    return {
        **species(supercell, number, ensemble.is_mobile),
        "network": supercell.network.to_json(),
        "supercell": supercell.matrix,
    }


def _provenance(ensemble: Ensemble, started: float) -> dict[str, Any]:
    run, terms = ensemble.run, ensemble.potential.terms
    added = {"added": "; ".join(map(str, terms))} if terms else {}
    return provenance(
        n_devices=len(devices_for(run.n_replicas)),
        group_size=ensemble.plan.group_size,
        replica_bytes=ensemble.memory.state,
        working_bytes=ensemble.memory.working,
        precision=run.model.precision,
        matmul_precision=str(
            jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
        ),
        xla_flags=os.environ.get("XLA_FLAGS", ""),
        thermostat=run.integrator(PRODUCTION),
        model=run.model.name_or_path,
        model_sha256=ensemble.potential.sha256,
        evaluator=ensemble.potential.evaluator,
        **added,
        cutoff_angstrom=ensemble.potential.cutoff,
        neighbor_capacity=ensemble.capacity,
        seed=run.ensemble.seed,
        started=date(started),
    )
