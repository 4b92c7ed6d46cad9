"""Defects of one frame, against where they were put."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.geometry import get_distances

from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial, tetrahedral_sites
from jaxdiff.lattice.rock_salt import ROCK_SALT
from jaxdiff.lattice.supercell import Supercell
from jaxdiff.observables.defect_centers import defect_centers

A = 4.0834


def found(position, number, cell, supercell):
    is_mobile = np.asarray(number) == 3
    return defect_centers(
        Supercell.of(ROCK_SALT, supercell), np.asarray(cell), position, is_mobile
    )


def assert_at(centers, expected, cell):
    """The same points, in any order, up to lattice vectors; 1e-9 Å for rounding."""
    assert len(centers) == len(expected)
    distance = get_distances(centers, expected, cell=cell, pbc=True)[1]
    assert (np.sort(distance.min(axis=0)) < 1e-9).all()
    assert (np.sort(distance.min(axis=1)) < 1e-9).all()


def test_none_in_a_hot_crystal_anywhere_in_space():
    atoms = bulk("LiF", "rocksalt", a=A, cubic=True) * (2, 2, 3)
    atoms.rattle(0.15, seed=0)
    atoms.translate([3.1, -0.7, 0.2])
    atoms.wrap()
    assert found(atoms.positions, atoms.numbers, atoms.cell, (2, 2, 3)).shape == (0, 3)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_interstitial_is_where_it_is(wrapped):
    system = rock_salt_interstitial(3, A, site=17)
    noise = np.random.default_rng(2).normal(0, 0.1, system.position.shape)
    position = system.position + noise + [1.3, 0.4, -9.0]
    expected = position[108:109].copy()
    apart = expected - [1.3, 0.4, -9.0] - tetrahedral_sites(3, A)[17]
    assert np.linalg.norm(apart) < 0.5
    if wrapped:
        position = position % (3 * A)
    assert_at(found(position, system.atomic_number, system.cell, 3), expected, system.cell)


def test_a_split_interstitial_is_two_cations_on_one_site():
    atoms = bulk("LiF", "rocksalt", a=A, cubic=True) * 2
    lithium = int(np.flatnonzero(atoms.numbers == 3)[5])
    middle = atoms.positions[lithium].copy()
    half = np.array([0.6, 0.6, 0.0])  # along <110>: nearer to the site than to any 8c
    atoms.positions[lithium] = middle + half
    position = np.concatenate([atoms.positions, [middle - half]])
    number = [*atoms.numbers, 3]
    expected = np.array([middle + half, middle - half])
    assert_at(found(position, number, atoms.cell, 2), expected, atoms.cell)


@pytest.mark.parametrize(("element", "at"), [(3, 4), (9, 7)])
def test_a_vacancy_is_at_the_empty_site(element, at):
    atoms = bulk("LiF", "rocksalt", a=A, cubic=True) * 2
    lost = int(np.flatnonzero(atoms.numbers == element)[at])
    expected = atoms.positions[lost : lost + 1].copy()
    del atoms[lost]
    assert_at(found(atoms.positions, atoms.numbers, atoms.cell, 2), expected, atoms.cell)


def test_a_hop_halfway_is_two_cations_and_the_site_between():
    system = rock_salt_interstitial(3, A, site=0)
    interstitial = system.position[108]
    kicked = int(np.argmin(np.linalg.norm(system.position[:108] - interstitial, axis=1)))
    position = system.position.copy()
    site = position[kicked].copy()
    position[kicked] = site + (site - interstitial)
    expected = np.array([interstitial, site, position[kicked]])
    assert_at(found(position, system.atomic_number, system.cell, 3), expected, system.cell)


def test_bulk_has_none_and_every_interstitial_frame_has_some(shared):
    path = shared / "data/lif_dft/pool_valid.extxyz"
    seen = set()
    for atoms in ase.io.iread(path):
        is_mobile = np.equal(atoms.numbers, 3)
        cell = atoms.cell.array
        supercell = Supercell.guess(ROCK_SALT, cell, int((~is_mobile).sum()))
        n = len(defect_centers(supercell, cell, atoms.positions, is_mobile))
        seen.add((atoms.info["config_type"], n > 0))
    assert seen == {("bulk", False), ("interstitial", True)}
