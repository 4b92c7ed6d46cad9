"""The two ends of each jump in the table of rock salt, built of LiF."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.lattice.jumps import VACANCY
from jaxdiff.lattice.lithium_fluoride import (
    LITHIUM_FLUORIDE_LATTICE,
    Repeats,
    rock_salt,
    rock_salt_interstitial,
)
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.system import LITHIUM, System

NAMES = tuple(jump.name for jump in ROCK_SALT.jumps)


@dataclasses.dataclass(frozen=True)
class Path:
    """The two ends of a jump, not relaxed, atoms in one order: [atoms, 3], Å."""

    name: str
    system: System
    first: Float[Array, "atoms 3"]
    last: Float[Array, "atoms 3"]


def lithium_path(
    name: str,
    supercell: Repeats,
    lattice_constant: float = LITHIUM_FLUORIDE_LATTICE,
) -> Path:
    """A jump of `ROCK_SALT` in LiF; what moves lies in the middle of the cell's images."""
    jump = ROCK_SALT.jump(name)
    if jump.sign == VACANCY:
        return _vacancy(name, supercell, lattice_constant)
    system = rock_salt_interstitial(supercell, lattice_constant)
    first = np.array(system.position)
    is_lithium = np.asarray(system.atomic_number) == LITHIUM
    interstitial = int(np.flatnonzero(is_lithium)[-1])
    last = first.copy()
    steps = np.array(jump.steps)
    if len(steps) == 1:
        last[interstitial] += lattice_constant / ROCK_SALT.edge * steps[0]
    else:
        lattice, away = _nearest(
            first, system.cell, np.flatnonzero(is_lithium)[:-1], interstitial
        )
        last[interstitial] -= away
        last[lattice] -= away * (steps[1] / steps[0])
    return Path(name, system, jnp.asarray(first), jnp.asarray(last))


def _vacancy(name: str, supercell: Repeats, lattice_constant: float) -> Path:
    """The missing Li is that of a perfect crystal's first; its neighbour fills the gap."""
    perfect = rock_salt(supercell, lattice_constant)
    kept = np.arange(perfect.n_atoms) != 0
    system = dataclasses.replace(
        perfect,
        atomic_number=perfect.atomic_number[kept],
        mass=perfect.mass[kept],
        position=perfect.position[kept],
    )
    lithium = 1 + np.flatnonzero(np.asarray(perfect.atomic_number[1:]) == LITHIUM)
    jumper, away = _nearest(perfect.position, perfect.cell, lithium, 0)
    last = perfect.position.copy()
    last[jumper] += away
    return Path(name, system, jnp.asarray(system.position), jnp.asarray(last[kept]))


def _nearest(
    position: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    candidates: np.ndarray,
    center: int,
) -> tuple[int, Float[np.ndarray, "3"]]:
    """The candidate next to an atom, and the vector from it to the atom's nearest image."""
    away = position[center] - position[candidates]
    away = away - np.round(away @ np.linalg.inv(cell)) @ cell
    chosen = int(np.argmin((away**2).sum(axis=1)))
    return int(candidates[chosen]), away[chosen]
