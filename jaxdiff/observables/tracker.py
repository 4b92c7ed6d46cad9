"""Sites of all cations of a crystal, followed on the device frame by frame.

Every cation remembers the last site of the network whose core it visited for a few frames
in a row (core sets: doi:10.1063/1.3590108). Each change of site goes into a log,
and the log is all that leaves the device: with the sites at the start it holds the whole
history, from which `analysis.defects` reads hops, their classes and their times. Times are
late by `dwell_frames - 1`.

Positions are registered on the mean displacement of the anions, so a drift of the crystal
is not motion. Memory is O(N), no trajectory is kept, nothing touches the host: `observe`
may be scanned over frames and vmapped over replicas. The logs are rings: the host reads
what is new after each chunk (`new_entries`).
"""

from dataclasses import replace
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.lattice.network import SiteNetwork
from jaxdiff.lattice.supercell import Supercell


@flax.struct.dataclass
class SiteSettings:
    """When a cation has changed its site; all static.

    - `core_radius`, Å: a cation this near to a site has arrived; less than half the
      distance of neighbouring sites.
    - `dwell_frames`: frames in a row inside the core before the new site counts.
    - `log_capacity`: changes of site kept per replica until the host has read them.
    - `crossing_capacity`: likewise for frames kept at the crossing between two sites; 0:
      no frames are kept.
    - `anion_radius`, lattice constants: an anion further from its site than this is
      displaced. In rock salt thermal motion stays below 0.3, an anion on an interstitial
      site is at 0.43.
    """

    core_radius: float = flax.struct.field(pytree_node=False, default=0.77)
    dwell_frames: int = flax.struct.field(pytree_node=False, default=3)
    log_capacity: int = flax.struct.field(pytree_node=False, default=512)
    crossing_capacity: int = flax.struct.field(pytree_node=False, default=0)
    anion_radius: float = flax.struct.field(pytree_node=False, default=0.35)

    def __post_init__(self) -> None:
        """Refuse empty counts."""
        if min(self.dwell_frames, self.log_capacity) < 1 or self.crossing_capacity < 0:
            raise ValueError(f"dwell_frames and log_capacity must be at least 1: {self}.")

    @property
    def recent_frames(self) -> int:
        """Frames among which the crossing is looked for once a cation has arrived."""
        return self.dwell_frames + 6


@flax.struct.dataclass
class ChangeLog:
    """Changes of site, a ring: entry n is in row n modulo the capacity; -1 where unused.

    - `count` []: changes so far. `frame` [C], `cation` [C] (index among the cations),
      `site` [C, L]: the one arrived at, as the network labels it.
    """

    count: Int[Any, "*replicas"]
    frame: Int[Any, "*replicas entries"]
    cation: Int[Any, "*replicas entries"]
    site: Int[Any, "*replicas entries label"]


@flax.struct.dataclass
class CrossingLog:
    """Frames at the crossing between two sites, a ring like `ChangeLog`.

    - `recent_position` [K, N, 3], Å, and `recent_origin` [K, 3], network units: of the last
      frames.
    - `count` []; `frame` [C]: of the configuration; `cation` [C]; `site` [C, L]: to which
      it went; `position` [C, N, 3], Å, single precision.
    """

    recent_position: Float[Any, "*replicas recent atoms 3"]
    recent_origin: Float[Any, "*replicas recent 3"]
    recent_frame: Int[Any, "*replicas recent"]
    count: Int[Any, "*replicas"]
    frame: Int[Any, "*replicas entries"]
    cation: Int[Any, "*replicas entries"]
    site: Int[Any, "*replicas entries label"]
    position: Float[Any, "*replicas entries atoms 3"]


@flax.struct.dataclass
class SiteState:
    """State of the tracker for one replica. Sites are unwrapped labels [L], int32.

    - `mobile_index` [M], `anion_index` [X]: rows of `position`.
    - `to_sites` [3, 3]: position, Å, to network units. Replace it where the cell varies.
    - `anion_site` [X, L]: fixed at the start; they define origin and drift.
    - `site` [M, L]: last core visited. `candidate` [M, L], `dwell` [M]: the core now
      visited, if it is another one, and for how many frames.
    - `frames` []: observed. `anion_displaced_frames` []: with an anion off its site.
    - `changes`: the log. `crossings`: the log of frames, or None. `network`: what labels
      mean; static.
    """

    mobile_index: Int[Any, "*replicas mobile"]
    anion_index: Int[Any, "*replicas anions"]
    to_sites: Float[Any, "*replicas 3 3"]
    anion_site: Int[Any, "*replicas anions label"]
    site: Int[Any, "*replicas mobile label"]
    candidate: Int[Any, "*replicas mobile label"]
    dwell: Int[Any, "*replicas mobile"]
    frames: Int[Any, "*replicas"]
    anion_displaced_frames: Int[Any, "*replicas"]
    changes: ChangeLog
    crossings: CrossingLog | None
    network: SiteNetwork = flax.struct.field(pytree_node=False)


