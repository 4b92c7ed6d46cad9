"""NetCDF of AMBER and LAMMPS, DCD, and the elements of a structure file beside them."""

import ase
import ase.io
import numpy as np
import pytest
from scipy.io import netcdf_file
from written_by_hand import ORTHOGONAL, TRICLINIC, assert_same, read, walk

from jaxdiff.io.trajectory import open_trajectory

KNOWN = walk(TRICLINIC, n_frames=9)
CELL = ase.Atoms(cell=TRICLINIC).cell.cellpar()
SINGLE = 1e-5  # Å; these files are in single precision
LITHIUM_FLUORIDE = {1: "Li", 2: "F"}


def write_netcdf(path, *, name="coordinates", unit=b"picosecond", order=None, types=False):
    """By https://ambermd.org/netcdf/nctraj.xhtml; LAMMPS scales its time."""
    position = KNOWN.position if name.startswith("unwrapped") else KNOWN.wrapped
    with netcdf_file(path, "w", version=2) as file:
        file.Conventions, file.ConventionVersion = b"AMBER", b"1.0"
        for dimension, size in {"frame": None, "atom": 12, "spatial": 3}.items():
            file.createDimension(dimension, size)
        time = file.createVariable("time", "f4", ("frame",))
        lengths = file.createVariable("cell_lengths", "f4", ("frame", "spatial"))
        angles = file.createVariable("cell_angles", "f4", ("frame", "spatial"))
        place = file.createVariable(name, "f4", ("frame", "atom", "spatial"))
        if unit is not None:
            time.units, time.scale_factor = unit, 0.5
        place.units, lengths.units, angles.units = b"angstrom", b"angstrom", b"degree"
        for k in range(9):
            rows = np.arange(12) if order is None else order[k]
            time[k] = 0.1 * k / 0.5 * (1e3 if unit == b"femtosecond" else 1)
            lengths[k], angles[k], place[k] = CELL[:3], CELL[3:], position[k][rows]
        if types:
            kinds = np.where(KNOWN.number == 3, 1, 2)
            kind = file.createVariable("type", "i4", ("frame", "atom"))
            identifier = file.createVariable("id", "i4", ("frame", "atom"))
            for k in range(9):
                kind[k], identifier[k] = kinds[order[k]], order[k] + 1
    return path


@pytest.fixture
def poscar(tmp_path):
    path = tmp_path / "start.extxyz"
    ase.io.write(path, ase.Atoms(KNOWN.number, KNOWN.wrapped[0], cell=TRICLINIC, pbc=True))
    return path


@pytest.mark.parametrize("unit", [b"picosecond", b"femtosecond"])
def test_netcdf_of_amber(tmp_path, poscar, unit):
    path = write_netcdf(tmp_path / "a.nc", unit=unit)
    trajectory = assert_same(path, KNOWN, SINGLE, topology=poscar)
    assert trajectory.format == "netcdf"
    with pytest.raises(ValueError, match="names no elements; give .*--topology"):
        open_trajectory(path)


@pytest.mark.parametrize("name", ["coordinates", "unwrapped_coordinates"])
def test_netcdf_of_lammps(tmp_path, name):
    """Atoms in any order, with ids and types; unwrapped columns where there are some."""
    rng = np.random.default_rng(1)
    order = [rng.permutation(12) for _ in range(9)]
    path = write_netcdf(tmp_path / "a.nc", name=name, order=order, types=True)
    trajectory = assert_same(path, KNOWN, SINGLE, species=LITHIUM_FLUORIDE)
    assert ("minimum image" in trajectory.unwrapping) is (name == "coordinates")
    with pytest.raises(ValueError, match="--species 1=Li --species 2=F"):
        open_trajectory(path)


@pytest.mark.filterwarnings("ignore:Could not find netCDF4")
def test_netcdf_of_mdanalysis(tmp_path, poscar):
    mda = pytest.importorskip("MDAnalysis")
    path = tmp_path / "a.ncdf"
    write_by_mdanalysis(mda, path)
    assert_same(path, KNOWN, SINGLE, topology=poscar)


def write_by_mdanalysis(mda, path, dimensions=True, **options):
    universe = mda.Universe.empty(12, trajectory=True)
    with mda.Writer(str(path), n_atoms=12, **options) as writer:
        for x, time in zip(KNOWN.wrapped, KNOWN.time_ps, strict=True):
            universe.trajectory.ts.time = time
            if dimensions:
                universe.trajectory.ts.dimensions = CELL
            universe.atoms.positions = x
            writer.write(universe.atoms)


def test_netcdf_that_is_not_read(tmp_path, poscar):
    path = write_netcdf(tmp_path / "a.nc", unit=b"fortnight")
    with pytest.raises(ValueError, match="units 'fortnight'; known are picosecond"):
        open_trajectory(path, topology=poscar)
    path = write_netcdf(tmp_path / "b.nc", name="velocities")
    with pytest.raises(ValueError, match="no coordinates"):
        open_trajectory(path, topology=poscar)
    content = path.read_bytes()
    path.write_bytes(content[:3] + b"\5" + content[4:])
    with pytest.raises(ValueError, match="classic netCDF .*nccopy"):
        open_trajectory(path, topology=poscar)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:No dimensions")
