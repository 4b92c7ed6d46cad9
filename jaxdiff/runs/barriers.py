"""Barriers into a folder: one path after another, each kept as soon as it is found."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase
import ase.io
import jax.numpy as jnp
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from jaxdiff import checkpoints, units
from jaxdiff.io import durable
from jaxdiff.io.ase_frames import read_atoms
from jaxdiff.io.barrierfile import (
    BarrierFile,
    EndsSection,
    ErrorSection,
    RatesSection,
)
from jaxdiff.io.folder import RunFolder
from jaxdiff.io.frames import read_frames
from jaxdiff.io.provenance import provenance, sha256
from jaxdiff.lattice.jumps import INTERSTITIAL, VACANCY
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.models.contract import Model
from jaxdiff.objectives import harmonic, paths
from jaxdiff.objectives.band import Band
from jaxdiff.objectives.barrier import Barrier, SearchFailed, Settings, find_barrier
from jaxdiff.objectives.calibration import fit_calibrated
from jaxdiff.objectives.last_layer import LastLayer, energy_feature
from jaxdiff.objectives.relax import Relaxed
from jaxdiff.objectives.surface import Surface, make_surface
from jaxdiff.potential import cast
from jaxdiff.runs.levels import for_structures, terms_of, what_counts
from jaxdiff.system import LITHIUM, System, from_ase, to_ase

RESULTS, DIFFUSION = "barriers.json", "diffusion.json"

FREE = ("system.paths", "ends", "rates.temperatures_kelvin", "output.directory")


def search_to_folder(
    run: BarrierFile, report: Callable[[str, dict[str, Any]], None]
) -> dict[str, dict[str, Any]]:
    """Every path of a run file; the content of barriers.json, by name.

    A path that is there already, of this run file and model, is not searched again. One
    that has no barrier is kept with its reason. `report` is called after each.
    """
    directory = Path(run.output.directory)
    with checkpoints.locate(run.model.name_or_path) as file:
        model = cast(for_structures(checkpoints.load(file), run.model), jnp.float64)
        digest = sha256(file)
    identity = {"model_sha256": digest, **_what_counts(run)}
    asked = run.model_dump(mode="json")
    about = provenance(identity=identity, run=asked)
    folder = RunFolder(directory, free=FREE)
    wanted = list(all_paths(run))
    with folder.claimed():
        found = _earlier(folder, identity)
        posterior = None
        if run.error is not None and any(path.name not in found for path in wanted):
            posterior, about["error"] = _posterior(model, run.error)
        for path in wanted:
            if path.name not in found:
                found[path.name] = _searched(model, path, run, directory, posterior)
                content = {**about, "paths": found}
                durable.write_json(directory / RESULTS, content)
            report(path.name, found[path.name])
        if run.rates is not None:
            durable.write_json(directory / DIFFUSION, diffusion(run, found))
    return found


def all_paths(run: BarrierFile) -> Iterator[paths.Path]:
    """Those built and those read."""
    if run.system is not None:
        for name in run.system.paths:
            yield paths.lithium_path(
                name, run.system.supercell, run.system.lattice_constant_angstrom
            )
    for name, ends in run.ends.items():
        yield _read(name, ends)


def _read(name: str, ends: EndsSection) -> paths.Path:
    """Two structures; the shorter way round the cell is taken for every atom."""
    first, last = (read_atoms(Path(path))[-1] for path in (ends.first, ends.last))
    if first.numbers.tolist() != last.numbers.tolist():
        raise ValueError(
            f"[ends.{name}]: {ends.first} and {ends.last} have other atoms, or the same in "
            "another order; an atom must have the same place in both."
        )
    if not np.allclose(first.cell.array, last.cell.array, atol=1e-6):
        raise ValueError(
            f"[ends.{name}]: {ends.first} and {ends.last} have other cells; a jump keeps "
            "its cell."
        )
    if not all(first.pbc):
        raise ValueError(
            f"[ends.{name}]: {ends.first} is not periodic in all three directions; "
            "barriers are those of crystals."
        )
    system, _ = (_system(name, *end) for end in ((ends.first, first), (ends.last, last)))
    away = last.positions - first.positions
    away -= np.round(away @ np.linalg.inv(system.cell)) @ system.cell
    position = np.asarray(system.position)
    return paths.Path(name, system, jnp.asarray(position), jnp.asarray(position + away))


def _system(name: str, path: str, atoms: ase.Atoms) -> System:
    try:
        return from_ase(atoms)
    except ValueError as error:
        raise ValueError(f"[ends.{name}]: {path}: {error}") from None


def _posterior(model: Model, section: ErrorSection) -> tuple[LastLayer, dict[str, Any]]:
    """Calibrated along jumps of lithium where frames have such, and what is told of it."""
    train, valid = (read_frames(list(files)) for files in (section.train, section.valid))
    posterior, found = fit_calibrated(model, train, valid, ROCK_SALT, LITHIUM)
    about = dataclasses.asdict(posterior) | {"calibration": found and found.record()}
    del about["covariance"]
    return posterior, about


def _searched(
    model: Model,
    path: paths.Path,
    run: BarrierFile,
    directory: Path,
    posterior: LastLayer | None,
) -> dict[str, Any]:
    """What is found of a path: numbers, or the reason why there are none."""
    search = run.search
    settings = Settings(
        n_images=search.images,
        end_force=search.end_force_ev_per_angstrom,
        band_force=search.band_force_ev_per_angstrom,
        saddle_force=search.saddle_force_ev_per_angstrom,
        max_steps=search.max_steps,
        rattle=search.rattle_angstrom,
        seed=search.seed,
    )
    started = time.perf_counter()
    number = tuple(sorted({int(z) for z in path.system.atomic_number}))
    small = model.restrict(number)
    surface = make_surface(small, path.system, terms_of(run.model, path.system))
    try:
        barrier = find_barrier(small, surface, path, settings)
    except SearchFailed as error:
        failed = {"failed": str(error), "seconds": round(time.perf_counter() - started, 1)}
        if error.band is None:
            return failed
        return failed | _band(error.band, directory / f"{path.name}.extxyz", path.system)
    structures = directory / f"{path.name}.extxyz"
    vibrations = {} if run.rates is None else _prefactor(small, surface, barrier, run.rates)
    return {
        "forward_ev": barrier.forward_ev,
        "backward_ev": barrier.backward_ev,
        **_errors(model, posterior, barrier, path.system),
        "saddle_force_ev_per_angstrom": float(barrier.saddle.largest_force),
        "lowest_frequencies_thz": barrier.modes.frequency_thz.tolist(),
        "lowest_frequencies_of_ends_thz": [
            modes.frequency_thz.tolist() for modes in barrier.end_modes
        ],
        **vibrations,
        "force_calls": barrier.force_calls,
        "seconds": round(time.perf_counter() - started, 1),
        **_band(barrier.band, structures, path.system, barrier.saddle),
    }


def _prefactor(
    model: Model, surface: Surface, barrier: Barrier, section: RatesSection
) -> dict[str, Any]:
    """Of the way forward; or why there is none."""
    atoms, ends = None, (barrier.start.position, barrier.end.position)
    if section.radius_angstrom is not None:
        atoms = harmonic.atoms_around(surface, *ends, section.radius_angstrom)
    points = barrier.saddle.position, barrier.start.position
    try:
        rate = harmonic.harmonic_rate(model, surface, *points, atoms)
    except ValueError as error:
        return {"no_prefactor": str(error)}
    n_atoms = len(ends[0]) if atoms is None else len(atoms)
    return {"prefactor_thz": rate.prefactor_thz, "vibrating_atoms": n_atoms}


def diffusion(run: BarrierFile, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Diffusivities of interstitial and vacancy from the paths that have a rate.

    Those named in `system` alone: how many of a kind leave a site is known of them.
    """
    results: dict[str, Any] = {}
    if run.rates is None or run.system is None:
        return results
    for defect, sign in (("interstitial", INTERSTITIAL), ("vacancy", VACANCY)):
        names = [jump.name for jump in ROCK_SALT.jumps_of(sign)]
        used = [n for n in names if "prefactor_thz" in found.get(n, {})]
        used = [n for n in used if n in run.system.paths]
        if not used:
            continue
        constant = run.system.lattice_constant_angstrom
        jumps = harmonic.Jumps.of(ROCK_SALT, used, constant)
        barriers = jnp.array([found[n]["forward_ev"] for n in used])
        prefactors = jnp.array([found[n]["prefactor_thz"] for n in used])
        rows = []
        for temperature in run.rates.temperatures_kelvin:
            log_rate = jnp.log(prefactors) - barriers / (units.KB * temperature)
            rows.append(
                {
                    "temperature_kelvin": temperature,
                    "defect_diffusivity_cm2_per_s": math.exp(
                        jumps.log_diffusivity(log_rate)
                    ),
                    "activation_energy_ev": float(
                        jumps.activation_energy(log_rate, barriers)
                    ),
                }
            )
        results[defect] = {"paths": used, "rows": rows}
    return results


