"""Rock salt with one interstitial and known hops."""

import pytest
from synthetic_hops import CELLS, LATTICE, make, perfect_sites


@pytest.fixture
def trajectory():
    return make


@pytest.fixture
def crystal():
    """Cation and anion sites, a/4, and the lattice constant, Å, of a perfect crystal."""
    cation, anion = perfect_sites()
    return cation, anion, LATTICE, CELLS
