"""Which arrangement of one interstitial and the lattice each kept frame is nearest to.

The sum of the squared distances of all mobile atoms from their sites decides. Where each
has a site to itself as its nearest one, that is the arrangement; elsewhere it is sought
from that of the frame before, jump by jump: the interstitial moves to a neighbouring site,
or takes the place of a lattice atom, which goes on to a site beside it.
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.series import Series
from jaxdiff.lattice.network import SiteNetwork
from jaxdiff.lattice.supercell import Supercell

UNKNOWN = -1
"""Number of a place before the first arrangement is seen."""
_NEARER = 1e-9  # square, network units: less than that is rounding


@dataclasses.dataclass(frozen=True)
class Arrangements:
    """Of the frames of a replica, in order; F of them.

    - `place` [F]: number of the place of the interstitial, or `UNKNOWN`.
    - `is_calm` [F]: all mobile atoms lie within the cores of their sites.
    """

    place: Int[np.ndarray, " frames"]
    is_calm: Bool[np.ndarray, " frames"]


def nearest_arrangements(series: Series, replica: int) -> Arrangements:
    """Of the frames that a run kept, before the replica stopped or its log broke."""
    supercell, network = series.supercell, series.network
    time = series.position_time_ps[: series.n_kept[replica]]
    known = series.frames["frames"][replica] * series.frame_ps
    n = int(np.searchsorted(time, known + 1e-6))
    mobile = _mobile(series, replica, n)
    label = network.nearest(jnp.asarray(mobile))
    where = np.asarray(network.coordinates(label, jnp.zeros(0).dtype), float)
    number = numbers(supercell, where.reshape(-1, 3)).reshape(where.shape[:2])
    on_lattice = _places(supercell).is_lattice[number]
    core = series.core_radius * network.edge / series.lattice_constant[replica]
    place, is_calm = np.full(n, UNKNOWN), np.zeros(n, bool)
    now, interstitial = None, 0
    for k in range(n):
        alone = len(np.unique(number[k])) == len(number[k])
        if alone and on_lattice[k].sum() == supercell.n_lattice:
            now, interstitial = where[k], int(np.argmin(on_lattice[k]))
            away = np.sum((mobile[k] - now) ** 2, axis=1)
            is_calm[k] = away.max() < core**2
        elif now is not None:
            now, interstitial = _descend(supercell, mobile[k], now, interstitial)
        if now is not None:
            place[k] = numbers(supercell, now[[interstitial]])[0]
    return Arrangements(place, is_calm)


def numbers(
    supercell: Supercell, position: Float[np.ndarray, "points 3"]
) -> Int[np.ndarray, " points"]:
    """Of the places at positions, network units, in whatever image of the cell."""
    inverse = np.linalg.inv(np.array(supercell.matrix, float))
    distinct, which = np.unique(np.round(position, 3), axis=0, return_inverse=True)
    away = (distinct @ inverse)[:, None] - _places(supercell).fraction
    away -= np.round(away)
    return np.argmin((away**2).sum(axis=-1), axis=1)[which.ravel()]


def _mobile(series: Series, replica: int, n: int) -> Float[np.ndarray, "frames mobile 3"]:
    """Positions of the mobile atoms against the lattice that the host says, its units."""
    to_sites = series.supercell.to_sites(series.cell[replica])
    scaled = series.position[replica, :n].astype(float) @ to_sites
    if n == 0:
        return scaled[:, series.is_mobile]
    is_mobile, network = series.is_mobile, series.network
    first = jnp.asarray(scaled[0])
    start = np.asarray(network.origin(first, ~is_mobile), float)
    host = scaled[:, ~is_mobile]
    label = network.nearest(jnp.asarray(host[0] - start), host=True)
    site = np.asarray(network.coordinates(label, first.dtype), float)
    return scaled[:, is_mobile] - (host - site).mean(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class _Places:
    """Those of mobile atoms in a supercell: fractions of it, and index in the unit cell."""

    fraction: Float[np.ndarray, "places 3"]
    index: Int[np.ndarray, " places"]
    is_lattice: Bool[np.ndarray, " places"]


@functools.cache
def _places(supercell: Supercell) -> _Places:
    network = supercell.network
    sites = supercell.sites(set(network.kind) - set(network.host))
    position = np.array([network.position(site) for site in sites])
    return _Places(
        position @ np.linalg.inv(np.array(supercell.matrix, float)),
        np.array([site[0] for site in sites]),
        np.array([network.is_lattice(site) for site in sites]),
    )


@functools.cache
def _steps(network: SiteNetwork, index: int) -> tuple[np.ndarray, np.ndarray]:
    """From a site to its neighbours, network units: on the lattice, and the others."""
    found: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for first, second, image in network.edges:
        a, b = (np.array(network.position(s)) for s in ((first, 0, 0, 0), (second, *image)))
        for start, end, step in ((first, second, b - a), (second, first, a - b)):
            if start == index:
                found[not network.is_lattice((end, 0, 0, 0))].append(step)
    on, off = (np.array(steps).reshape(-1, 3) for steps in found)
    return on, off


def _descend(
    supercell: Supercell,
    position: Float[np.ndarray, "mobile 3"],
    site: Float[np.ndarray, "mobile 3"],
    interstitial: int,
) -> tuple[Float[np.ndarray, "mobile 3"], int]:
    """The arrangement next to these positions, from another one; jumps that lead nearer."""
    site = site.copy()
    while True:
        number = numbers(supercell, site)
        index = _places(supercell).index[number]
        on, off = _steps(supercell.network, int(index[interstitial]))
        away = position - site
        moves = [(_nearer(away[interstitial], step), step, None, step) for step in off]
        for first in on:
            (there,) = numbers(supercell, site[[interstitial]] + first)
            other = int(np.flatnonzero(number == there)[0])
            _, ends = _steps(supercell.network, int(index[other]))
            gain = _nearer(away[interstitial], first)
            moves += [(gain + _nearer(away[other], s), first, other, s) for s in ends]
        gain, first, other, second = max(moves, key=lambda move: move[0])
        if gain <= _NEARER:
            return site, interstitial
        site[interstitial] += first
        if other is not None:
            site[other] += second
            interstitial = other


def _nearer(away: Float[np.ndarray, "3"], step: Float[np.ndarray, "3"]) -> float:
    """How much the square of the distance from a site falls when that makes a step."""
    return float(2 * away @ step - step @ step)