def _errors(
    model: Model, posterior: LastLayer | None, barrier: Barrier, system: System
) -> dict[str, float]:
    """Standard errors of both barriers that come from the model."""
    if posterior is None:
        return {}
    start, saddle, end = (
        energy_feature(model, _atoms(system, point.position))
        for point in (barrier.start, barrier.saddle, barrier.end)
    )
    return {
        "forward_model_error_ev": posterior.standard_error(saddle - start),
        "backward_model_error_ev": posterior.standard_error(saddle - end),
    }


def _atoms(system: System, position: Any) -> ase.Atoms:
    placed = dataclasses.replace(system, position=np.asarray(position), velocity=None)
    return to_ase(placed)


def _band(
    band: Band, file: Path, system: System, saddle: Relaxed | None = None
) -> dict[str, Any]:
    """Write the images, then the saddle; energies along the path, all atoms together."""
    points = [(f"image {k}", *_row(band, k)) for k in range(len(band.energy))]
    if saddle is not None:
        points.append(("saddle", saddle.position, saddle.energy, saddle.force))
    frames: list[ase.Atoms] = []
    for label, position, energy, force in points:
        atoms = _atoms(system, position)
        results = {"energy": float(energy), "forces": np.asarray(force)}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["label"] = label
        frames.append(atoms)
    with durable.replacing(file) as partial:
        ase.io.write(partial, frames, format="extxyz")
    step = np.diff(np.asarray(band.position), axis=0)
    length = np.cumsum(np.sqrt((step**2).sum(axis=(1, 2))))
    return {
        "path_length_angstrom": [0.0, *length.tolist()],
        "band_energy_ev": (np.asarray(band.energy) - float(band.energy[0])).tolist(),
        "structures": file.name,
    }


