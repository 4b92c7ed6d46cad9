"""Which arrangement of the mobile atoms on the sites a frame is nearest to.

In an arrangement every atom has a site to itself and as many lattice sites as possible are
filled: the sum of the squared distances of the atoms from their sites is least in the
nearest one. Where each atom's own nearest site makes an arrangement, it is that; elsewhere
it is the optimal assignment (doi:10.1109/TAES.2016.140952, in SciPy).
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from jaxdiff.analysis.series import Series
from jaxdiff.lattice.supercell import Supercell

_FILLED = 1e4
"""Square of a distance, network units: more than any that a lattice site could save."""


@dataclasses.dataclass(frozen=True)
class Arrangements:
    """Of the frames of a replica with one interstitial, in order; F of them.

    - `place` [F]: number of the place of the interstitial (`numbers`).
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
    mobile = on_lattice(
        supercell, series.cell[replica], series.position[replica, :n], series.is_mobile
    )
    label = network.nearest(jnp.asarray(mobile))
    site = np.asarray(network.coordinates(label, jnp.zeros(0).dtype), float)
    number = numbers(supercell, site.reshape(-1, 3)).reshape(site.shape[:2])
    core = series.core_radius * network.edge / series.lattice_constant[replica]
    near = np.max(np.sum((mobile - site) ** 2, axis=-1), axis=-1) < core**2
    is_lattice, is_calm = _places(supercell).is_lattice, np.zeros(n, bool)
    place = np.zeros(n, int)
    for k in range(n):
        own = number[k]
        if (
            np.bincount(own[is_lattice[own]], minlength=1) == 1
        ).sum() == supercell.n_lattice:
            is_calm[k] = near[k]
        else:
            own, _ = _assigned(supercell, mobile[k])
        place[k] = own[~is_lattice[own]][0]
    return Arrangements(place, is_calm)


def jump_coordinate(
    supercell: Supercell,
    cell: Float[np.ndarray, "3 3"],
    position: Float[np.ndarray, "atoms 3"],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> float:
    """How far an interstitial is on its way to another place: 0 on its site, 1/2 halfway.

    Between the nearest arrangement, sites s, and the next one with another place, s + d,

        q = sum_i (r_i - s_i) . d_i / sum_i |d_i|^2 ,

    which is 1/2 on the dividing surface of `jaxdiff.analysis.transmission`.

    - `cell`, `position`, Å; atoms may be wrapped.
    """
    mobile = on_lattice(supercell, cell, position[None], is_mobile)[0]
    first, square = _assigned(supercell, mobile)
    taken = first[~_places(supercell).is_lattice[first]]
    second, other = _assigned(supercell, mobile, without=taken)
    step = _places(supercell).position[second] - _places(supercell).position[first]
    step -= np.round(step @ _inverse(supercell)) @ np.array(supercell.matrix, float)
    return 0.5 * (1 - (other - square) / float(np.sum(step**2)))


def numbers(
    supercell: Supercell, position: Float[np.ndarray, "points 3"]
) -> Int[np.ndarray, " points"]:
    """Of the places at positions, network units, in whatever image of the cell."""
    distinct, which = np.unique(np.round(position, 3), axis=0, return_inverse=True)
    return np.argmin(_squares(supercell, distinct), axis=1)[which.ravel()]


def on_lattice(
    supercell: Supercell,
    cell: Float[np.ndarray, "3 3"],
    position: Float[np.ndarray, "frames atoms 3"],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> Float[np.ndarray, "frames mobile 3"]:
    """Mobile atoms in network units, against the lattice that the host atoms tell.

    - `cell`, `position`, Å. Atoms must not be wrapped between frames.
    """
    network = supercell.network
    scaled = position.astype(float) @ supercell.to_sites(cell)
    mobile, host = scaled[:, is_mobile], scaled[:, ~is_mobile]
    if len(scaled) == 0:
        return mobile
    start = np.asarray(network.origin(jnp.asarray(scaled[0]), ~is_mobile), float)
    label = network.nearest(jnp.asarray(host[0] - start), host=True)
    site = np.asarray(network.coordinates(label, jnp.zeros(0).dtype), float)
    return mobile - (host - site).mean(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class _Places:
    """Those of mobile atoms in a supercell, network units."""

    position: Float[np.ndarray, "places 3"]
    is_lattice: Bool[np.ndarray, " places"]


@functools.cache
def _places(supercell: Supercell) -> _Places:
    network = supercell.network
    sites = supercell.sites(set(network.kind) - set(network.host))
    return _Places(
        np.array([network.position(site) for site in sites]),
        np.array([network.is_lattice(site) for site in sites]),
    )


@functools.cache
def _inverse(supercell: Supercell) -> Float[np.ndarray, "3 3"]:
    return np.linalg.inv(np.array(supercell.matrix, float))


def _squares(
    supercell: Supercell, position: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points places"]:
    """Squared distances from all places."""
    away = position[:, None] - _places(supercell).position
    away -= np.round(away @ _inverse(supercell)) @ np.array(supercell.matrix, float)
    return np.sum(away**2, axis=-1)


def _assigned(
    supercell: Supercell,
    position: Float[np.ndarray, "mobile 3"],
    without: Int[np.ndarray, " taken"] | tuple[()] = (),
) -> tuple[Int[np.ndarray, " mobile"], float]:
    """The place of each atom in the nearest arrangement, and the square of its distance.

    - `without`: places that must stay empty.
    """
    square = _squares(supercell, position)
    cost = square - _FILLED * _places(supercell).is_lattice
    cost[:, list(without)] = np.inf
    atom, place = linear_sum_assignment(cost)
    return place, float(square[atom, place].sum())
