"""Elementary jumps of Li in rock salt: the two ends of each, by name.

The interstitial Li sits at a tetrahedral (8c) site. In the first three paths it pushes a
lattice Li to another tetrahedral site and takes its place, so that two atoms move
(interstitialcy); they differ in the angle between the two displacements.
"""

import dataclasses
import types
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.crystal import (
    LITHIUM_FLUORIDE_LATTICE,
    Supercell,
    rock_salt,
    rock_salt_interstitial,
)
from jaxdiff.system import LITHIUM, System

KICKS: Mapping[str, tuple[int, int, int]] = types.MappingProxyType(
    {
        "collinear": (-1, -1, -1),
        "noncollinear_1": (-1, -1, 1),
        "noncollinear_2": (-1, 1, 1),
    }
)
"""Where the lattice Li goes: the interstitial's displacement from it, times these signs."""

INTERSTITIAL = (*KICKS, "direct")
NAMES = (*INTERSTITIAL, "vacancy")

LENGTHS: Mapping[str, float] = types.MappingProxyType(
    {
        "collinear": 3**0.5 / 2,
        "noncollinear_1": 0.5**0.5,
        "noncollinear_2": 0.5,
        "direct": 0.5,
        "vacancy": 0.5**0.5,
    }
)
"""How far the defect goes, in lattice constants."""

MULTIPLICITIES: Mapping[str, int] = types.MappingProxyType(
    {
        "collinear": 4,
        "noncollinear_1": 12,
        "noncollinear_2": 12,
        "direct": 6,
        "vacancy": 12,
    }
)
"""How many ways of a kind lead away from a site: over each of the lattice Li around it."""


@dataclasses.dataclass(frozen=True)
class Path:
    """The two ends of a jump, not relaxed, atoms in one order: [atoms, 3], Å."""

    name: str
    system: System
    first: Float[Array, "atoms 3"]
    last: Float[Array, "atoms 3"]


def lithium_path(
    name: str,
    supercell: Supercell,
    lattice_constant: float = LITHIUM_FLUORIDE_LATTICE,
) -> Path:
    """One of `NAMES` in LiF; the atoms that move lie in the middle of the cell's images.

    - "collinear", "noncollinear_1", "noncollinear_2": interstitialcies; the defect goes
      √3a/2, a/√2, a/2.
    - "direct": the interstitial goes to the next tetrahedral site itself, a/2.
    - "vacancy": a lattice Li goes into the vacancy beside it, a/√2.
    """
    if name not in NAMES:
        raise ValueError(f"there is no path {name!r}; there are {', '.join(NAMES)}.")
    if name == "vacancy":
        return _vacancy(supercell, lattice_constant)
    system = rock_salt_interstitial(supercell, lattice_constant)
    first = np.array(system.position)
    is_lithium = np.asarray(system.atomic_number) == LITHIUM
    interstitial = int(np.flatnonzero(is_lithium)[-1])
    last = first.copy()
    if name == "direct":
        last[interstitial] += [lattice_constant / 2, 0, 0]
    else:
        lattice, away = _nearest(
            first, system.cell, np.flatnonzero(is_lithium)[:-1], interstitial
        )
        last[interstitial] -= away
        last[lattice] += away * KICKS[name]
    return Path(name, system, jnp.asarray(first), jnp.asarray(last))


def _vacancy(supercell: Supercell, lattice_constant: float) -> Path:
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
    return Path("vacancy", system, jnp.asarray(system.position), jnp.asarray(last[kept]))


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