def initialize(
    settings: SiteSettings,
    supercell: Supercell,
    cell: Float[np.ndarray, "3 3"],
    position: Float[Array, "atoms 3"],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> SiteState:
    """State at the first frame, with empty logs.

    - `cell`, Å: lattice vectors as rows, in the order of the supercell's.
    - `position`, Å: thermal motion and any origin are allowed; unwrapped from here on.
    - `is_mobile`: true for cations, false for anions; a host array, not traced.
    """
    mobile = np.asarray(is_mobile, dtype=bool)
    mobile_index, anion_index = np.flatnonzero(mobile), np.flatnonzero(~mobile)
    network = supercell.network
    if len(anion_index) != supercell.n_host:
        raise ValueError(
            f"{len(anion_index)} host atoms (all but the mobile ones), but the supercell "
            f"has {supercell.n_host} host sites of {network.title}. Give the supercell "
            "that the cell was built from, and the element of all mobile atoms."
        )
    to_sites = jnp.asarray(supercell.to_sites(cell), position.dtype)
    _check_core(settings, network, to_sites)
    scaled = _in_units(position, to_sites)
    scaled = scaled - network.origin(scaled, ~mobile)[None]
    site = network.nearest(scaled[mobile_index])
    return SiteState(
        mobile_index=jnp.asarray(mobile_index, jnp.int32),
        anion_index=jnp.asarray(anion_index, jnp.int32),
        to_sites=to_sites,
        anion_site=network.nearest(scaled[anion_index], host=True),
        site=site,
        candidate=site,
        dwell=jnp.zeros(len(mobile_index), jnp.int32),
        frames=jnp.zeros((), jnp.int32),
        anion_displaced_frames=jnp.zeros((), jnp.int32),
        changes=_no_changes(settings, site.shape[-1]),
        crossings=_no_crossings(settings, position, site.shape[-1]),
        network=network,
    )


def _check_core(
    settings: SiteSettings, network: SiteNetwork, to_sites: Float[Array, "3 3"]
) -> None:
    """Refuse a core that overlaps its neighbour."""
    limit = network.shortest_edge / 2 / float(_per_angstrom(to_sites))
    if not 0 < settings.core_radius < limit:
        raise ValueError(
            f"core_radius={settings.core_radius} Å must be positive and below "
            f"{network.core_limit} = {limit:.3f} Å, where the cores of neighbouring sites "
            "meet."
        )


def _in_units(
    position: Float[Array, "rows 3"], to_sites: Float[Array, "3 3"]
) -> Float[Array, "rows 3"]:
    """Positions in units of the network; a sum, for a TPU has no product in float64."""
    return jnp.sum(position[..., None] * to_sites[None], axis=1)


def _per_angstrom(to_sites: Float[Array, "3 3"]) -> Float[Array, ""]:
    """Network units per Å."""
    return jnp.abs(jnp.linalg.det(to_sites)) ** (1 / 3)


def _no_changes(settings: SiteSettings, width: int) -> ChangeLog:
    n = settings.log_capacity
    unused, site = jnp.full(n, -1, jnp.int32), jnp.full((n, width), -1, jnp.int32)
    return ChangeLog(jnp.zeros((), jnp.int32), unused, unused, site)


def _no_crossings(
    settings: SiteSettings, position: Float[Array, "atoms 3"], width: int
) -> CrossingLog | None:
    n, m = settings.crossing_capacity, settings.recent_frames
    if n == 0:
        return None
    unused = jnp.full(n, -1, jnp.int32)
    return CrossingLog(
        recent_position=jnp.broadcast_to(position, (m, *position.shape)),
        recent_origin=jnp.full((m, 3), jnp.nan, position.dtype),  # no frame seen yet
        recent_frame=jnp.full(m, -1, jnp.int32),
        count=jnp.zeros((), jnp.int32),
        frame=unused,
        cation=unused,
        site=jnp.full((n, width), -1, jnp.int32),
        position=jnp.zeros((n, *position.shape), jnp.float32),
    )


def reset(state: SiteState) -> SiteState:
    """The same sites with empty logs: the start of production; any leading axes."""
    changes, crossings = state.changes, state.crossings
    changes = replace(
        changes,
        count=jnp.zeros_like(changes.count),
        frame=jnp.full_like(changes.frame, -1),
        cation=jnp.full_like(changes.cation, -1),
        site=jnp.full_like(changes.site, -1),
    )
    if crossings is not None:
        crossings = replace(
            crossings,
            recent_origin=jnp.full_like(crossings.recent_origin, jnp.nan),
            count=jnp.zeros_like(crossings.count),
            frame=jnp.full_like(crossings.frame, -1),
        )
    return replace(
        state,
        frames=jnp.zeros_like(state.frames),
        anion_displaced_frames=jnp.zeros_like(state.anion_displaced_frames),
        changes=changes,
        crossings=crossings,
    )


def observe(
    settings: SiteSettings,
    state: SiteState,
    position: Float[Array, "atoms 3"],
    frame_index: Int[Array, ""] | int,
) -> SiteState:
    """The state after one more frame.

    - `position`, Å: unwrapped, same order of atoms as in `initialize`.
    - `frame_index`: number of this frame; it is what the logs hold.
    """
    frame, network = jnp.asarray(frame_index, jnp.int32), state.network
    per_angstrom = _per_angstrom(state.to_sites)
    scaled = _in_units(position, state.to_sites)
    anions = network.coordinates(state.anion_site, scaled.dtype)
    deviation = scaled[state.anion_index] - anions
    origin = jnp.mean(deviation, axis=0)
    furthest = jnp.max(jnp.sum((deviation - origin[None]) ** 2, axis=-1))
    displaced = furthest > (network.edge * settings.anion_radius) ** 2

    cation = scaled[state.mobile_index] - origin[None]
    nearest = network.nearest(cation)
    core = (settings.core_radius * per_angstrom) ** 2
    away = jnp.any(nearest != state.site, axis=-1)
    visiting = away & (_squared_distance(network, cation, nearest) < core)
    same = jnp.all(nearest == state.candidate, axis=-1)
    dwell = jnp.where(visiting, jnp.where(same, state.dwell + 1, 1), 0)
    arrived = dwell >= settings.dwell_frames
    crossings = state.crossings
    if crossings is not None:
        crossings = _remember(crossings, position, origin, frame)
        crossings = _keep_crossing(state, crossings, arrived, nearest)
    return replace(
        state,
        site=jnp.where(arrived[:, None], nearest, state.site),
        candidate=jnp.where(visiting[:, None], nearest, state.candidate),
        dwell=jnp.where(arrived, 0, dwell),
        frames=state.frames + 1,
        anion_displaced_frames=state.anion_displaced_frames + displaced.astype(jnp.int32),
        changes=_log(state.changes, arrived, nearest, frame),
        crossings=crossings,
    )


def _squared_distance(
    network: SiteNetwork,
    position: Float[Array, "*batch 3"],
    site: Int[Array, "*#batch label"],
) -> Float[Array, "*batch"]:
    """From a site, network units."""
    return jnp.sum((position - network.coordinates(site, position.dtype)) ** 2, axis=-1)


def _log(
    log: ChangeLog,
    arrived: Bool[Array, " mobile"],
    site: Int[Array, "mobile label"],
    frame: Int[Array, ""],
) -> ChangeLog:
    """Write the arrivals of one frame, in the order of the cations."""
    capacity = log.frame.shape[0]
    arrival = jnp.cumsum(arrived, dtype=jnp.int32)
    row = jnp.where(arrived, (log.count + arrival - 1) % capacity, capacity)
    index = jnp.arange(arrived.shape[0], dtype=jnp.int32)
    return ChangeLog(
        count=log.count + arrival[-1],
        frame=log.frame.at[row].set(frame, mode="drop"),
        cation=log.cation.at[row].set(index, mode="drop"),
        site=log.site.at[row].set(site, mode="drop"),
    )


def _remember(log: CrossingLog, position, origin, frame: Int[Array, ""]) -> CrossingLog:
    row = frame % log.recent_frame.shape[0]
    return replace(
        log,
        recent_position=log.recent_position.at[row].set(position),
        recent_origin=log.recent_origin.at[row].set(origin),
        recent_frame=log.recent_frame.at[row].set(frame),
    )


def _keep_crossing(
    state: SiteState, log: CrossingLog, arrived, site: Int[Array, "mobile label"]
) -> CrossingLog:
    """Keep the recent frame in which the cation that arrived was halfway, if one did.

    Of several that arrive in one frame, the first; the others crossed at about that time.
    """
    cation = jnp.argmax(arrived)
    path = log.recent_position[:, state.mobile_index[cation]]
    path = _in_units(path, state.to_sites)
    path = path - log.recent_origin
    before = _squared_distance(state.network, path, state.site[cation][None])
    after = _squared_distance(state.network, path, site[cation][None])
    halfway = jnp.nanargmin(jnp.abs(before - after))
    capacity = log.frame.shape[0]
    any_arrived = jnp.any(arrived)
    row = jnp.where(any_arrived, log.count % capacity, capacity)
    kept = log.recent_position[halfway].astype(jnp.float32)
    return replace(
        log,
        count=log.count + any_arrived.astype(jnp.int32),
        frame=log.frame.at[row].set(log.recent_frame[halfway], mode="drop"),
        cation=log.cation.at[row].set(cation.astype(jnp.int32), mode="drop"),
        site=log.site.at[row].set(site[cation], mode="drop"),
        position=log.position.at[row].set(kept, mode="drop"),
    )


def new_entries(count: int, seen: int, capacity: int) -> Int[np.ndarray, " entries"]:
    """Rows of a ring with the entries since the first `seen`, in order.

    They are `count - seen` unless the ring has run over; then what is left is the last
    `capacity`, and what was lost cannot be had again.
    """
    first = max(seen, count - capacity)
    return np.arange(first, count) % capacity