def test_dcd(tmp_path, poscar):
    mda = pytest.importorskip("MDAnalysis")
    path = tmp_path / "a.dcd"
    write_by_mdanalysis(mda, path, dt=0.3)
    trajectory = assert_same(path, KNOWN, 2 * SINGLE, topology=poscar, frame_ps=0.1)
    assert trajectory.format == "dcd"
    with pytest.raises(ValueError, match=r"time between its frames; give --frame-ps\.$"):
        open_trajectory(path, topology=poscar)
    with pytest.raises(ValueError, match="--timestep-fs 1 does not tell its times"):
        open_trajectory(path, topology=poscar, timestep_fs=1.0)
    with pytest.raises(ValueError, match="names no elements"):
        open_trajectory(path, frame_ps=0.1)
    write_by_mdanalysis(mda, path, dimensions=False)
    known = {"topology": poscar, "frame_ps": 0.1}
    assert_same(path, KNOWN, 2 * SINGLE, cell=TRICLINIC, **known)
    with pytest.raises(ValueError, match="has no cell; give it, such as --cell-angstrom"):
        open_trajectory(path, **known)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dcd_that_is_cut(tmp_path, poscar):
    mda = pytest.importorskip("MDAnalysis")
    path = tmp_path / "a.dcd"
    write_by_mdanalysis(mda, path)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    trajectory, position, _, _ = read(path, topology=poscar, frame_ps=0.1)
    np.testing.assert_allclose(position, KNOWN.position[:8], rtol=0, atol=2 * SINGLE)
    path.write_bytes(content[:50])
    with pytest.raises(ValueError, match="cannot be read as DCD"):
        open_trajectory(path, topology=poscar, frame_ps=0.1)


DATA = """LAMMPS data file

12 atoms
2 atom types
0.0 9.0 xlo xhi
0.0 10.0 ylo yhi
0.0 8.5 zlo zhi

Masses

1 {masses[0]}
2 {masses[1]}

Atoms # atomic

{rows}"""


def test_topologies(tmp_path, poscar):
    """What ASE reads, LAMMPS data by mass or by name, and what does not fit."""
    path = write_netcdf(tmp_path / "a.nc")
    atoms = ase.io.read(poscar)
    ase.io.write(tmp_path / "a.pdb", atoms)
    assert_same(path, KNOWN, SINGLE, topology=tmp_path / "a.pdb")
    kinds = [1 if z == 3 else 2 for z in KNOWN.number]
    rows = "".join(f"{k + 1} {kinds[k]} 1.0 1.0 1.0\n" for k in reversed(range(12)))
    data = tmp_path / "a.data"
    data.write_text(DATA.format(masses=("6.94", "18.998"), rows=rows))
    assert_same(path, KNOWN, SINGLE, topology=data)
    data.write_text(DATA.format(masses=("1", "1"), rows=rows))
    assert_same(path, KNOWN, SINGLE, topology=data, species=LITHIUM_FLUORIDE)
    ase.io.write(tmp_path / "few.pdb", atoms[:5])
    (tmp_path / "a.txt").write_text("no structure\n")
    for name, message in [
        ("few.pdb", "has 5 atoms, .* has 12; give the file of the same atoms"),
        ("none.pdb", "--topology .*none.pdb does not exist"),
        ("a.txt", "--topology .*a.txt"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_trajectory(path, topology=tmp_path / name)


def test_options_that_are_not_for_the_format(tmp_path, poscar):
    with pytest.raises(ValueError, match="--topology is for H5MD, netCDF and DCD alone"):
        open_trajectory(poscar, frame_ps=0.1, topology=poscar)
    with pytest.raises(ValueError, match="--length-unit is for H5MD alone"):
        open_trajectory(poscar, frame_ps=0.1, length_unit="nm")


def test_a_cell_that_is_not_needed(tmp_path, poscar):
    path = write_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match="leave --cell-angstrom out"):
        open_trajectory(path, topology=poscar, cell=ORTHOGONAL)


@pytest.mark.parametrize("form", ["netcdf", "dcd"])
def test_files_with_one_byte_wrong(tmp_path, poscar, form):
    """Read all the same, or one sentence; never another exception."""
    if form == "dcd":
        mda = pytest.importorskip("MDAnalysis")
    path = tmp_path / "whole"
    if form == "netcdf":
        write_netcdf(path)
    else:
        write_by_mdanalysis(mda, path.with_suffix(".dcd"))
        path = path.with_suffix(".dcd")
    content = path.read_bytes()
    rng = np.random.default_rng(4)
    for k in range(60):
        wrong = bytearray(content)
        place = rng.integers(600 if k % 2 else len(wrong))
        wrong[place] = rng.integers(256)
        path.write_bytes(wrong)
        try:
            read(path, topology=poscar, frame_ps=0.1, file_format=form)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
