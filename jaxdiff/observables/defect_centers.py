"""Where the defects of one frame of rock salt are, without its past."""

import collections

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.observables import sites
from jaxdiff.observables.supercell import Supercell


def defect_centers(
    supercell: Supercell,
    cell: Float[np.ndarray, "3 3"],
    position: Float[np.ndarray, "atoms 3"],
    is_mobile: Bool[np.ndarray, " atoms"],
) -> Float[np.ndarray, "defects 3"]:
    """Atoms off the lattice, and empty sites, Å; none in a crystal without defect.

    Every cation belongs to the nearest 4a or 8c site, every anion to the nearest 4b site.
    A defect is at each cation on an 8c site, at each of several atoms on one site (a split
    interstitial, or a hop halfway), and at each 4a or 4b site that no atom belongs to.

    - `cell`, Å: lattice vectors as rows, in the order of the supercell's.
    - `position`, Å: thermal motion and any origin are allowed, wrapped or not.
    - `is_mobile`: true for cations, false for anions.
    """
    to_sites = supercell.to_sites(cell)
    scaled = jnp.asarray(position @ to_sites)
    origin = np.asarray(sites.lattice_origin(scaled, ~is_mobile, 4.0))
    scaled = np.asarray(scaled) - origin
    cation_sites = supercell.cation_sites()
    anion_sites = {supercell.fold((x + 2, y, z)) for x, y, z in cation_sites}
    found = []
    for chosen, lattice, nearest in (
        (is_mobile, cation_sites, sites.nearest_site),
        (~is_mobile, anion_sites, sites.nearest_anion_site),
    ):
        site = np.asarray(nearest(jnp.asarray(scaled[chosen])))
        place = [supercell.fold((x, y, z)) for x, y, z in site.tolist()]
        occupants = collections.Counter(place)
        off = [p not in lattice or occupants[p] > 1 for p in place]
        found.append(scaled[chosen][np.array(off, bool)])
        empty = sorted(lattice - occupants.keys())
        found.append(np.array(empty, float).reshape(-1, 3))
    return (np.concatenate(found) + origin) @ np.linalg.inv(to_sites)
