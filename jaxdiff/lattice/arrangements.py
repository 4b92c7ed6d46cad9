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

from jaxdiff.lattice.jumps import INTERSTITIAL, SAME
from jaxdiff.lattice.supercell import Supercell

_FILLED = 1e4
"""Square of a distance, network units: more than any that a lattice site could save."""


def jump_coordinate(
    supercell: Supercell,
    cell: Float[np.ndarray, "3 3"],
    position: Float[np.ndarray, "atoms 3"],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> float:
    """How far an interstitial is on its way to another place: 0 on its site, 1/2 halfway.

    The largest, over all places that a jump leads to and the nearest arrangement s + d with
    each of them, of

        q = sum_i (r_i - s_i) . d_i / sum_i |d_i|^2 ,

    s that which is nearest of all. It is 1/2 on the dividing surface of
    `jaxdiff.analysis.transmission`.

    - `cell`, `position`, Å; atoms may be wrapped.
    """
    mobile = on_lattice(supercell, cell, position[None], is_mobile)[0]
    places = places_of(supercell)
    first, square = assigned(supercell, mobile)
    (here,) = first[~places.is_lattice[first]]
    apart = _squares(supercell, places.position[[here]])[0]
    reach = max(jump.squared_length for jump in supercell.network.jumps_of(INTERSTITIAL))
    around = ~places.is_lattice & (apart < reach * (1 + SAME))
    around[here] = False
    found = []
    for there in np.flatnonzero(around).tolist():
        second, other = assigned(supercell, mobile, there)
        step = places.position[second] - places.position[first]
        step -= np.round(step @ _inverse(supercell)) @ np.array(supercell.matrix, float)
        found.append(0.5 * (1 - (other - square) / float(np.sum(step**2))))
    return max(found)


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
class Places:
    """Sites of mobile atoms in a supercell, network units."""

    position: Float[np.ndarray, "places 3"]
    is_lattice: Bool[np.ndarray, " places"]


@functools.cache
def places_of(supercell: Supercell) -> Places:
    """All of a supercell; their rows are their numbers."""
    network = supercell.network
    sites = supercell.sites(set(network.kind) - set(network.host))
    return Places(
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
    away = position[:, None] - places_of(supercell).position
    away -= np.round(away @ _inverse(supercell)) @ np.array(supercell.matrix, float)
    return np.sum(away**2, axis=-1)


def assigned(
    supercell: Supercell,
    position: Float[np.ndarray, "mobile 3"],
    interstitial: int | None = None,
) -> tuple[Int[np.ndarray, " mobile"], float]:
    """The place of each atom in the nearest arrangement, and the square of its distance.

    - `interstitial`: a place that must be taken, too.
    """
    square = _squares(supercell, position)
    filled = places_of(supercell).is_lattice.copy()
    if interstitial is not None:
        filled[interstitial] = True
    atom, place = linear_sum_assignment(square - _FILLED * filled)
    return place, float(square[atom, place].sum())
