"""Where the defects of one frame are, without its past."""

import collections

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.lattice.supercell import Supercell


def defect_centers(
    supercell: Supercell,
    cell: Float[np.ndarray, "3 3"],
    position: Float[np.ndarray, "atoms 3"],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> Float[np.ndarray, "defects 3"]:
    """Atoms off the lattice, and empty sites, Å; none in a crystal without defect.

    Every cation belongs to its nearest site, every anion to its nearest host site. A defect
    is at each cation on no lattice site, at each of several atoms on one site (a split
    interstitial, or a hop halfway), and at each lattice or host site that no atom belongs
    to.

    - `cell`, Å: lattice vectors as rows, in the order of the supercell's.
    - `position`, Å: thermal motion and any origin are allowed, wrapped or not.
    - `is_mobile`: true for cations, false for anions.
    """
    to_sites = supercell.to_sites(cell)
    network = supercell.network
    scaled = jnp.asarray(position @ to_sites)
    origin = np.asarray(network.origin(scaled, ~is_mobile))
    scaled = np.asarray(scaled) - origin
    found = []
    for chosen, kinds, host in (
        (is_mobile, network.lattice, False),
        (~is_mobile, network.host, True),
    ):
        lattice = supercell.sites(kinds)
        label = network.nearest(jnp.asarray(scaled[chosen]), host=host)
        place = [
            supercell.fold((n, i, j, k))
            for n, i, j, k in network.sites(np.asarray(label)).tolist()
        ]
        occupants, full = collections.Counter(place), set(lattice)
        off = [p not in full or occupants[p] > 1 for p in place]
        found.append(scaled[chosen][np.array(off, bool)])
        empty = [network.position(p) for p in lattice if p not in occupants]
        found.append(np.array(empty, float).reshape(-1, 3))
    return (np.concatenate(found) + origin) @ np.linalg.inv(to_sites)
