"""Crystals with defects; defects are found again without the code that placed them."""

import dataclasses
import itertools

import ase.build
import jax.numpy as jnp
import numpy as np
import pytest
from ase.geometry import get_distances
from matscipy.neighbours import neighbour_list
from quarters import QuarterHistory, sites

from jaxdiff import observables
from jaxdiff.lattice.lithium_fluoride import (
    rock_salt,
    rock_salt_interstitial,
    tetrahedral_sites,
)
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.system import to_ase

A = 4.0  # Å: a/4 is one Å
COUNTS = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (0, 3, 0), (3, 1, 0)]
COUNTS += [(1, 2, 0), (1, 1, 1), (0, 0, 3)]


def build(supercell=3, counts=(0, 0, 0), seed=0, replica=0):
    interstitials, vacancies, frenkel_pairs = counts
    return rock_salt(
        supercell,
        A,
        interstitials=interstitials,
        vacancies=vacancies,
        frenkel_pairs=frenkel_pairs,
        seed=seed,
        replica=replica,
    )


def defects(system):
    """Positions of interstitials and of vacancies, Å, against ASE's crystal."""
    repeats = np.round(np.diag(system.cell) / A).astype(int)
    perfect = ase.build.bulk("LiF", "rocksalt", a=A, cubic=True) * tuple(repeats)
    lattice = perfect.positions[perfect.numbers == 3]
    lithium = system.position[system.atomic_number == 3]
    distance = get_distances(lithium, lattice, cell=system.cell, pbc=True)[1]
    return lithium[distance.min(axis=1) > 0.1], lattice[distance.min(axis=0) > 0.1]


def squared(one, other, cell):
    """Squared distances of nearest images, (a/4)^2."""
    return np.round(get_distances(one, other, cell=cell, pbc=True)[1] ** 2).astype(int)


def pair(system):
    """Squared distance of two defects, (a/4)^2."""
    one, other = np.concatenate(defects(system))
    return squared(one, other, system.cell).item()


def tracked(supercell, atoms):
    """The supercell of the tracker, and the sites it starts from, a/4."""
    cells = Supercell.of(ROCK_SALT, supercell)
    settings, is_mobile = observables.SiteSettings(), atoms.numbers == 3
    position = jnp.asarray(atoms.positions)
    state = observables.initialize(settings, cells, atoms.cell.array, position, is_mobile)
    return cells, np.asarray(state.site)


@pytest.mark.parametrize("supercell", [3, (3, 2, 4)])
@pytest.mark.parametrize("counts", COUNTS)
def test_counts_order_and_distances(supercell, counts):
    """So many defects; Li first; like defects √8 apart, unlike √27 (a/4)."""
    cells = 4 * np.prod(np.broadcast_to(supercell, 3))
    n_interstitial, n_vacancy = counts[0] + counts[2], counts[1] + counts[2]
    for replica in range(8):
        system = build(supercell, counts, replica=replica)
        n_lithium = cells + counts[0] - counts[1]
        wanted = np.repeat([3, 9], [n_lithium, cells])
        np.testing.assert_array_equal(system.atomic_number, wanted)
        interstitial, vacancy = defects(system)
        assert (len(interstitial), len(vacancy)) == (n_interstitial, n_vacancy)
        last = system.position[n_lithium - n_interstitial : n_lithium]
        np.testing.assert_array_equal(interstitial, last)
        like = [squared(s, s, system.cell) for s in (interstitial, vacancy) if len(s) > 1]
        assert all(d[~np.eye(len(d), dtype=bool)].min() >= 8 for d in like)
        if n_interstitial and n_vacancy:
            assert squared(interstitial, vacancy, system.cell).min() >= 27


def test_perfect_crystal_is_that_of_ase():
    atoms = to_ase(build((2, 1, 3)))
    expected = ase.build.bulk("LiF", "rocksalt", a=A, cubic=True) * (2, 1, 3)
    np.testing.assert_allclose(atoms.cell, expected.cell)
    for number in (3, 9):
        mine, theirs = (
            {tuple(p) for p in x.positions[x.numbers == number] % x.cell.lengths()}
            for x in (atoms, expected)
        )
        assert mine == theirs
        assert len(mine) == 24


