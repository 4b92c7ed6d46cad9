"""Sites of any crystal: neighbours, where ways lead, and where files put them."""

import itertools

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from ase.spacegroup import crystal
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from jaxdiff.io.structure_sites import sites_of_structure
from jaxdiff.lattice.sites import Sites, classes_of

GRID = np.array(list(itertools.product(range(3), repeat=3))) / 3


def sites(fraction, edges=(9.0, 9.0, 9.0)):
    n = len(fraction)
    cell = np.diag(edges) if np.ndim(edges) == 1 else np.array(edges)
    return Sites(fraction, cell, np.zeros(n, int), ("A",), (1.0,), "")


def test_neighbours_on_a_cubic_grid_are_the_six_around():
    grid = sites(GRID)
    assert len(grid.edges) == 27 * 6 / 2
    np.testing.assert_allclose(grid.spacing, 3.0)
    step = grid.difference(*grid.edges.T)
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), 3.0)
    assert grid.is_neighbour(np.array([0]), np.array([1]))[0]
    assert not grid.is_neighbour(np.array([0]), np.array([4]))[0]


def test_where_ways_lead():
    """In a grid far; of far-off planes of atoms only within; in a cage of six round it."""
    assert sites(GRID).reaches_far(3.0)
    assert not sites(GRID).reaches_far(2.9)
    layers = sites(GRID, (9.0, 9.0, 30.0))
    assert layers.reaches_far(3.0)
    corner = np.concatenate([np.eye(3), -np.eye(3)]) * 0.15 + 0.5
    cage = sites(corner, (8.0, 8.0, 8.0))
    assert not cage.reaches_far(2.0)
    assert not sites(corner, (12.0, 12.0, 12.0)).reaches_far(4.9)
    between = sites(corner, (6.0, 6.0, 6.0))
    assert between.reaches_far(4.3)
    assert not between.reaches_far(1.3)


@pytest.mark.parametrize("seed", range(6))
def test_ways_lead_far_where_a_larger_cell_has_fewer_pieces(seed):
    """Pieces of a net that ends are there 27 times in 3 x 3 x 3 cells, and no others."""
    one = sites(np.random.default_rng(seed).random((12, 3)), (7.0, 8.0, 9.0))
    images = np.array(list(itertools.product(range(3), repeat=3)))
    many = sites(
        ((one.fraction[None] + images[:, None]) / 3).reshape(-1, 3), (21.0, 24.0, 27.0)
    )
    for limit in (2.0, 2.5, 3.0, 3.5, 4.0, 4.5):
        pieces = [_pieces(given, limit) for given in (one, many)]
        assert one.reaches_far(limit) == (pieces[1] < 27 * pieces[0])


def _pieces(given, limit):
    first, second = given.edges.T
    near = np.linalg.norm(given.difference(first, second), axis=1) <= limit
    n = len(given.fraction)
    joined = coo_matrix((np.ones(near.sum()), (first[near], second[near])), shape=(n, n))
    return connected_components(joined, directed=False)[0]


def test_a_site_is_the_neighbour_of_its_own_images():
    alone = sites(np.array([[0.2, 0.7, 0.4]]), (3.0, 3.5, 4.0))
    assert alone.edges.tolist() == [[0, 0]] * 3
    assert alone.reaches_far(3.0)
    assert not alone.reaches_far(2.9)


def test_an_oblique_cell_has_the_same_neighbours():
    """The grid in a sheared cell of the same lattice."""
    shear = np.array([[9.0, 0, 0], [9.0, 9, 0], [0, 9, 9]])
    place = GRID * 9.0
    oblique = sites(place @ np.linalg.inv(shear), shear)
    np.testing.assert_allclose(oblique.spacing, 3.0)
    assert len(oblique.edges) == 81


def test_classes_are_found_from_gaps():
    length = np.array([2.0, 3.0, 2.05, 3.1, 2.0])
    number, known = classes_of(length, np.array([0, 0, 0, 0, 1]))
    assert number.tolist() == [0, 1, 0, 1, 2]
    assert [pair for pair, _ in known] == [0, 0, 1]
    np.testing.assert_allclose([mean for _, mean in known], [2.025, 3.05, 2.0])


def host_of(atoms, element, repeats, shift, noise=0.05):
    """The framework of a supercell, shifted and shaken."""
    big = atoms.repeat(repeats)
    keep = np.array(big.get_chemical_symbols()) != element
    rng = np.random.default_rng(0)
    place = big.positions[keep] + noise * rng.normal(size=(keep.sum(), 3))
    cell = np.asarray(big.cell.array)
    order = rng.permutation(keep.sum())
    return (place @ np.linalg.inv(cell) + shift)[order], big.numbers[keep][order], cell


SHIFT = np.array([0.13, -0.21, 0.37])


@pytest.mark.parametrize("name", ["li2o.cif", "POSCAR", "li2o.extxyz"])
def test_sites_of_a_file_lie_where_the_trajectory_has_them(tmp_path, name):
    """A unit cell of Li2O, in a supercell with another origin and order of the atoms."""
    atoms = bulk("OLi2", "fluorite", a=4.6, cubic=True)
    write(tmp_path / name, atoms)
    host, number, cell = host_of(atoms, "Li", (2, 3, 2), SHIFT)
    found = sites_of_structure(tmp_path / name, "Li", cell, host, number)
    assert len(found.fraction) == 8 * 12
    assert found.names == ("Li1",)
    expected = atoms.repeat((2, 3, 2))
    truth = expected.positions[expected.numbers == 3] @ np.linalg.inv(cell) + SHIFT
    apart, nearest = found.nearest(truth)
    assert apart.max() < 0.1
    assert len(set(nearest[:, 0].tolist())) == 96


def test_partly_filled_sites_are_kept_and_kinds_told_apart(tmp_path):
    """Two orbits of lithium at occupancies 0.5 and 0.25, expanded by symmetry."""
    atoms = crystal(
        ["S", "Li", "Li"],
        [(0, 0, 0), (0.3, 0.5, 0.5), (0.5, 0, 0)],
        spacegroup=221,
        cellpar=[6, 6, 6, 90, 90, 90],
        occupancies=[1, 0.5, 0.25],
    )
    write(tmp_path / "cage.cif", atoms)
    host, number, cell = host_of(atoms, "Li", (2, 2, 2), SHIFT)
    found = sites_of_structure(tmp_path / "cage.cif", "Li", cell, host, number)
    count = np.bincount(found.kind)
    assert sorted(zip(count.tolist(), found.occupancy, strict=True)) == [
        (24, 0.25),
        (48, 0.5),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("element", "has no Na; give a structure with the sites"),
        ("cell", "does not fill that of the trajectory"),
        ("missing", "23 framework atoms|or other elements"),
        ("other", r"Å \(r.m.s.\) from the places"),
        ("damaged", "cannot be read by ASE|no format that ASE knows"),
    ],
)
def test_a_file_of_another_crystal_is_refused(tmp_path, change, message):
    atoms = bulk("OLi2", "fluorite", a=4.6, cubic=True)
    path = tmp_path / "li2o.cif"
    write(path, atoms)
    host, number, cell = host_of(atoms, "Li", (2, 2, 2), SHIFT)
    element = "Na" if change == "element" else "Li"
    if change == "cell":
        cell = cell * 1.3
    if change == "missing":
        host, number = host[:-1], number[:-1]
    if change == "other":
        host = np.random.default_rng(1).random(host.shape)
    if change == "damaged":
        path.write_text("no crystal")
    with pytest.raises(ValueError, match=message):
        sites_of_structure(path, element, cell, host, number)
