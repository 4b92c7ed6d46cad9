"""Hops of one interstitial cation in rock salt, counted on the device frame by frame.

Every cation remembers the last site (4a or 8c, `sites`) whose core it visited for a few
frames in a row (core sets: doi:10.1063/1.3590108). A frame is *valid* when exactly one
cation is on an 8c site and no 4a site is doubly occupied; the defect is that 8c site. A
*hop* is a change of the defect site from one valid frame to the next valid one. Its vector
is the sum of the site displacements of all cations, exact and without minimum images: the
rest of the lattice is the same before and after. Times are late by `dwell_frames - 1`.
A frame is *in transit* when two cations are on the 8c sites beside one vacant 4a site: one
has pushed the other out, and has not taken its place yet.

Positions are registered on the mean displacement of the anions, so a drift of the crystal
is not motion. Memory is O(N), no trajectory is kept, nothing touches the host: `observe`
may be scanned over frames and vmapped over replicas.
"""

from dataclasses import replace
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.observables import sites
from jaxdiff.observables.counts import (
    UNITS,
    HopCounts,
    add_change,
    as_count,
    no_counts,
    zeroed,
)


@flax.struct.dataclass
class HopSettings:
    """What the detector needs to know of the crystal and of time; all static.

    - `lattice_constant`: a of the conventional cubic cell, Å.
    - `supercell`: conventional cells along x, y, z.
    - `core_radius`, Å: a cation this near to a site has arrived; below √3a/8.
    - `dwell_frames`: frames in a row inside the core before the new site counts.
    - `log_capacity`: events kept per replica; later ones are only counted.
    - `anion_radius`, a: an anion further from its site than this is displaced. Thermal
      motion stays below 0.3 a, an anion on an interstitial site is at 0.43 a.
    """

    lattice_constant: float = flax.struct.field(pytree_node=False)
    supercell: tuple[int, int, int] = flax.struct.field(pytree_node=False)
    core_radius: float = flax.struct.field(pytree_node=False, default=0.77)
    dwell_frames: int = flax.struct.field(pytree_node=False, default=3)
    log_capacity: int = flax.struct.field(pytree_node=False, default=512)
    anion_radius: float = flax.struct.field(pytree_node=False, default=0.35)

    def __post_init__(self) -> None:
        """Refuse a core that overlaps its neighbour, and empty counts."""
        limit = sites.CATION_TO_TETRAHEDRAL / 2 * self.lattice_constant / 4
        if not 0 < self.core_radius < limit:
            raise ValueError(
                f"core_radius={self.core_radius} Å must be positive and below √3a/8 = "
                f"{limit:.3f} Å, where the cores of neighbouring sites meet; 0.77 Å is "
                "validated for LiF."
            )
        if len(self.supercell) != 3 or min(self.supercell) < 2:
            raise ValueError(
                f"supercell={self.supercell} must be three numbers of at least 2: in one "
                "cell the interstitial is a neighbour of its own image."
            )
        if min(self.dwell_frames, self.log_capacity) < 1:
            raise ValueError(f"dwell_frames and log_capacity must be at least 1: {self}.")


@flax.struct.dataclass
class HopMemory:
    """Where the atoms were last seen; kept by `reset`. Sites are unwrapped, a/4, int32.

    - `mobile_index` [M], `anion_index` [X]: rows of `position`.
    - `anion_site` [X, 3]: fixed at the start; they define origin and drift.
    - `site` [M, 3]: last core visited. `candidate` [M, 3], `dwell` [M]: the core now
      visited, if it is another one, and for how many frames.
    - `defect_known` []: whether a valid frame was seen. `reference_site` [M, 3]: `site` in
      the last valid frame. `defect_site` [3]: path of the defect, the sum of its jumps.
    - `previous_jump` [3]: zero before the first hop.
    """

    mobile_index: Any
    anion_index: Any
    anion_site: Any
    site: Any
    candidate: Any
    dwell: Any
    defect_known: Any
    reference_site: Any
    defect_site: Any
    previous_jump: Any


@flax.struct.dataclass
class HopState:
    """State of the detector for one replica: `memory` and `counts`."""

    memory: HopMemory
    counts: HopCounts


