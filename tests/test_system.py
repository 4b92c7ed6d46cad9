import dataclasses

import ase
import ase.build
import ase.io
import numpy as np
import pytest

from jaxdiff import system as systems
from jaxdiff import units
from jaxdiff.lattice.lithium_fluoride import rock_salt

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


TRICLINIC = """LAMMPS data file via write_data, timestep = 5, units = metal

3 atoms
2 atom types

-1 5 xlo xhi
0 5 ylo yhi
0 4 zlo zhi
1.5 -0.5 0.25 xy xz yz

Masses

1 6.941
2 18.9984032

Atoms # {style}

{rows}

Velocities

3 1.0 2.0 -3.0
1 -4.0 0.5 0.0
2 0.0 0.0 5.0
"""

ROWS = [  # id, type, q, position, image
    (3, 2, -1.0, "0.5 4.5 3.5", "0 -1 2"),
    (1, 1, 1.0, "4.5 0.5 0.5", "-2 0 1"),
    (2, 1, 1.0, "1.0 1.0 1.0", "0 0 0"),
]

LAYOUTS = {  # of read_data's manual
    "atomic": "{id} {type} {position}",
    "charge": "{id} {type} {q} {position}",
    "full": "{id} 1 {type} {q} {position}",
}


def triclinic(style, images=True):
    rows = [
        LAYOUTS[style].format(id=i, type=t, q=q, position=x) + (f" {n}" if images else "")
        for i, t, q, x, n in ROWS
    ]
    return TRICLINIC.format(style=style, rows="\n".join(rows))


@pytest.mark.parametrize("style", LAYOUTS)
def test_lammps_styles_images_and_velocities(tmp_path, style):
    """x + ix a + iy b + iz c with a = (6, 0, 0), b = (1.5, 5, 0), c = (-0.5, 0.25, 4)."""
    path = tmp_path / "state.data"
    path.write_text(triclinic(style))
    system = systems.read_structure(path)
    np.testing.assert_array_equal(system.atomic_number, [3, 3, 9])
    np.testing.assert_allclose(system.cell, [[6, 0, 0], [1.5, 5, 0], [-0.5, 0.25, 4]])
    np.testing.assert_allclose(
        system.position, [[-8, 0.75, 4.5], [1, 1, 1], [-2, 0, 11.5]], atol=1e-12
    )
    # m v^2 in eV: LAMMPS's mvv2e of units metal (update.cpp); ASE's units are CODATA 2014
    metal = np.array([[-4.0, 0.5, 0.0], [0.0, 0.0, 5.0], [1.0, 2.0, -3.0]])
    np.testing.assert_allclose(
        system.velocity, metal * 1.0364269e-4**0.5, rtol=1e-6, atol=1e-12
    )
    path.write_text(triclinic(style, images=False))
    as_written = [[4.5, 0.5, 0.5], [1, 1, 1], [0.5, 4.5, 3.5]]
    np.testing.assert_allclose(systems.read_structure(path).position, as_written)


def test_lammps_type_labels(tmp_path):
    """Rows out of order: each atom keeps its label."""
    labels = {1: "Li", 2: "F"}
    text = triclinic("atomic").replace("Masses", "Atom Type Labels\n\n1 Li\n2 F\n\nMasses")
    for i, t, *_ in ROWS:
        text = text.replace(f"\n{i} {t} ", f"\n{i} {labels[t]} ")
    path = tmp_path / "state.data"
    path.write_text(text)
    np.testing.assert_array_equal(systems.read_structure(path).atomic_number, [3, 3, 9])


@pytest.mark.parametrize("name", ["final.lmp", "data.lif", "state"])
def test_lammps_data_of_any_name(tmp_path, name):
    path = tmp_path / name
    path.write_text(LAMMPS)
    (system,) = systems.read_structures(path)
    np.testing.assert_allclose(system.position[2], [2.0, -1.0, 17.5])
    assert system.velocity is not None


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


def test_file_of_no_known_format(tmp_path):
    path = tmp_path / "notes.unknown"
    path.write_text("nothing\n")
    with pytest.raises(ValueError, match="notes.unknown is of no format that ASE knows"):
        systems.read_structure(path)


def test_all_frames_of_a_run(tmp_path):
    """As `simulate` writes them: one per replica, unwrapped, with velocities."""
    rng = np.random.default_rng(0)
    written = []
    for replica in range(3):
        system = rock_salt(2, 4.0, frenkel_pairs=1, replica=replica)
        shape = system.position.shape
        position = system.position + 9 * rng.normal(size=shape)
        velocity = rng.normal(size=shape)
        written.append(dataclasses.replace(system, position=position, velocity=velocity))
    path = tmp_path / "final.extxyz"
    ase.io.write(path, [systems.to_ase(system) for system in written])
    read = systems.read_structures(path)
    assert len(read) == 3
    for one, other in zip(
        [*read, systems.read_structure(path)], [*written, written[-1]], strict=True
    ):
        np.testing.assert_array_equal(one.atomic_number, other.atomic_number)
        np.testing.assert_allclose(one.mass, other.mass, rtol=1e-7)
        np.testing.assert_allclose(one.cell, other.cell)
        # ASE prints 8 decimals, of the momentum for the velocity
        np.testing.assert_allclose(one.position, other.position, rtol=0, atol=6e-9)
        np.testing.assert_allclose(one.velocity, other.velocity, rtol=0, atol=2e-9)


@pytest.mark.parametrize("name", ["POSCAR", "lif.cif", "lif.traj", "lif.json"])
def test_formats_of_ase(tmp_path, name):
    atoms = ase.build.bulk("LiF", "rocksalt", a=4.08, cubic=True)
    path = tmp_path / name
    ase.io.write(path, atoms)
    for system in (systems.read_structure(path), *systems.read_structures(path)):
        assert sorted(system.atomic_number) == [3] * 4 + [9] * 4
        np.testing.assert_allclose(system.cell, atoms.cell.array, atol=1e-6)
        assert system.velocity is None


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


def test_a_doubled_atom_is_named_with_its_file(tmp_path):
    atoms = ase.build.bulk("LiF", "rocksalt", a=4.05, cubic=True)
    atoms.append(ase.Atom("Li", atoms.positions[3] + atoms.cell.array.sum(axis=0)))
    path = tmp_path / "doubled.extxyz"
    ase.io.write(path, atoms)
    with pytest.raises(ValueError, match=r"doubled\.extxyz: atoms 3 and 8 .*at one place"):
        systems.read_structure(path)
