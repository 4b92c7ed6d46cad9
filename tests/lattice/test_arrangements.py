"""The arrangement that a frame is nearest to, and how far it is on the way to the next."""

import numpy as np
import pytest

from jaxdiff.lattice.arrangements import assigned, jump_coordinate, places_of
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.objectives.paths import lithium_path

SUPERCELL = Supercell.of(ROCK_SALT, 2)
TURN = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
NAMES = ["collinear", "noncollinear_1", "noncollinear_2", "direct"]


def on_the_way(name, q):
    path = lithium_path(name, (2, 2, 2))
    first, last = np.array(path.first), np.array(path.last)
    return path.system, first + q * (last - first)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("q", [0.0, 0.35, 0.45, 0.55, 1.0])
def test_the_coordinate_is_the_way_from_the_nearer_end(name, q):
    """Half of it at most; wrapped, shifted and turned the same."""
    system, position = on_the_way(name, q)
    is_lithium = np.asarray(system.atomic_number) == 3
    moved = position + [0.3, -0.2, 5.0]
    wrapped = (moved @ np.linalg.inv(system.cell) % 1) @ system.cell
    for cell, place in (
        (system.cell, position), (system.cell, wrapped), (system.cell @ TURN, moved @ TURN)
    ):  # fmt: skip
        found = jump_coordinate(SUPERCELL, cell, place, is_lithium)
        assert found == pytest.approx(min(q, 1 - q), abs=1e-9)


def test_the_nearest_arrangement_fills_the_lattice():
    """Two atoms on one site and one shaken: the assignment is the one of all 33! that is
    nearest, against exchanges of any two atoms and of any atom with an empty site.
    """
    rng = np.random.default_rng(0)
    _, position = on_the_way("collinear", 0.5)
    mobile = position[-33:] * 4 / 4.083428 + rng.normal(0, 0.3, (33, 3))
    places = places_of(SUPERCELL)
    place, square = assigned(SUPERCELL, mobile)
    assert len(set(place.tolist())) == 33
    assert places.is_lattice[place].sum() == 32

    def cost(place):
        away = mobile - places.position[place]
        away -= 8 * np.round(away / 8)
        return np.sum(away**2)

    assert cost(place) == pytest.approx(square)
    outside = int(np.flatnonzero(~places.is_lattice[place])[0])
    for i in range(33):
        for j in range(i):
            other = place.copy()
            other[[i, j]] = other[[j, i]]
            assert cost(other) > square
    for empty in np.setdiff1d(np.flatnonzero(~places.is_lattice), place):
        other = place.copy()
        other[outside] = empty
        assert cost(other) > square
