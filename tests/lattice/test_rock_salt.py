"""Decoding against brute force; the origin against the shift put in."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from quarters import QuarterHistory
from synthetic_hops import CELLS, LATTICE, perfect_sites

from jaxdiff.lattice import Supercell, rock_salt


def brute_force(position, site):
    """Distance to the nearest of `site`."""
    return np.sqrt(((position[:, None] - site[None]) ** 2).sum(-1)).min(1)


def all_sites():
    grid = np.array(list(itertools.product(range(-12, 13), repeat=3)))
    even, odd = np.all(grid % 2 == 0, axis=1), np.all(grid % 2 == 1, axis=1)
    parity = grid.sum(1) // 2 % 2
    return grid[even & (parity == 0)], grid[even & (parity == 1)], grid[odd]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decoders_find_the_nearest_site(dtype):
    rng = np.random.default_rng(0)
    y = rng.uniform(-8, 8, (500, 3)).astype(dtype)
    cation, anion, tetrahedral = all_sites()
    for decode, site in [
        (rock_salt.nearest_cation_site, cation),
        (rock_salt.nearest_anion_site, anion),
        (rock_salt.nearest_tetrahedral_site, tetrahedral),
        (rock_salt.nearest_site, np.concatenate([cation, tetrahedral])),
    ]:
        found = np.asarray(decode(jnp.asarray(y)))
        assert found.dtype == np.int32
        assert set(map(tuple, found)) <= set(map(tuple, site))
        distance = np.linalg.norm(y - found, axis=1)
        np.testing.assert_allclose(distance, brute_force(y, site), atol=1e-5)


def test_leading_axes_are_kept():
    y = jnp.asarray(np.random.default_rng(1).uniform(-8, 8, (2, 5, 7, 3)))
    flat = rock_salt.nearest_site(y.reshape(-1, 3))
    np.testing.assert_array_equal(rock_salt.nearest_site(y), flat.reshape(2, 5, 7, 3))
    one = rock_salt.nearest_site(y[0, 0, 0])
    np.testing.assert_array_equal(one, flat[0])


@pytest.mark.parametrize("shift", [(0, 0, 0), (0.9, -0.3, 0.2), (11.3, -7.7, 2.6)])
def test_origin_is_the_shift_modulo_the_lattice(shift):
    (cation, anion), lattice, cells = perfect_sites(), LATTICE, CELLS
    rng = np.random.default_rng(2)
    site = np.concatenate([cation, anion])
    noise = 0.25
    position = site * lattice / 4 + rng.normal(size=site.shape) * noise + np.array(shift)
    edge = lattice * np.array(cells)
    position -= edge * np.floor(position / edge)
    is_anion = np.arange(len(site)) >= len(cation)
    origin = rock_salt.lattice_origin(jnp.asarray(position), is_anion, lattice)
    difference = (np.asarray(origin) - shift) * 4 / lattice
    nearest = np.asarray(rock_salt.nearest_cation_site(jnp.asarray(difference)))
    error = (difference - nearest) * lattice / 4
    # a mean over 108 anions: 0.25/√108 = 0.024 Å per axis; five standard errors
    assert np.abs(error).max() < 5 * noise / np.sqrt(len(anion))


def test_published_states_have_one_interstitial(shared):
    """The equilibrated LAMMPS states of the reference study: 501 Li, 500 F, 300-450 K."""
    folder = shared / "data/lif_dft/states"
    files = sorted(folder.glob("*.data"))
    if not files:
        pytest.skip(f"no LAMMPS states in {folder}; set JAXDIFF_SHARED")
    ase_io = pytest.importorskip("ase.io")
    from jaxdiff.observables import SiteSettings, initialize, observe

    for file in files:
        atoms = ase_io.read(
            file, format="lammps-data", atom_style="atomic", units="metal", sort_by_id=True
        )
        settings, supercell = SiteSettings(), Supercell.of(rock_salt.ROCK_SALT, 5)
        position = jnp.asarray(atoms.positions)
        cell, is_mobile = atoms.cell.array, atoms.numbers == 3
        state = initialize(settings, supercell, cell, position, is_mobile)
        state = observe(settings, state, position, 0)
        assert int(np.sum(rock_salt.is_tetrahedral(state.site))) == 1, file.name
        found = QuarterHistory(supercell, np.asarray(state.site))
        found.finish(1)
        assert (found.counts.exposure, found.counts.interstitial) == (1, 1), file.name
        assert int(state.anion_displaced_frames) == 0, file.name
