"""Rock salt told in integers, a/4: by hand they are easier than (index, image)."""

import numpy as np

from jaxdiff.analysis.defects import DefectHistory
from jaxdiff.lattice.rock_salt import ROCK_SALT


def sites(quarters):
    """From a/4 to (index, image)."""
    return ROCK_SALT.sites(np.asarray(quarters))


def quarters(site):
    """From (index, image) to a/4."""
    return tuple(int(x) for x in ROCK_SALT.position(tuple(int(n) for n in site)))


class QuarterHistory(DefectHistory):
    """A history that is told sites in a/4."""

    def __init__(self, supercell, site):
        super().__init__(supercell, sites(site))

    def change(self, frame, changes):
        super().change(frame, [(c, tuple(sites(s).tolist())) for c, s in changes])
