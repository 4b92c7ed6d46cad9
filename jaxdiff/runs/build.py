"""From a run file to what runs: force field, crystals, conditions, program, first state."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdiff import checkpoints, md, neighbors, observables, potential, units
from jaxdiff.devices import devices_for
from jaxdiff.io.provenance import sha256 as digest_of
from jaxdiff.io.runfile import ModelSection, RunFile
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.md import kinetics
from jaxdiff.models.contract import Model, Term
from jaxdiff.runs import memory, start
from jaxdiff.runs.levels import for_structures, terms_of
from jaxdiff.system import System

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
    `model`: what was evaluated, as it was loaded; None where it is no model of ours.
    """

    params: Any
    energy_and_force: Any
    cutoff: float
    sha256: str
    evaluator: str = "not known"
    terms: tuple[Term, ...] = ()
    model: Model | None = None

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
      those of its temperature; `lattice_constant` [R], Å, of rock salt. `is_mobile` [N].
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

    def measured(self, phase: str, state: md.EnsembleState) -> "Ensemble":
        """With the memory that its program takes; an error where the machine has less."""
        found = memory.measured(
            self.memory,
            self.plan,
            self.run_chunk,
            self.potential.params,
            self.conditions(phase),
            state,
            len(devices_for(self.run.n_replicas)),
        )
        return dataclasses.replace(self, memory=found)

    def first_state(self) -> md.EnsembleState:
        """The replicas at the start; their energies are still to come."""
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
            velocity=start.velocities(self.systems)
            if self.run.system.keep_velocities
            else None,
            observer=self._observe_first if self.run.follows_sites else None,
            integrators=self.plan.integrators,
        )

    def _observe_first(self, position, cell) -> observables.SiteState:
        cells = self.run.system.supercell
        assert cells is not None  # or no sites are followed
        supercell = Supercell.of(ROCK_SALT, cells)
        settings = site_settings(self.run)
        return observables.initialize(settings, supercell, cell, position, self.is_mobile)


def build(run: RunFile, load: Load | None = None) -> Ensemble:
    """Everything that the run file names.

    - `load`: makes the force field; None: reads the model that the run file names.
    """
    study = start.systems(run)
    systems = study[slice(*run.replica_range)]
    grid = md.temperature_grid(
        list(run.ensemble.temperatures_kelvin), run.ensemble.replicas_per_temperature
    )
    temperature, seed_index = (column[slice(*run.replica_range)] for column in grid)
    devices = devices_for(run.n_replicas)
    at_once = run.ensemble.group_size or math.ceil(run.n_replicas / len(devices))
    load = load or functools.partial(load_potential, replicas=at_once)
    force_field = load(run.model, systems[0]).beside(
        terms_of(
            run.model,
            min(study, key=lambda system: abs(np.linalg.det(system.cell))),
            compression=0.0 if run.barostat is None else _COMPRESSION,
            dtype=run.model.precision,
        )
    )
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
        observe=observe if run.follows_sites else None,
        devices=devices,
    )
    ensemble = Ensemble(
        run=run,
        potential=force_field,
        systems=systems,
        temperature=temperature,
        seed_index=seed_index,
        lattice_constant=start.lattice_constants(run)[slice(*run.replica_range)],
        is_mobile=start.is_mobile(run, systems[0]),
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


def with_plain(ensemble: Ensemble, why: str) -> Ensemble:
    """The same ensemble with the plain evaluator of its model; `why`, in words."""
    model = ensemble.run.model.model_copy(update={"evaluator": "plain"})
    found = build(ensemble.run.model_copy(update={"model": model}))
    force_field = dataclasses.replace(found.potential, evaluator=f"plain: {why}")
    return dataclasses.replace(found, run=ensemble.run, potential=force_field)


def load_potential(section: ModelSection, system: System, replicas: int = 1) -> Potential:
    """The model that a run file names, restricted to the species of the system (exact).

    - `replicas`: the most that are computed at once.
    """
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
        replicas=replicas,
    )
    evaluator = f"{found.name}: {found.reason}"
    return Potential(
        found.params,
        found.energy_and_force,
        found.cutoff,
        sha256,
        evaluator,
        model=model,
    )


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


def _capacity(systems: list[System], radius: float, headroom: float) -> int:
    """Places per row: for the densest of all replicas of the study, with headroom."""
    distinct = {id(system): system for system in systems}.values()
    largest = max(
        neighbors.neighbor_rows(system.position, system.cell, radius)[0].shape[1]
        for system in distinct
    )
    step = neighbors.places_multiple()
    return step * math.ceil(headroom * largest / step)
