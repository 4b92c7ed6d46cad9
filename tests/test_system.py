import ase
import ase.build
import numpy as np
import pytest

from jaxdiff import crystal
from jaxdiff import system as systems
from jaxdiff import units

LAMMPS = """LAMMPS data file via write_data, timestep = 5, units = metal

3 atoms
2 atom types

1 5 xlo xhi
0 4 ylo yhi
0 6 zlo zhi

Masses

1 6.941
2 18.9984032

Atoms # atomic/kk

7 2 2.0 3.0 5.5 0 -1 2
2 1 1.5 0.5 0.5 1 0 0
5 1 4.5 2.5 3.0 0 0 0

Velocities

7 1.0 2.0 3.0
5 -4.0 0.0 0.0
2 0.0 0.0 5.0
"""


@pytest.fixture
def lammps_file(tmp_path):
    path = tmp_path / "state.data"
    path.write_text(LAMMPS)
    return path


def test_ase_and_back():
    atoms = ase.build.bulk("LiF", "rocksalt", a=4.08) * (2, 1, 1)
    atoms.set_velocities(np.arange(12.0).reshape(4, 3))
    back = systems.to_ase(systems.from_ase(atoms))
    for name in ("positions", "numbers", "momenta"):
        np.testing.assert_allclose(back.arrays[name], atoms.arrays[name], rtol=1e-15)
    np.testing.assert_array_equal(back.cell, atoms.cell)
    assert back.pbc.all()


@pytest.mark.parametrize("supercell", [1, (2, 1, 3)])
def test_rock_salt_and_one_interstitial(supercell):
    a = 4.0
    system = crystal.rock_salt_interstitial(supercell, a, site=5)
    conventional = np.prod(np.broadcast_to(supercell, 3))
    number = system.atomic_number
    assert (number == 3).sum() == 4 * conventional + 1
    assert (number == 9).sum() == 4 * conventional
    np.testing.assert_allclose(np.diag(system.cell), a * np.broadcast_to(supercell, 3))
    interstitial = 4 * conventional
    from matscipy.neighbours import neighbour_list

    i, j, d = neighbour_list("ijd", systems.to_ase(system), 0.49 * a)
    around = j[i == interstitial]
    np.testing.assert_allclose(d[i == interstitial], np.sqrt(3) / 4 * a)
    assert sorted(number[around]) == [3] * 4 + [9] * 4
    lattice = systems.to_ase(system)
    del lattice[int(interstitial)]
    perfect = neighbour_list("i", lattice, 0.51 * a)
    assert (np.bincount(perfect) == 6).all()


def test_sites_are_distinct_and_bounded():
    site = crystal.tetrahedral_sites(2, 4.0)
    assert site.shape == (64, 3)
    assert len(np.unique(site.round(6), axis=0)) == 64
    with pytest.raises(ValueError, match="site=64, but a 2x2x2 supercell has 64"):
        crystal.rock_salt_interstitial(2, site=64)


def test_masses_are_those_of_the_reference_study():
    assert set(crystal.rock_salt_interstitial(1).mass) == {6.941, 18.9984032}


@pytest.mark.parametrize("supercell", [0, (2, 2), (2, 2, 0)])
def test_impossible_supercell(supercell):
    with pytest.raises(ValueError, match="give one number of conventional cells, or three"):
        crystal.rock_salt_interstitial(supercell)


def test_impossible_lattice_constant():
    with pytest.raises(ValueError, match="lattice_constant=-1 Å"):
        crystal.rock_salt_interstitial(2, -1)


def test_lammps_ids_images_velocities_and_species(lammps_file):
    system = systems.read_lammps_state(lammps_file)
    np.testing.assert_array_equal(system.atomic_number, [3, 3, 9])  # ids 2, 5, 7
    np.testing.assert_allclose(
        system.position, [[5.5, 0.5, 0.5], [4.5, 2.5, 3.0], [2.0, -1.0, 17.5]], rtol=1e-14
    )
    angstrom_per_ps = np.array([[0, 0, 5.0], [-4.0, 0, 0], [1.0, 2.0, 3.0]])
    # ASE's units of time rest on CODATA 2014
    np.testing.assert_allclose(
        system.velocity, angstrom_per_ps / units.PICOSECOND, rtol=1e-6, atol=1e-12
    )
    np.testing.assert_allclose(np.diag(system.cell), [4, 4, 6])


def test_lammps_without_masses(lammps_file):
    lammps_file.write_text(LAMMPS.replace("Masses\n\n1 6.941\n2 18.9984032\n", ""))
    with pytest.raises(ValueError, match="has no Masses section"):
        systems.read_lammps_state(lammps_file)


def test_lammps_in_other_units(lammps_file):
    lammps_file.write_text(LAMMPS.replace("units = metal", "units = real"))
    with pytest.raises(ValueError, match="only units metal"):
        systems.read_lammps_state(lammps_file)


def test_position_that_is_not_a_number(lammps_file):
    lammps_file.write_text(LAMMPS.replace("5 1 4.5", "5 1 nan"))
    with pytest.raises(ValueError, match=r"position of atom 1 is \[nan"):
        systems.read_lammps_state(lammps_file)


def test_cell_without_volume():
    with pytest.raises(ValueError, match=r"volume 0.0 Å\^3"):
        systems.from_ase(ase.Atoms("Li", cell=[4, 4, 0], pbc=True))


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        systems.read_structure(tmp_path / "none.xyz")


def test_states_of_the_reference_study(shared):
    """Against an independent reading of the same text."""
    paths = sorted((shared / "data" / "lif_dft" / "states").glob("*.data"))
    if not paths:
        pytest.skip(f"no LAMMPS states in {shared}/data/lif_dft/states")
    for path in paths:
        system = systems.read_lammps_state(path)
        body = path.read_text()
        atoms = _table(body, "Atoms # atomic/kk")
        velocity = _table(body, "Velocities")
        edge = 20.41714
        np.testing.assert_allclose(
            system.position, atoms[:, 2:5] + edge * atoms[:, 5:8], atol=1e-9
        )
        np.testing.assert_array_equal(system.atomic_number == 3, atoms[:, 1] == 1)
        np.testing.assert_allclose(
            system.velocity, velocity[:, 1:] / units.PICOSECOND, rtol=1e-5
        )
        momentum = system.mass[:, None] * system.velocity
        np.testing.assert_allclose(momentum.sum(0), 0, atol=1e-9)
        kinetic = (momentum * system.velocity).sum() / 2
        temperature = 2 * kinetic / ((3 * 1001 - 3) * units.KB)
        target = float(path.name.split("_")[1].removesuffix("K"))
        assert abs(temperature - target) < 5 * target * np.sqrt(2 / 3000)


def _table(text, name):
    rows = text.split(f"\n{name}\n", 1)[1].strip().split("\n\n")[0].splitlines()
    table = np.array([row.split() for row in rows], dtype=float)
    return table[np.argsort(table[:, 0])]
