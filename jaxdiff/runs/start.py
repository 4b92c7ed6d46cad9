"""The replicas of a run at the start: rock salt, built or from files, or any crystal."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Bool, Float

from jaxdiff.analysis.lattice import LatticeStudy
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.structure_sites import sites_of_structure
from jaxdiff.lattice.charges import charge
from jaxdiff.lattice.lithium_fluoride import rock_salt
from jaxdiff.runs import memory
from jaxdiff.runs.displacements import WITHOUT
from jaxdiff.runs.sites import MAXIMA
from jaxdiff.system import System, read_structure, read_structures

_VACANCIES = 3  # a purpose of random numbers

_KEYS = {
    "--network": "hops.network",
    "--mobile": "system.mobile",
    "--charge": "system.mobile_charge",
    "--core-radius-angstrom": "hops.core_radius_angstrom",
    "--dwell-frames": "hops.dwell_strides",
    "--temperature-kelvin": "ensemble.temperatures_kelvin",
}


def in_keys(message: str) -> str:
    """A sentence on options of `jaxdiff analyze`, on the keys of a run file."""
    for option, key in _KEYS.items():
        message = re.sub(rf"{option}(?![\w-])", key, message)
    return message


def systems(run: RunFile) -> list[System]:
    """One for each replica of the study, all of the same atoms in the same order.

    Raises `ValueError` where the files do not fit, or the machine is too small.
    """
    section = run.system
    if section.supercell is None:
        found = _any_crystal(run)
    elif section.structure_files:
        _require_own_defects(run)
        memory.require_room(run, 8 * math.prod(section.supercell))
        found = _of_files(run)
        _require_cells(run, found)
    else:
        atoms = 8 * math.prod(section.supercell) + section.interstitials
        memory.require_room(run, atoms)
        found = [
            rock_salt(
                section.supercell,
                float(constant),
                interstitials=section.interstitials,
                vacancies=section.vacancies,
                frenkel_pairs=section.frenkel_pairs,
                seed=run.ensemble.seed,
                replica=replica,
            )
            for replica, constant in enumerate(lattice_constants(run))
        ]
    _require_same_atoms(run, found)
    if section.keep_velocities:
        _require_independent(velocities(found), np.asarray(found[0].mass))
    return found


def is_mobile(run: RunFile, system: System) -> Bool[np.ndarray, " atoms"]:
    """Which atoms are of the element that moves; some are, and some are not."""
    element = run.system.mobile
    if element not in atomic_numbers or element == "X":
        raise ValueError(
            f"system.mobile = {element!r} is no element; give a symbol such as Li."
        )
    found = np.asarray(system.atomic_number) == atomic_numbers[element]
    symbols = ", ".join(chemical_symbols[z] for z in np.unique(system.atomic_number))
    if not found.any() or found.all():
        raise ValueError(
            f"system.mobile = {element!r}, but the atoms of the structure are {symbols}; "
            "give the element that moves, in a crystal of others."
        )
    return found


def _of_files(run: RunFile) -> list[System]:
    """One for each replica, as the files have them."""
    first, *others = run.system.structure_files
    if others:
        return [read_structure(path) for path in (first, *others)]
    found, n = read_structures(first), run.n_all_replicas
    return found if len(found) == n else found[-1:] * n


def _require_own_defects(run: RunFile) -> None:
    """Rock salt of files has the defects that are in them, and no others."""
    for name in ("vacancies", "frenkel_pairs"):
        if number := getattr(run.system, name):
            raise ValueError(
                f"system.{name} = {number}, but the structures of system.structure_files "
                "have their defects already; leave it out, or leave "
                "system.structure_files out, so that the crystal is built."
            )


def _require_same_atoms(run: RunFile, found: list[System]) -> None:
    for replica, system in enumerate(found):
        if not np.array_equal(system.atomic_number, found[0].atomic_number):
            raise ValueError(
                f"system.structure_files: the structure of replica {replica} does not have "
                "the same atoms in the same order as the first; replicas of one run must."
            )


def _require_cells(run: RunFile, found: list[System]) -> None:
    """Cells of files are those of rock salt that the run file gives."""
    section = run.system
    assert section.supercell is not None  # for the type checker
    for replica, constant in enumerate(lattice_constants(run)):
        cell = float(constant) * np.diag(np.asarray(section.supercell, float))
        if not np.allclose(found[replica].cell, cell, atol=1e-3):
            files = section.structure_files
            raise ValueError(
                f"{files[replica % len(files)]} has the cell "
                f"{np.asarray(found[replica].cell).tolist()} Å, but system.supercell and "
                f"system.lattice_constant_angstrom make {cell.tolist()} Å; set them to "
                "those of the file, or leave system.supercell out where the crystal is "
                "not rock salt."
            )


def _any_crystal(run: RunFile) -> list[System]:
    """As the files have it, repeated, less the vacancies."""
    section, found = run.system, _of_files(run)
    memory.require_room(run, found[0].n_atoms * math.prod(section.repeat))
    if not all(all(system.periodic) for system in found):
        raise ValueError(
            f"{section.structure_files[0]} is not periodic in all directions; diffusion is "
            "that of a crystal: give a cell."
        )
    is_mobile(run, found[0])
    try:
        charge(section.mobile, section.mobile_charge)
    except ValueError as error:
        raise ValueError(in_keys(str(error))) from None
    whole = [_repeated(system, section.repeat) for system in found]
    _require_sites(run, whole[0])
    return [_without(system, run, replica) for replica, system in enumerate(whole)]


def _require_sites(run: RunFile, system: System) -> None:
    """The file of `hops.network` fits the crystal, before anything runs."""
    network = run.hops.network
    if network in (WITHOUT, MAXIMA):
        return
    host = ~is_mobile(run, system)
    cell, place = np.asarray(system.cell), np.asarray(system.position)
    place = (place @ np.linalg.inv(cell))[host]
    number = np.asarray(system.atomic_number)[host]
    try:
        sites_of_structure(Path(network), run.system.mobile, cell, place, number)
    except ValueError as error:
        raise ValueError(in_keys(str(error))) from None


def _repeated(system: System, repeats: tuple[int, int, int]) -> System:
    """The atoms of the cell, then those of its images, the last axis first."""
    cell = np.asarray(system.cell)
    image = np.indices(repeats).reshape(3, -1).T
    n, velocity = len(image), system.velocity
    return dataclasses.replace(
        system,
        atomic_number=np.tile(system.atomic_number, n),
        mass=np.tile(system.mass, n),
        position=(np.asarray(system.position) + (image @ cell)[:, None]).reshape(-1, 3),
        velocity=None if velocity is None else np.tile(velocity, (n, 1)),
        cell=cell * np.array(repeats)[:, None],
    )


def _without(system: System, run: RunFile, replica: int) -> System:
    """Mobile atoms taken away, drawn with the seed for each replica alone.

    The others keep their order, and elements theirs, so that replicas are alike.
    """
    removed = run.system.vacancies
    if not removed:
        return system
    mobile = np.flatnonzero(is_mobile(run, system))
    if removed >= len(mobile):
        raise ValueError(
            f"system.vacancies = {removed}, but the cell has {len(mobile)} atoms of "
            f"{run.system.mobile}; give fewer, or a larger system.repeat."
        )
    draw = np.random.default_rng([run.ensemble.seed, replica, _VACANCIES])
    gone = draw.choice(mobile, removed, replace=False)
    place = np.delete(mobile, np.searchsorted(mobile, np.sort(gone)))
    order = np.arange(system.n_atoms)
    order[mobile[: len(place)]] = place  # they close up, over atoms of their element
    kept = np.delete(order, mobile[len(place) :])
    velocity = system.velocity
    return dataclasses.replace(
        system,
        atomic_number=np.asarray(system.atomic_number)[kept],
        mass=np.asarray(system.mass)[kept],
        position=np.asarray(system.position)[kept],
        velocity=None if velocity is None else np.asarray(velocity)[kept],
    )


def lattice_constants(run: RunFile) -> np.ndarray:
    """Of all replicas of the study, Å; not a number where it is not rock salt."""
    section = run.system
    temperatures = run.ensemble.temperatures_kelvin
    if section.supercell is None:
        return np.full(run.n_all_replicas, np.nan)
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


def velocities(systems: list[System]) -> Float[np.ndarray, "replicas atoms 3"]:
    """Those of the files. Raises `ValueError` where one has none."""
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
