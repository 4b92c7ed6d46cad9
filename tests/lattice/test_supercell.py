"""Supercells against brute force over their lattice vectors."""

import itertools

import numpy as np
import pytest
from quarters import quarters, sites

from jaxdiff.lattice import Supercell
from jaxdiff.lattice.rock_salt import ROCK_SALT

A = 4.083428  # Å
PRIMITIVE = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])

SUPERCELLS = {
    "box": Supercell.of(ROCK_SALT, 3),
    "long box": Supercell.of(ROCK_SALT, (2, 3, 5)),
    "primitive": Supercell.of(ROCK_SALT, 3 * PRIMITIVE),
    "unequal primitive": Supercell.of(ROCK_SALT, np.diag([3, 4, 5]) @ PRIMITIVE),
    "sheared": Supercell.of(ROCK_SALT, [[3, 0, 0], [1, 3, 0], [0.5, 0.5, 4]]),
    "left-handed": Supercell.of(ROCK_SALT, [[0, 3, 0], [3, 0, 0], [0, 0, 2]]),
    "any": Supercell.of(ROCK_SALT, [[2, 1, -1], [-0.5, 2.5, 1], [1, -1, 3]]),
}


@pytest.fixture(params=SUPERCELLS.values(), ids=SUPERCELLS)
def supercell(request):
    return request.param


def is_image(supercell, a, b):
    """Whether a - b is a whole number of each lattice vector."""
    n = np.linalg.solve(np.array(supercell.matrix, float).T, np.subtract(a, b))
    return np.abs(n - n.round()).max() < 1e-9


def random_sites(rng, most, n):
    """(index, image), images up to so many unit vectors away."""
    index, image = rng.integers(0, 4, n), rng.integers(-most, most, (n, 3))
    return [(k, *row) for k, row in zip(index.tolist(), image.tolist(), strict=True)]


def test_number_of_sites_is_four_per_cubic_cell(supercell):
    volume = abs(np.linalg.det(np.array(supercell.matrix) / 4))  # a^3
    assert supercell.n_cells == pytest.approx(4 * volume, abs=1e-9)


def test_folded_sites_are_images_and_equal_for_all_images(supercell):
    rng = np.random.default_rng(0)
    for site in random_sites(rng, 30, 50):
        folded = supercell.fold(site)
        assert is_image(supercell, quarters(site), quarters(folded))
        assert supercell.fold(folded) == folded
        inside = np.linalg.solve(np.array(supercell.matrix, float).T, quarters(folded))
        assert inside.min() > -1e-9
        assert inside.max() < 1 - 1e-9
        for n in rng.integers(-5, 6, (4, 3)):
            image = quarters(site) + n @ np.array(supercell.matrix)
            assert supercell.fold(tuple(sites(image).tolist())) == folded


def test_there_are_as_many_folded_sites_as_sites(supercell):
    """4a: even, sum divisible by 4. 8c: odd, twice as many. No two are images."""
    edge = int(np.abs(supercell.matrix).sum())  # more than a cell in each direction
    every = itertools.product(range(-edge // 2, edge // 2 + 1), repeat=3)
    found = {"4a": set(), "8c": set()}
    for place in every:
        if all(n % 2 == 1 for n in place):
            found["8c"].add(supercell.fold(tuple(sites(place).tolist())))
        elif all(n % 2 == 0 for n in place) and sum(place) % 4 == 0:
            found["4a"].add(supercell.fold(tuple(sites(place).tolist())))
    assert len(found["4a"]) == supercell.n_cells
    assert len(found["8c"]) == 2 * supercell.n_cells
    for kind, places in found.items():
        assert sorted(places) == sorted(supercell.sites([kind]))


def test_folding_keeps_apart_what_is_no_image(supercell):
    rng = np.random.default_rng(1)
    for a, b in itertools.combinations(random_sites(rng, 5, 60), 2):
        same = supercell.fold(a) == supercell.fold(b)
        assert same == is_image(supercell, quarters(a), quarters(b))


def test_positions_become_sites_in_a_turned_and_strained_cell(supercell):
    """Sites put into a cell of any orientation, 2 % strain along x, come back."""
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    strain = np.diag([1.02, 1.0, 0.99])
    axes = A / 4 * strain @ turn  # rows: a/4 along x, y, z
    place = np.random.default_rng(3).integers(-20, 20, (40, 3))
    to_sites = supercell.to_sites(np.array(supercell.matrix) @ axes)
    np.testing.assert_allclose(place @ axes @ to_sites, place, atol=1e-10)


def test_one_number_three_numbers_and_rows_are_the_same():
    assert (
        Supercell.of(ROCK_SALT, 3)
        == Supercell.of(ROCK_SALT, (3, 3, 3))
        == Supercell.of(ROCK_SALT, 3 * np.eye(3))
    )
    assert Supercell.of(ROCK_SALT, 3).matrix == ((12, 0, 0), (0, 12, 0), (0, 0, 12))


@pytest.mark.parametrize("repeats", [(2, 2, 2), (3, 4, 5), (5, 5, 5)])
def test_guess_finds_boxes_at_any_lattice_constant(repeats):
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    for a in (3.9, A, 5.6):
        cell = a * np.diag(repeats) @ turn
        assert Supercell.guess(ROCK_SALT, cell, 4 * int(np.prod(repeats))) == Supercell.of(
            ROCK_SALT, repeats
        )


@pytest.mark.parametrize(
    ("cell", "n_anions"),
    [
        (A * 4 * PRIMITIVE, 64),  # no box
        (A * 3 * np.eye(3), 107),  # an anion too few
        (A * np.array([[3, 0, 0], [0, 3, 0], [0.8, 0, 3]]), 108),  # sheared
    ],
)
def test_guess_refuses_what_is_no_box(cell, n_anions):
    with pytest.raises(ValueError, match=r"not a supercell|is not cubic rock salt"):
        Supercell.guess(ROCK_SALT, cell, n_anions)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((3, 3), "must be a number of conventional cells"),
        ([[3, 0, 0], [0, 3, 0]], "must be a number of conventional cells"),
        ((3, 3, 2.9), "must be a number of conventional cells"),
        ((3, 3, np.nan), "must be a number of conventional cells"),
        ((3, 3, np.inf), "must be a number of conventional cells"),
        ([[3, 0, 0], [0, 3, 0], [0, 0.5, 3]], "not a translation of the fcc lattice"),
        (2.5, "not a translation of the fcc lattice"),
        ([[3, 0, 0], [0, 3, 0], [3, 3, 0]], "must be three independent vectors"),
        (0, "must be three independent vectors"),
        ((3, 3, 1), r"a lattice vector of 1 a; each must be at least 2 a"),
        # 3, -1: a/√2 away, though all three given are long
        ([[3, 0, 0], [9.5, 0.5, 0], [0, 0, 3]], r"a lattice vector of 0.707 a"),
    ],
)
def test_what_is_no_supercell_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Supercell.of(ROCK_SALT, given)


def test_quarters_of_a_are_refused():
    with pytest.raises(ValueError, match="not a translation of the fcc lattice"):
        Supercell(ROCK_SALT, ((13, 0, 0), (0, 12, 0), (0, 0, 12)))


@pytest.mark.parametrize("wrong", [(3, 3, 4), (4, 3, 3)])
def test_a_cell_built_from_another_supercell_is_refused(wrong):
    with pytest.raises(ValueError, match=r"along its axes a would be 3\.\d* to 4\.083 Å"):
        Supercell.of(ROCK_SALT, wrong).to_sites(A * 3 * np.eye(3))