def initialize(
    settings: HopSettings,
    position: Float[Array, "atoms 3"],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> HopState:
    """State at the first frame, with all counters at zero.

    - `position`, Å: thermal motion and any origin are allowed; unwrapped from here on.
    - `is_mobile`: true for cations, false for anions; a host array, not traced.
    """
    mobile = np.asarray(is_mobile, dtype=bool)
    mobile_index, anion_index = np.flatnonzero(mobile), np.flatnonzero(~mobile)
    n_site = 4 * int(np.prod(settings.supercell))
    if len(anion_index) != n_site:
        raise ValueError(
            f"{len(anion_index)} anions, but supercell={settings.supercell} has {n_site} "
            "anion sites. Give the supercell of the conventional (8-atom) cell and mark "
            "the cations, and only them, in is_mobile."
        )
    origin = sites.lattice_origin(position, ~mobile, settings.lattice_constant)
    scaled = (position - origin[None, :]) * (4 / settings.lattice_constant)
    site = sites.nearest_site(scaled[mobile_index])
    memory = HopMemory(
        mobile_index=jnp.asarray(mobile_index, jnp.int32),
        anion_index=jnp.asarray(anion_index, jnp.int32),
        anion_site=sites.nearest_anion_site(scaled[anion_index]),
        site=site,
        candidate=site,
        dwell=jnp.zeros(len(mobile_index), jnp.int32),
        defect_known=jnp.asarray(False),
        reference_site=site,
        defect_site=jnp.zeros(3, jnp.int32),
        previous_jump=jnp.zeros(3, jnp.int32),
    )
    return HopState(memory=memory, counts=no_counts(settings.log_capacity, position.dtype))


def reset(state: HopState) -> HopState:
    """The same memory with all counters at zero: the start of production."""
    return replace(state, counts=zeroed(state.counts))


def counters(state: HopState) -> dict[str, Array]:
    """All counters by name, in the order of `UNITS`; any leading axes."""
    return {name: getattr(state.counts, name) for name in UNITS}


def observe(
    settings: HopSettings,
    state: HopState,
    position: Float[Array, "atoms 3"],
    frame_index: Int[Array, ""] | int,
) -> HopState:
    """The state after one more frame.

    - `position`, Å: unwrapped, same order of atoms as in `initialize`.
    - `frame_index`: number of this frame; it is what the log and `first_hop_frame` hold.
    """
    memory, counts = state.memory, state.counts
    scaled, anion_displaced = _register(settings, memory, position)
    memory = _visit(settings, memory, scaled)
    n_tetrahedral, valid, in_transit = _occupation(settings, memory.site)
    known = memory.defect_known | valid
    again = memory.defect_known & valid
    step = jnp.where(again, memory.site - memory.reference_site, 0)
    counts = replace(
        counts,
        frames=counts.frames + 1,
        exposure_frames=counts.exposure_frames + as_count(known),
        undefined_frames=counts.undefined_frames + as_count(~valid),
        transit_frames=counts.transit_frames + as_count(in_transit),
        frenkel_frames=counts.frenkel_frames + as_count(n_tetrahedral > 1),
        anion_displaced_frames=counts.anion_displaced_frames + as_count(anion_displaced),
    )
    counts = add_change(
        counts,
        memory.defect_site,
        memory.previous_jump,
        step,
        jnp.asarray(frame_index, jnp.int32),
    )
    jump = jnp.sum(step, axis=0, dtype=jnp.int32)
    first = valid & ~memory.defect_known
    defect = memory.site[jnp.argmax(sites.is_tetrahedral(memory.site))]
    memory = replace(
        memory,
        defect_known=known,
        reference_site=jnp.where(valid, memory.site, memory.reference_site),
        defect_site=jnp.where(first, defect, memory.defect_site + jump),
        previous_jump=jnp.where(jnp.any(jump != 0), jump, memory.previous_jump),
    )
    return HopState(memory=memory, counts=counts)


def _register(
    settings: HopSettings, memory: HopMemory, position: Float[Array, "atoms 3"]
) -> tuple[Float[Array, "mobile 3"], Bool[Array, ""]]:
    """Cations relative to the framework, a/4, and whether an anion has left its site."""
    scaled = position * (4 / settings.lattice_constant)
    deviation = scaled[memory.anion_index] - memory.anion_site.astype(scaled.dtype)
    origin = jnp.mean(deviation, axis=0, keepdims=True)
    furthest = jnp.max(jnp.sum((deviation - origin) ** 2, axis=-1))
    return scaled[memory.mobile_index] - origin, furthest > (4 * settings.anion_radius) ** 2


def _visit(
    settings: HopSettings, memory: HopMemory, scaled: Float[Array, "mobile 3"]
) -> HopMemory:
    """Move an atom to a new site once it was in its core for `dwell_frames` in a row."""
    nearest = sites.nearest_site(scaled)
    core = (4 * settings.core_radius / settings.lattice_constant) ** 2
    away = jnp.any(nearest != memory.site, axis=-1)
    visiting = away & (sites.squared_distance(scaled, nearest) < core)
    same = jnp.all(nearest == memory.candidate, axis=-1)
    dwell = jnp.where(visiting, jnp.where(same, memory.dwell + 1, 1), 0)
    arrived = dwell >= settings.dwell_frames
    return replace(
        memory,
        site=jnp.where(arrived[:, None], nearest, memory.site),
        candidate=jnp.where(visiting[:, None], nearest, memory.candidate),
        dwell=jnp.where(arrived, 0, dwell),
    )


def _occupation(
    settings: HopSettings, site: Int[Array, "mobile 3"]
) -> tuple[Int[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
    """Number of cations on 8c, whether the frame is valid, whether it is in transit."""
    shape = tuple(2 * n for n in settings.supercell)  # places of 4a and 4b sites
    _, n_y, n_z = shape
    tetrahedral = sites.is_tetrahedral(site)
    x, y, z = (site[:, k] // 2 % n for k, n in enumerate(shape))
    place = jnp.where(tetrahedral, np.prod(shape), (x * n_y + y) * n_z + z)
    occupants = jnp.zeros(np.prod(shape), jnp.int32).at[place].add(1, mode="drop")
    single = jnp.max(occupants) <= 1
    n_tetrahedral = jnp.sum(tetrahedral, dtype=jnp.int32)

    index = np.array(list(np.ndindex(*shape)), np.int32)
    is_cation_site = index.sum(axis=1) % 2 == 0
    vacant = 2 * jnp.asarray(index)[jnp.argmax(is_cation_site & (occupants == 0))]
    edge = 2 * np.array(shape, np.int32)  # of the supercell, a/4
    apart = (site - vacant[None] + 1) % edge[None] - 1
    beside = tetrahedral & jnp.all(jnp.abs(apart) == 1, axis=-1)
    pushed = jnp.sum(beside, dtype=jnp.int32) == 2
    in_transit = single & (n_tetrahedral == 2) & pushed
    return n_tetrahedral, single & (n_tetrahedral == 1), in_transit
