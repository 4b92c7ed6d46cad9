"""`jaxdiff simulate`: from a run file to a raw series and a report."""

import dataclasses
import functools
import hashlib
import json
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdiff.cli.folders import fresh_folder
from jaxdiff.cli.progress import Progress, progress_bar

if TYPE_CHECKING:
    from jaxdiff import md
    from jaxdiff.io.runfile import ModelSection, RunFile
    from jaxdiff.io.series import SeriesWriter
    from jaxdiff.system import System

BAD_INPUT, DIVERGED = 2, 3

SERIES, RUN_FILE, FINAL = "series.h5", "run.toml", "final.extxyz"


@dataclasses.dataclass(frozen=True)
class Potential:
    """A force field ready for dynamics: its parameters, its function, its provenance."""

    params: Any
    energy_and_force: Any
    cutoff: float
    sha256: str


def simulate(
    run_file: Annotated[Path, typer.Argument(help="The run file (TOML).")],
    set: Annotated[  # the name of the option
        list[str] | None,
        typer.Option(help="Change a key: --set production.duration_ps=10."),
    ] = None,
) -> None:
    """Run an ensemble, count lithium hops, and report the activation energy."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")

    from jaxdiff.devices import use_every_core

    use_every_core()

    from jaxdiff.checkpoints import CheckpointError
    from jaxdiff.io import runfile
    from jaxdiff.md import SimulationDiverged

    try:
        run = runfile.load(run_file, set or [])
        directory = fresh_folder(
            Path(run.output.directory), "output.directory =", "--set output.directory=..."
        )
        with progress_bar() as progress:
            run_study(run, directory, load_potential, progress)
    except SimulationDiverged as error:
        typer.echo(f"diverged: {error}", err=True)
        raise typer.Exit(DIVERGED) from None
    except (ValueError, OSError, CheckpointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    _report(directory)


def load_potential(section: "ModelSection", system: "System") -> Potential:
    """The model that a run file names, restricted to the species of the system (exact)."""
    import jax.numpy as jnp
    import numpy as np

    from jaxdiff import checkpoints, potential

    with checkpoints.locate(section.name_or_path) as path:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        model = checkpoints.load(path)
    model = checkpoints.restrict(model, tuple(np.unique(system.atomic_number).tolist()))
    model = potential.cast(model, jnp.dtype(section.precision))
    function = potential.make_energy_and_force(model.architecture, system.atomic_number)
    return Potential(model, function, float(model.architecture.cutoff), sha256)


def run_study(
    run: "RunFile",
    directory: Path,
    load: Callable[["ModelSection", "System"], Potential],
    progress: Progress,
) -> None:
    """Equilibrate, produce, and write the series into an empty directory."""
    from jaxdiff import md
    from jaxdiff.io import runfile
    from jaxdiff.io.series import SeriesWriter

    started = time.time()
    systems = _systems(run)
    system = systems[0]
    potential = load(run.model, system)
    grid = md.temperature_grid(
        list(run.ensemble.temperatures_kelvin), run.ensemble.replicas_per_temperature
    )
    temperature, seed_index = (column[slice(*run.replica_range)] for column in grid)
    text = runfile.to_toml(run)
    (directory / RUN_FILE).write_text(text, encoding="utf-8")
    with SeriesWriter(
        directory / SERIES,
        temperature=temperature,
        seed_index=seed_index,
        is_mobile=_is_mobile(system),
        attributes=_attributes(run, system, text),
        provenance=_provenance(run, potential, started),
    ) as series:
        status, state = "running", None
        try:
            state = _run(run, systems, temperature, potential, series, progress)
            status = "complete"
        except md.SimulationDiverged as error:
            status, state = "diverged", error.part.state
            raise
        finally:
            wall_s = round(time.time() - started, 3)
            series.finish(status, finished=_date(time.time()), wall_s=wall_s)
            if state is not None:
                _write_final(directory / FINAL, system, temperature, state)


def _run(
    run: "RunFile",
    systems: list["System"],
    temperature: Any,
    potential: Potential,
    series: "SeriesWriter",
    progress: Progress,
) -> "md.EnsembleState":
    import jax

    from jaxdiff import md, observables
    from jaxdiff.devices import devices_for

    settings = _site_settings(run)
    plan = md.Plan(
        cutoff=potential.cutoff,
        skin=run.neighbors.skin_angstrom,
        steps_per_frame=run.steps_per_frame,
        frames_per_chunk=run.frames_per_chunk,
    )
    conditions = _conditions(run, systems[0], temperature)
    run_chunk = md.make_chunk(
        plan,
        potential.energy_and_force,
        functools.partial(observables.observe, settings),
        devices=devices_for(run.n_replicas),
    )
    state = _initialize(run, systems, temperature, plan, settings)
    state = md.evaluate(run_chunk, potential.params, conditions, state)
    advance = functools.partial(
        md.advance,
        run_chunk,
        plan,
        potential.params,
        conditions,
        max_temperature=run.ensemble.max_temperature_kelvin,
    )
    n_steps = run.steps(run.equilibration.duration_ps)
    parts = advance(state, n_steps=n_steps, thermostat=md.LANGEVIN)
    state = _collect(run, state, parts, "equilibration", series, progress)
    state = md.restart(state, jax.vmap(observables.reset)(state.hops))
    n_steps = run.steps(run.production.duration_ps)
    parts = advance(state, n_steps=n_steps, thermostat=md.NOSE_HOOVER)
    return _collect(run, state, parts, "thermo", series, progress)


def _collect(run, state, parts, group: str, series: "SeriesWriter", progress: Progress):
    """Write each chunk as it comes; the state after the last."""
    from jaxdiff import md
    from jaxdiff.io.site_log import SiteLog

    production = group == "thermo"
    phase = "production" if production else group
    n_steps, done = run.steps(getattr(run, phase).duration_ps), 0
    log, n_changes = SiteLog.start(series, state.hops) if production else None, 0
    try:
        for part in parts:
            _write_part(run, part, group, series)
            state, done = part.state, done + part.n_steps
            if log is not None:
                n_changes = log.write(state.hops)
                _write_positions(run, state, series)
            simulated_ns = run.n_replicas * part.n_steps * run.ensemble.timestep_fs / 1e6
            ns_per_day = simulated_ns / part.wall_s * 86400
            progress(phase, done / n_steps, ns_per_day, n_changes)
    except md.SimulationDiverged as error:
        _write_part(run, error.part, group, series)
        raise
    return state


def _write_part(run, part: "md.Part", group: str, series: "SeriesWriter") -> None:
    frame = part.step // run.steps_per_frame
    kept = frame % run.output.thermo_stride_frames == 0
    columns = {
        "temperature_kelvin": part.series.temperature[kept],
        "potential_energy_ev": part.series.potential_energy[kept],
    }
    if group == "thermo":
        columns["conserved_energy_ev"] = part.series.conserved_energy[kept]
    time_ps = part.step[kept] * run.ensemble.timestep_fs / 1e3
    series.append(group, time_ps, **columns)


def _write_positions(run, state: "md.EnsembleState", series: "SeriesWriter") -> None:
    """The positions at the end of a chunk, if they are wanted."""
    import numpy as np

    if run.output.keep_positions:
        time_ps = np.array([int(state.step) * run.ensemble.timestep_fs / 1e3])
        series.append_positions(time_ps, np.asarray(state.motion.position)[:, None])


def _conditions(run: "RunFile", system: "System", temperature) -> "md.Conditions":
    import numpy as np

    from jaxdiff import md, units

    return md.conditions(
        system,
        temperature,
        timestep=run.ensemble.timestep_fs * units.FEMTOSECOND,
        damping_time=run.ensemble.tdamp_fs * units.FEMTOSECOND,
        friction=run.equilibration.friction_per_ps / units.PICOSECOND,
        seed=run.ensemble.seed,
        replica_id=np.arange(*run.replica_range),
    )


def _initialize(run: "RunFile", systems, temperature, plan, settings) -> "md.EnsembleState":
    import numpy as np

    from jaxdiff import md, observables

    is_mobile, cell = _is_mobile(systems[0]), np.asarray(systems[0].cell)
    supercell = observables.as_supercell(run.system.supercell)
    velocity = None
    if run.system.keep_velocities:
        if any(system.velocity is None for system in systems):
            raise ValueError(
                "system.keep_velocities is true, but a structure has no velocities; set "
                "it to false, or give files that have them."
            )
        velocity = np.stack([np.asarray(system.velocity) for system in systems])
    return md.initialize(
        systems[0],
        temperature,
        cutoff=plan.cutoff,
        skin=plan.skin,
        seed=run.ensemble.seed,
        replica_id=np.arange(*run.replica_range),
        position=np.stack([system.position for system in systems]),
        velocity=velocity,
        observer=lambda position: observables.initialize(
            settings, supercell, cell, position, is_mobile
        ),
    )


def _systems(run: "RunFile") -> list["System"]:
    """One system per replica, all of the same atoms in the same cell."""
    import numpy as np

    from jaxdiff.crystal import rock_salt_interstitial
    from jaxdiff.system import read_structure

    section = run.system
    built = rock_salt_interstitial(section.supercell, section.lattice_constant_angstrom)
    if not section.structure_files:
        return [built] * run.n_replicas
    systems = [read_structure(path) for path in section.structure_files]
    for path, system in zip(section.structure_files, systems, strict=True):
        if not np.allclose(system.cell, built.cell, atol=1e-3):
            raise ValueError(
                f"{path} has the cell {system.cell.tolist()} Å, but system.supercell and "
                f"system.lattice_constant_angstrom make {built.cell.tolist()} Å; set them "
                "to those of the file."
            )
        if not np.array_equal(system.atomic_number, systems[0].atomic_number):
            raise ValueError(
                f"{path} and {section.structure_files[0]} do not have the same atoms in "
                "the same order; replicas of one run must."
            )
    systems = (
        systems if len(systems) == run.n_all_replicas else systems * run.n_all_replicas
    )
    return systems[slice(*run.replica_range)]


def _site_settings(run: "RunFile"):
    from jaxdiff import observables

    return observables.SiteSettings(
        core_radius=run.hops.core_radius_angstrom,
        dwell_frames=run.hops.dwell_strides,
        crossing_capacity=run.hops.crossings_per_chunk,
    )


def _is_mobile(system: "System"):
    import numpy as np

    from jaxdiff.system import LITHIUM

    return np.asarray(system.atomic_number) == LITHIUM


def _attributes(run: "RunFile", system: "System", text: str) -> dict[str, Any]:
    from jaxdiff.observables import as_supercell

    n_mobile = int(_is_mobile(system).sum())
    return {
        "run_file": text,
        "timestep_fs": run.ensemble.timestep_fs,
        "steps_per_frame": run.steps_per_frame,
        "frame_ps": run.ensemble.timestep_fs * run.steps_per_frame / 1000,
        "dwell_frames": run.hops.dwell_strides,
        "core_radius_angstrom": run.hops.core_radius_angstrom,
        "lattice_constant_angstrom": run.system.lattice_constant_angstrom,
        "cell_angstrom": system.cell,
        "supercell": as_supercell(run.system.supercell).matrix,
        "n_mobile": n_mobile,
        "n_anion": system.n_atoms - n_mobile,
    }


def _provenance(run: "RunFile", potential: Potential, started: float) -> dict[str, Any]:
    import jax

    from jaxdiff.devices import devices_for

    device, n_devices = jax.devices()[0], len(devices_for(run.n_replicas))
    packages = ("jaxdiff", "jax", "jaxlib", "jax-md", "flax", "numpy")
    return {
        "versions": {name: version(name) for name in packages}
        | {"python": platform.python_version()},
        "device": f"{device.device_kind} ({device.platform}, {platform.machine()})",
        "n_devices": n_devices,
        "precision": run.model.precision,
        "matmul_precision": "highest",
        "model": run.model.name_or_path,
        "model_sha256": potential.sha256,
        "cutoff_angstrom": potential.cutoff,
        "seed": run.ensemble.seed,
        "started": _date(started),
    }


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _write_final(path: Path, system: "System", temperature, state) -> None:
    """The last sound state, one frame per replica, with velocities; unwrapped."""
    import ase.io
    import numpy as np

    from jaxdiff.system import to_ase

    frames = []
    for r, kelvin in enumerate(temperature):
        position = np.asarray(state.motion.position[r])
        velocity = np.asarray(state.motion.momentum[r]) / np.asarray(system.mass)[:, None]
        atoms = to_ase(dataclasses.replace(system, position=position, velocity=velocity))
        atoms.info |= {"replica": r, "temperature_kelvin": float(kelvin)}
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")


def _report(directory: Path) -> None:
    from jaxdiff.report import write_report

    try:
        path = write_report(directory)
    except ValueError as error:
        typer.echo(f"The series is complete, but there is no report: {error}", err=True)
        return
    record = json.loads(path.with_name("report.json").read_text(encoding="utf-8"))
    energy = record.get("activation_energy")
    if energy is None:
        typer.echo("Too few hops for an activation energy; run longer or hotter.")
    else:
        low, high = energy["interval"]
        value = f"{energy['value']:.3f} eV, 95 % interval {low:.3f} to {high:.3f}"
        typer.echo(f"Ea = {value}")
    typer.echo(path)