def _row(band: Band, k: int) -> tuple[Any, Any, Any]:
    return band.position[k], band.energy[k], band.force[k]


def _what_counts(run: BarrierFile) -> dict[str, Any]:
    """What decides the result of a path; more paths may be asked for later."""
    system = run.system and run.system.model_dump(mode="json", exclude={"paths"})
    counts = {"system": system, "search": run.search.model_dump(mode="json")}
    if level := what_counts(run.model):
        counts["model"] = level
    if run.error is not None:
        counts["error"] = run.error.model_dump(mode="json")
    if run.rates is not None:
        counts["rates"] = {"radius_angstrom": run.rates.radius_angstrom}
    return counts


def _earlier(folder: RunFolder, identity: dict[str, Any]) -> dict[str, dict[str, Any]]:
    path = folder.directory / RESULTS
    if not path.exists():
        return {}
    content: Any = None
    with contextlib.suppress(RecursionError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
    tables = content if isinstance(content, dict) else {}
    if not all(isinstance(tables.get(key), dict) for key in ("identity", "paths")):
        raise ValueError(
            f"{path} is damaged; move it away, and what it holds is searched for again."
        )
    before = tables["identity"]
    if "vibrations" in before:  # as [rates] was called here
        before["rates"] = before.pop("vibrations")
    folder.require_same(before, json.loads(json.dumps(identity)))
    return content["paths"]