@pytest.mark.parametrize("supercell", [1, (2, 1, 3)])
def test_rock_salt_and_one_interstitial(supercell):
    a = 4.0
    system = rock_salt_interstitial(supercell, a, site=5)
    conventional = np.prod(np.broadcast_to(supercell, 3))
    number = system.atomic_number
    assert (number == 3).sum() == 4 * conventional + 1
    assert (number == 9).sum() == 4 * conventional
    np.testing.assert_allclose(np.diag(system.cell), a * np.broadcast_to(supercell, 3))
    interstitial = 4 * conventional
    i, j, d = neighbour_list("ijd", to_ase(system), 0.49 * a)
    around = j[i == interstitial]
    np.testing.assert_allclose(d[i == interstitial], np.sqrt(3) / 4 * a)
    assert sorted(number[around]) == [3] * 4 + [9] * 4
    lattice = to_ase(system)
    del lattice[int(interstitial)]
    perfect = neighbour_list("i", lattice, 0.51 * a)
    assert (np.bincount(perfect) == 6).all()


def test_sites_are_distinct_and_bounded():
    site = tetrahedral_sites(2, 4.0)
    assert site.shape == (64, 3)
    assert len(np.unique(site.round(6), axis=0)) == 64
    with pytest.raises(ValueError, match="site=64, but a 2x2x2 supercell has 64"):
        rock_salt_interstitial(2, site=64)


def test_masses_are_those_of_the_reference_study():
    assert set(rock_salt_interstitial(1).mass) == {6.941, 18.9984032}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("supercell", [0, (2, 2), (2, 2, 0)])
def test_impossible_supercell(supercell):
    with pytest.raises(ValueError, match="give one number of conventional cells, or three"):
        rock_salt_interstitial(supercell)


def test_impossible_lattice_constant():
    with pytest.raises(ValueError, match="lattice_constant=-1 Å"):
        rock_salt_interstitial(2, -1)


def test_one_interstitial_is_on_every_site_as_often():
    """χ² of 63 degrees of freedom, 5 standard deviations √126 above its mean."""
    sites = [rock_salt_interstitial(2, A, site=k) for k in range(64)]
    row = {tuple(s.position[32]): k for k, s in enumerate(sites)}
    found = []
    for replica in range(640):
        system = build(2, (1, 0, 0), seed=7, replica=replica)
        found.append(row[tuple(system.position[32])])
        np.testing.assert_array_equal(system.position, sites[found[-1]].position)
    count = np.bincount(found, minlength=64)
    assert ((count - 10) ** 2 / 10).sum() < 63 + 5 * 126**0.5


def test_a_site_depends_on_seed_and_replica_alone():
    counts = (1, 0, 2)
    alone = build(3, counts, seed=3, replica=5).position
    np.random.seed(1)  # noqa: NPY002  the global state must not matter
    several = [build(3, counts, seed=3, replica=r).position for r in (7, 5, 4)]
    np.testing.assert_array_equal(alone, several[1])
    others = [build(3, counts, seed=s, replica=r).position for s, r in ((5, 3), (4, 5))]
    for other in (several[0], several[2], *others):
        assert not np.array_equal(alone, other)


def shells(kind, least):
    """Squared distances in 3x3x3 cells: each component is one of these, up to its sign."""
    parts = (1, 3, 5) if kind == "unlike" else (0, 2, 4, 6)
    apart = list(itertools.product(parts, repeat=3))
    if kind == "vacancies":  # translations of fcc
        apart = [p for p in apart if sum(p) % 4 == 0]
    return sorted({sum(n * n for n in p) for p in apart} - set(range(least)))


@pytest.mark.parametrize(
    ("counts", "kind", "least"),
    [
        ((2, 0, 0), "interstitials", 8),
        ((0, 2, 0), "vacancies", 8),
        ((0, 0, 1), "unlike", 27),
        ((1, 1, 0), "unlike", 27),
    ],
)
def test_replicas_go_through_the_shells_in_turn(counts, kind, least):
    wanted = shells(kind, least)
    n = len(wanted)
    found = [pair(build(3, counts, seed=1, replica=r)) for r in range(2 * n)]
    assert sorted(found[:n]) == wanted
    assert found[n:] == found[:n]
    orders = {
        tuple(pair(build(3, counts, seed=s, replica=r)) for r in range(n)) for s in range(3)
    }
    assert len(orders) == 3


