"""One frame to numbers, on the device: sites of the lattice, hops between them."""

from jaxdiff.observables.counts import CLASSES, UNITS, HopCounts
from jaxdiff.observables.hops import (
    HopMemory,
    HopSettings,
    HopState,
    counters,
    initialize,
    observe,
    reset,
)
from jaxdiff.observables.sites import lattice_origin, nearest_site

__all__ = [
    "CLASSES",
    "UNITS",
    "HopCounts",
    "HopMemory",
    "HopSettings",
    "HopState",
    "counters",
    "initialize",
    "lattice_origin",
    "nearest_site",
    "observe",
    "reset",
]
