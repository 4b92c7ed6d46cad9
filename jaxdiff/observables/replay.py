"""The tracker over frames that exist already: a trajectory in chunks, cells that vary."""

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.lattice.supercell import Supercell
from jaxdiff.observables.tracker import (
    SiteSettings,
    SiteState,
    initialize,
    new_entries,
    observe,
)


@dataclasses.dataclass(frozen=True)
class Replay:
    """What the tracker saw in one trajectory of F frames, numbered from 1.

    - `initial_site` [M, 4], (index, image): before the first frame. `frame`, `cation` [C],
      `site` [C, 4]: changes of site.
    - `cell`, Å, and `lattice_constant`, Å: means over the frames.
    - `lost_frame`: from which frame on the changes may be incomplete; -1: they are not.
    """

    initial_site: Int[np.ndarray, "mobile 4"]
    frame: Int[np.ndarray, " changes"]
    cation: Int[np.ndarray, " changes"]
    site: Int[np.ndarray, "changes 4"]
    n_frames: int
    anion_displaced_frames: int
    cell: Float[np.ndarray, "3 3"]
    lattice_constant: float
    lost_frame: int


def replay(
    settings: SiteSettings,
    supercell: Supercell,
    chunks: Iterable[
        tuple[Float[np.ndarray, "frames atoms 3"], Float[np.ndarray, "frames 3 3"]]
    ],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> Replay:
    """Run the tracker over chunks of (position, cell), Å; no chunk longer than the first.

    Positions are unwrapped; the cell may change from frame to frame.
    """
    state = initial_site = None
    n_seen, n_frames, lost, length = 0, 0, -1, 0
    volume, mean_cell = 0.0, np.zeros((3, 3))
    logs: list[dict[str, np.ndarray]] = []
    for position, cell in chunks:
        if state is None or initial_site is None:
            first = jnp.asarray(position[0])
            state = initialize(settings, supercell, cell[0], first, is_mobile)
            initial_site, length = np.asarray(state.site), len(position)
        to_sites = np.stack([supercell.to_sites(c) for c in _distinct(cell)])
        to_sites = np.broadcast_to(to_sites, (len(cell), 3, 3))
        state = _chunk(
            settings,
            state,
            _padded(position, length),
            _padded(to_sites, length),
            jnp.asarray(len(position), jnp.int32),
        )
        log = jax.device_get(state.changes)
        capacity = len(log.frame)
        if log.count - n_seen > capacity and lost < 0:
            lost = n_frames + 1
        rows = new_entries(int(log.count), n_seen, capacity)
        logs.append({n: getattr(log, n)[rows] for n in ("frame", "cation", "site")})
        n_seen, n_frames = int(log.count), n_frames + len(position)
        volume += float(np.abs(np.linalg.det(cell)).sum())
        mean_cell = mean_cell + cell.sum(axis=0)
    if state is None or initial_site is None:
        raise ValueError("The trajectory has no frames; give one that has at least one.")
    rows = {n: np.concatenate([log[n] for log in logs]) for n in logs[0]}
    network = supercell.network
    return Replay(
        initial_site=network.sites(initial_site),
        **rows | {"site": network.sites(rows["site"])},
        n_frames=n_frames,
        anion_displaced_frames=int(state.anion_displaced_frames),
        cell=mean_cell / n_frames,
        lattice_constant=(network.cells_per_volume * volume / n_frames / supercell.n_cells)
        ** (1 / 3),
        lost_frame=lost,
    )


def _distinct(cell: np.ndarray) -> np.ndarray:
    """One cell if all are the same."""
    return cell[:1] if (cell == cell[0]).all() else cell


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    """Zeros after the last frame, so that every chunk has the shape of the first."""
    if len(values) > length:
        raise ValueError(f"A chunk has {len(values)} frames, the first had {length}.")
    padding = np.zeros((length - len(values), *values.shape[1:]))
    return np.concatenate([values, padding]) if len(padding) else np.asarray(values)


@functools.partial(jax.jit, static_argnums=0)
def _chunk(
    settings: SiteSettings,
    state: SiteState,
    position: Float[Array, "frames atoms 3"],
    to_sites: Float[Array, "frames 3 3"],
    n_frames: Int[Array, ""],
) -> SiteState:
    def one(i: Int[Array, ""], state: SiteState) -> SiteState:
        state = replace(state, to_sites=to_sites[i].astype(state.to_sites.dtype))
        return observe(settings, state, position[i], state.frames + 1)

    return jax.lax.fori_loop(0, n_frames, one, state)
