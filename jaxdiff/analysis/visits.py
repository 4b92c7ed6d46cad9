"""Hops between sites of any crystal, by cores and dwell: no defects, any occupancy.

An atom has arrived at a site once it was within its core for some frames in a row, and
stays until it arrives at another one: what comes back without arriving is no hop.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.lattice.sites import Sites

_CORE_SHARE = 0.45  # of the distance to the next site, so that cores do not meet
_CHUNK_FRAMES = 256


@dataclasses.dataclass(frozen=True)
class Hops:
    """Arrivals of atoms at new sites in one trajectory, by atom and then by time.

    - `atom`, `frame`, `start`, `end` [H]: who arrived, when, from which site, at which.
    - `stay` [V], frames, of visits to `stay_site` [V]; `ended` [V]: by a hop.
    - `returns` [H]: back to where the atom was before its last hop.
    - `n_atoms`, `n_frames`: followed. `in_core`: share of atoms and frames within a core.
      `doubly`: share of frames with two atoms in one core.
    - `occupancy` [S]: mean number of atoms that have the site as their last.
    """

    atom: Int[np.ndarray, " hops"]
    frame: Int[np.ndarray, " hops"]
    start: Int[np.ndarray, " hops"]
    end: Int[np.ndarray, " hops"]
    returns: Bool[np.ndarray, " hops"]
    stay: Int[np.ndarray, " visits"]
    stay_site: Int[np.ndarray, " visits"]
    ended: Bool[np.ndarray, " visits"]
    n_atoms: int
    n_frames: int
    in_core: float
    doubly: float
    occupancy: Float[np.ndarray, " sites"]


def find_hops(
    sites: Sites,
    fraction: Float[np.ndarray, "frames mobile 3"],
    *,
    core_radius: float,
    dwell_frames: int,
) -> Hops:
    """Follow every mobile atom.

    - `fraction`: places in the cell of `sites`. `core_radius`, Å: the largest; cores of
      near sites are smaller.
    """
    n_frames, n_atoms, _ = fraction.shape
    core = np.minimum(core_radius, _CORE_SHARE * sites.spacing)
    inside = np.empty((n_frames, n_atoms), int)
    for first in range(0, n_frames, _CHUNK_FRAMES):
        part = fraction[first : first + _CHUNK_FRAMES]
        apart, number = (found[:, 0] for found in sites.nearest(part.reshape(-1, 3)))
        visited = np.where(apart < core[number], number, -1)
        inside[first : first + len(part)] = visited.reshape(len(part), n_atoms)
    every = [_visits(inside[:, atom], dwell_frames) for atom in range(n_atoms)]
    occupancy = np.zeros(len(sites.fraction))
    columns: list[list[np.ndarray]] = [[] for _ in range(8)]
    for atom, (site, frame) in enumerate(every):
        if len(site) == 0:
            continue
        stay = np.diff(np.append(frame, n_frames))
        np.add.at(occupancy, site, stay)
        back = np.concatenate([[False], site[2:] == site[:-2]])[: len(site) - 1]
        ended = np.arange(len(site)) < len(site) - 1
        found = (np.full(len(site) - 1, atom), frame[1:], site[:-1], site[1:], back)
        for column, values in zip(columns, (*found, stay, site, ended), strict=True):
            column.append(values)
    kinds = (int, int, int, int, bool, int, int, bool)
    joined = [
        np.concatenate(c).astype(k) if c else np.zeros(0, k)
        for c, k in zip(columns, kinds, strict=True)
    ]
    return Hops(
        *joined,
        n_atoms=n_atoms,
        n_frames=n_frames,
        in_core=float((inside >= 0).mean()),
        doubly=float(np.mean([_doubly(row) for row in inside])),
        occupancy=occupancy / n_frames,
    )


def _visits(
    inside: Int[np.ndarray, " frames"], dwell: int
) -> tuple[Int[np.ndarray, " visits"], Int[np.ndarray, " visits"]]:
    """Sites in their order, and the frames of arrival: the first of `dwell` in a core.

    The first visit is taken to have begun with the trajectory.
    """
    change = np.flatnonzero(np.diff(inside)) + 1
    first = np.concatenate([[0], change])
    length = np.diff(np.append(first, len(inside)))
    arrived = (inside[first] >= 0) & (length >= dwell)
    site, frame = inside[first][arrived], first[arrived]
    new = np.concatenate([[True], np.diff(site) != 0])[: len(site)]
    site, frame = site[new], frame[new].copy()
    frame[:1] = 0
    return site, frame


def _doubly(row: Int[np.ndarray, " atoms"]) -> bool:
    known = row[row >= 0]
    return len(np.unique(known)) < len(known)
