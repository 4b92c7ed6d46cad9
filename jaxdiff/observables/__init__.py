"""One frame to numbers, on the device: sites of the lattice, and who is on them."""

from jaxdiff.observables.sites import lattice_origin, nearest_site
from jaxdiff.observables.supercell import Supercell, as_supercell
from jaxdiff.observables.tracker import (
    ChangeLog,
    CrossingLog,
    SiteSettings,
    SiteState,
    initialize,
    new_entries,
    observe,
    reset,
)

__all__ = [
    "ChangeLog",
    "CrossingLog",
    "SiteSettings",
    "SiteState",
    "Supercell",
    "as_supercell",
    "initialize",
    "lattice_origin",
    "nearest_site",
    "new_entries",
    "observe",
    "reset",
]
