"""From a run file to what runs: force field, crystals, conditions, program, first state."""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdiff import checkpoints, md, neighbors, observables, potential, units
from jaxdiff.analysis.lattice import LatticeStudy
from jaxdiff.devices import devices_for
from jaxdiff.io.provenance import sha256 as digest_of
from jaxdiff.io.runfile import ModelSection, RunFile
from jaxdiff.lattice.lithium_fluoride import rock_salt
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.md import kinetics
from jaxdiff.models.contract import Term
from jaxdiff.runs import memory
from jaxdiff.runs.levels import for_structures, terms_of
from jaxdiff.system import LITHIUM, System, read_structure, read_structures

EQUILIBRATION, PRODUCTION = "equilibration", "production"

_PURPOSE = {
    EQUILIBRATION: kinetics.EQUILIBRATION_NOISE,
    PRODUCTION: kinetics.PRODUCTION_NOISE,
}
_HEADROOM, _CLOSE_HEADROOM = 1.2, 1.1  # of places in neighbour lists, within the cutoff
_COMPRESSION = 0.05  # by which the edges of a cell may shrink at constant pressure


@dataclasses.dataclass(frozen=True)
class Potential:
    """A force field ready for dynamics: its parameters, its function, its provenance.

    `evaluator`: its name, and why it was taken, in words. `terms`: energies beside it.
    """

    params: Any
    energy_and_force: Any
    cutoff: float
    sha256: str
    evaluator: str = "not known"
    terms: tuple[Term, ...] = ()

    def beside(self, terms: tuple[Term, ...]) -> "Potential":
        """The same with these energies added; they travel with the parameters."""

        def energy_and_force(params, position, cell, lists):
            found = self.energy_and_force(params[0], position, cell, lists)
            return potential.with_terms(found, params[1], position, cell)

        both = {"params": (self.params, terms), "energy_and_force": energy_and_force}
        return dataclasses.replace(self, terms=terms, **both) if terms else self