def test_with_more_defects_the_first_unlike_pair_goes_through_the_shells():
    found = []
    for replica in range(6):
        interstitial, vacancy = defects(build(3, (2, 1, 0), replica=replica))
        found.append(squared(interstitial[:1], vacancy, build().cell).item())
    assert sorted(found) == shells("unlike", 27)


@pytest.mark.parametrize(
    ("supercell", "counts"),
    [
        (3, (0, 0, 0)),
        (3, (1, 0, 0)),
        (3, (0, 1, 0)),
        (3, (0, 0, 2)),
        (3, (2, 1, 0)),
    ],
)
def test_tracker_and_history_see_what_was_built(supercell, counts):
    """With thermal motion, 0.15 Å per axis, on a crystal that lies anywhere."""
    system = build(supercell, counts, seed=2, replica=1)
    rng = np.random.default_rng(0)
    shift = np.array([0.4, -0.7, 0.3])
    moved = system.position + shift + 0.15 * rng.normal(size=system.position.shape)
    atoms = to_ase(dataclasses.replace(system, position=moved))
    cells, site = tracked(supercell, atoms)
    np.testing.assert_array_equal(site, system.position[system.atomic_number == 3])
    history = QuarterHistory(cells, site)
    history.finish(10)
    n_interstitial, n_vacancy = counts[0] + counts[2], counts[1] + counts[2]
    seen = history.counts
    assert (seen.exposure, seen.undefined) == (10, 0)
    assert (seen.interstitial, seen.vacancy) == (10 * n_interstitial, 10 * n_vacancy)
    interstitial, vacancy = defects(system)
    for sign, position in ((1, interstitial), (-1, vacancy)):
        places = {d.place for d in history.defects if d.sign == sign}
        assert places == {
            cells.fold(tuple(s)) for s in sites(position.astype(int)).tolist()
        }


@pytest.mark.parametrize(
    ("supercell", "counts"),
    [
        (1, (0, 0, 1)),  # √3 is all there is
        (2, (0, 0, 4)),
        (2, (0, 33, 0)),  # 32 cations
        (2, (500, 0, 0)),
    ],
)
def test_no_room(supercell, counts):
    text = (
        f"interstitials={counts[0]}, vacancies={counts[1]} and frenkel_pairs={counts[2]} "
        rf"find no room in {supercell}x.* cells .*0\.71 a .* 1\.30 a; use a larger"
    )
    with pytest.raises(ValueError, match=text):
        build(supercell, counts)


def test_all_vacancies():
    assert (build(2, (0, 32, 0)).atomic_number == 9).all()


@pytest.mark.parametrize(
    "name", ["interstitials", "vacancies", "frenkel_pairs", "seed", "replica"]
)
def test_negative_numbers(name):
    with pytest.raises(ValueError, match=f"{name}=-1; give a whole number, 0 or more"):
        rock_salt(2, A, **{name: -1})


def test_a_dense_crystal_has_room_in_all_replicas():
    """Three pairs and an interstitial of 3x3x3 cells; one in 15 cations is off its site."""
    found = {build(3, (1, 0, 3), replica=r).position.tobytes() for r in range(64)}
    assert len(found) == 64


@pytest.mark.long
@pytest.mark.parametrize(
    ("vacancy", "stays"),
    [((0, 0, 0), False), ((0, 0, 4), True), ((2, 4, 10), False), ((4, 4, 4), True)],
)
def test_which_frenkel_pairs_recombine_at_rest(vacancy, stays):
    """At √3, √11, √19 and √27 (a/4) from an interstitial at (1, 1, 1); lif-compact."""
    from ase.optimize import FIRE

    from jaxdiff.calculator import MaceCalculator

    lattice = 4.083428
    atoms = to_ase(rock_salt_interstitial(3, lattice))
    place = lattice / 4 * np.array(vacancy)
    distance = get_distances(place, atoms.positions, cell=atoms.cell, pbc=True)[1][0]
    del atoms[int(distance.argmin())]
    assert distance.min() < 1e-9
    atoms.rattle(0.01, seed=1)
    atoms.calc = MaceCalculator("lif-compact")
    assert FIRE(atoms, logfile=None).run(fmax=0.05, steps=150)
    cells, site = tracked(3, atoms)
    on_tetrahedral = (site % 2 == 1).all(axis=1).sum()
    assert on_tetrahedral == (1 if stays else 0)
    assert len({cells.fold(tuple(s)) for s in site.tolist()}) == 108
