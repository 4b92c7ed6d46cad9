"""One frame to numbers, on the device: who is on which site of the lattice."""

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
    "initialize",
    "new_entries",
    "observe",
    "reset",
]