Load = Callable[[ModelSection, System], Potential]


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Everything that a run needs, compiled for; R replicas.

    - `systems` [R]: at the start. `temperature` [R], K; `seed_index` [R]: number among
      those of its temperature; `lattice_constant` [R], Å. `is_mobile` [N].
    - `capacity`, `close`: places in a row of the neighbour lists, of all pairs and of those
      within the cutoff, the same whatever part of a study runs. `memory`: what one replica
      needs.
    """

    run: RunFile
    potential: Potential
    systems: list[System]
    temperature: np.ndarray
    seed_index: np.ndarray
    lattice_constant: np.ndarray
    is_mobile: np.ndarray
    plan: md.Plan
    capacity: int
    close: int
    run_chunk: Any
    memory: memory.Memory

    @property
    def cell(self) -> np.ndarray:
        """Lattice vectors as rows [R, 3, 3], Å."""
        return np.stack([np.asarray(system.cell) for system in self.systems])

    def conditions(self, phase: str) -> md.Conditions:
        """The conditions of a phase, in internal units."""
        ensemble, barostat = self.run.ensemble, self.run.barostat
        fixed = {} if barostat is None else _barostat(barostat)
        return md.conditions(
            self.systems[0],
            self.temperature,
            timestep=ensemble.timestep_fs * units.FEMTOSECOND,
            damping_time=ensemble.tdamp_fs * units.FEMTOSECOND,
            friction=getattr(self.run, phase).friction_per_ps / units.PICOSECOND,
            seed=ensemble.seed,
            purpose=_PURPOSE[phase],
            replica_id=np.arange(*self.run.replica_range),
            max_temperature=ensemble.max_temperature_kelvin,
            **fixed,
        )

    def first_state(self) -> md.EnsembleState:
        """The replicas at the start; their energies are still to come."""
        settings = site_settings(self.run)
        supercell = Supercell.of(ROCK_SALT, self.run.system.supercell)

        def observer(position, cell):
            return observables.initialize(
                settings, supercell, cell, position, self.is_mobile
            )

        return md.initialize(
            self.systems[0],
            self.temperature,
            cutoff=self.plan.cutoff,
            skin=self.plan.skin,
            seed=self.run.ensemble.seed,
            replica_id=np.arange(*self.run.replica_range),
            position=np.stack([system.position for system in self.systems]),
            cell=self.cell,
            compression=0.0 if self.run.barostat is None else _COMPRESSION,
            capacity=self.capacity,
            close=self.close,
            velocity=_velocities(self.systems) if self.run.system.keep_velocities else None,
            observer=None if self.run.barostat is not None else observer,
            integrators=self.plan.integrators,
        )


def build(run: RunFile, load: Load | None = None) -> Ensemble:
    """Everything that the run file names.

    - `load`: makes the force field; None: reads the model that the run file names.
    """
    memory.require_room(run)
    study = _study_systems(run)
    if run.system.keep_velocities:
        _require_independent(_velocities(study), np.asarray(study[0].mass))
    systems = study[slice(*run.replica_range)]
    grid = md.temperature_grid(
        list(run.ensemble.temperatures_kelvin), run.ensemble.replicas_per_temperature
    )
    temperature, seed_index = (column[slice(*run.replica_range)] for column in grid)
    force_field = (load or load_potential)(run.model, systems[0]).beside(
        terms_of(
            run.model,
            min(study, key=lambda system: abs(np.linalg.det(system.cell))),
            compression=0.0 if run.barostat is None else _COMPRESSION,
            dtype=run.model.precision,
        )
    )
    devices = devices_for(run.n_replicas)
    plan = md.Plan(
        cutoff=force_field.cutoff,
        skin=run.neighbors.skin_angstrom,
        steps_per_frame=run.steps_per_frame,
        frames_per_chunk=run.frames_per_chunk,
        integrators=_integrators(run),
    )
    observe = functools.partial(observables.observe, site_settings(run))
    program = functools.partial(
        md.make_chunk,
        energy_and_force=force_field.energy_and_force,
        observe=None if run.barostat is not None else observe,
        devices=devices,
    )
    ensemble = Ensemble(
        run=run,
        potential=force_field,
        systems=systems,
        temperature=temperature,
        seed_index=seed_index,
        lattice_constant=_lattice_constants(run)[slice(*run.replica_range)],
        is_mobile=np.asarray(systems[0].atomic_number) == LITHIUM,
        plan=plan,
        capacity=_capacity(study, plan.cutoff + plan.skin, _HEADROOM),
        close=_capacity(study, plan.cutoff, _CLOSE_HEADROOM),
        run_chunk=None,
        memory=memory.Memory(),
    )
    plan, run_chunk, used = memory.choose_group(
        plan,
        program,
        force_field.params,
        ensemble.conditions(PRODUCTION),
        ensemble.first_state(),
        n_devices=len(devices),
        asked=run.ensemble.group_size,
    )
    return dataclasses.replace(ensemble, plan=plan, run_chunk=run_chunk, memory=used)


def load_potential(section: ModelSection, system: System) -> Potential:
    """The model that a run file names, restricted to the species of the system (exact)."""
    with checkpoints.locate(section.name_or_path) as path:
        sha256 = digest_of(path)
        model = checkpoints.load(path)
    model = for_structures(model, section)
    found = potential.evaluator(
        model,
        np.asarray(system.atomic_number),
        section.evaluator,
        tolerance=section.radial_tolerance or None,
        dtype=section.precision,
    )
    evaluator = f"{found.name}: {found.reason}"
    return Potential(found.params, found.energy_and_force, found.cutoff, sha256, evaluator)


def site_settings(run: RunFile) -> observables.SiteSettings:
    """Settings of the tracker of sites."""
    return observables.SiteSettings(
        core_radius=run.hops.core_radius_angstrom,
        dwell_frames=run.hops.dwell_strides,
        crossing_capacity=run.hops.crossings_per_chunk,
    )


def _integrators(run: RunFile) -> tuple[str, ...]:
    """Those of both phases, after that of the first forces."""
    each = "nve", run.integrator(EQUILIBRATION), run.integrator(PRODUCTION)
    return tuple(dict.fromkeys(each))


def _barostat(section) -> dict[str, float]:
    return {
        "pressure": section.pressure_gpa * units.GIGAPASCAL,
        "pressure_time": section.pressure_time_ps * units.PICOSECOND,
        "compressibility": section.compressibility_per_gpa / units.GIGAPASCAL,
    }


def _velocities(systems: list[System]) -> Float[np.ndarray, "replicas atoms 3"]:
    found = [system.velocity for system in systems if system.velocity is not None]
    if len(found) < len(systems):
        raise ValueError(
            "system.keep_velocities is true, but a structure has no velocities; set it to "
            "false, or give files that have them."
        )
    return np.stack([np.asarray(velocity) for velocity in found])


def _require_independent(
    velocity: Float[np.ndarray, "replicas atoms 3"], mass: Float[np.ndarray, " atoms"]
) -> None:
    """Replicas that start alike are one trajectory, but would be counted as several."""
    momentum = (velocity * np.sqrt(mass)[:, None]).reshape(len(velocity), -1)
    length = np.linalg.norm(momentum, axis=1, keepdims=True)
    unit = momentum / np.where(length > 0, length, 1.0)
    scatter = 1 / math.sqrt(momentum.shape[1])
    for one in range(len(unit) - 1):
        alike = unit[one + 1 :] @ unit[one]
        if alike.max() > min(0.9, 6 * scatter):
            other = one + 1 + int(alike.argmax())
            raise ValueError(
                f"system.keep_velocities is true, and replicas {one} and {other} start "
                f"with velocities whose correlation is {alike.max():.2f}, where that of "
                f"independent ones is 0 ± {scatter:.2f}: "
                "near-copies would be counted as independent. Set it to false, so that "
                "velocities are drawn, or give frames that are further apart in time."
            )


def _capacity(systems: list[System], radius: float, headroom: float) -> int:
    """Places per row: for the densest of all replicas of the study, with headroom."""
    distinct = {id(system): system for system in systems}.values()
    largest = max(
        neighbors.neighbor_rows(system.position, system.cell, radius)[0].shape[1]
        for system in distinct
    )
    step = neighbors.PLACES_MULTIPLE
    return step * math.ceil(headroom * largest / step)


def _lattice_constants(run: RunFile) -> np.ndarray:
    """Of all replicas of the study, Å."""
    section = run.system
    temperatures = run.ensemble.temperatures_kelvin
    if section.lattice_file is None:
        constants = [section.lattice_constant_angstrom] * len(temperatures)
    else:
        lattice = _read_lattice(Path(section.lattice_file))
        constants = [lattice.lattice_constant_at(kelvin).value for kelvin in temperatures]
    return np.repeat(constants, run.ensemble.replicas_per_temperature)


def _read_lattice(path: Path) -> LatticeStudy:
    if not path.is_file():
        raise ValueError(
            f"system.lattice_file {path} does not exist; give the lattice.json that "
            "jaxdiff lattice writes."
        )
    return LatticeStudy.from_json(path.read_text(encoding="utf-8"))


def _study_systems(run: RunFile) -> list[System]:
    """One system per replica of the study, all of the same atoms in the same order."""
    if run.system.structure_files:
        return _read_systems(run)
    section = run.system
    return [
        rock_salt(
            section.supercell,
            float(constant),
            interstitials=section.interstitials,
            vacancies=section.vacancies,
            frenkel_pairs=section.frenkel_pairs,
            seed=run.ensemble.seed,
            replica=replica,
        )
        for replica, constant in enumerate(_lattice_constants(run))
    ]


def _read_systems(run: RunFile) -> list[System]:
    section, n_replicas = run.system, run.n_all_replicas
    files = section.structure_files
    if len(files) == 1:
        systems = read_structures(files[0])
        systems = systems if len(systems) == n_replicas else systems[-1:] * n_replicas
        files = files * n_replicas
    else:
        systems = [read_structure(path) for path in files]
    for path, system, constant in zip(files, systems, _lattice_constants(run), strict=True):
        cell = float(constant) * np.diag(np.asarray(section.supercell, float))
        if not np.allclose(system.cell, cell, atol=1e-3):
            raise ValueError(
                f"{path} has the cell {np.asarray(system.cell).tolist()} Å, but "
                "system.supercell and the lattice constant make "
                f"{cell.tolist()} Å; set them to those of the file."
            )
        if not np.array_equal(system.atomic_number, systems[0].atomic_number):
            raise ValueError(
                f"{path} and {files[0]} do not have the same atoms in the same order; "
                "replicas of one run must."
            )
    return systems
