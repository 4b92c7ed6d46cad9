"""What is written is read back the same, here, by ASE, by MDAnalysis and by OVITO."""

import ase.io
import h5py
import numpy as np
import pytest
from written_by_hand import GENERAL, ORTHOGONAL, TILTED_BACK, TRICLINIC, assert_same, walk

from jaxdiff.io.export import write_trajectory
from jaxdiff.io.trajectory import Frames, open_trajectory

NAMES = ("a.lammpstrj", "a.extxyz", "XDATCAR", "a.h5", "a.traj")
# 10 decimals of positions; of fractional ones times ~30 Å
PRINTED = {"a.lammpstrj": 1e-9, "a.extxyz": 1e-9, "XDATCAR": 2e-9, "a.h5": 0, "a.traj": 0}


def chunks(known, size=7):
    for start in range(0, len(known.position), size):
        part = slice(start, start + size)
        yield Frames(known.position[part], known.cell[part], known.time_ps[part])


def write(path, known, **arguments):
    return write_trajectory(path, chunks(known), atomic_number=known.number, **arguments)


@pytest.mark.parametrize("cell", [ORTHOGONAL, TRICLINIC, TILTED_BACK, GENERAL])
@pytest.mark.parametrize("name", NAMES)
def test_round_trip(tmp_path, name, cell):
    known = walk(cell, breathing=0.01)
    if name == "a.lammpstrj" and cell is GENERAL:
        with pytest.raises(ValueError, match=r"a along x, b in the xy plane"):
            write(tmp_path / name, known)
        assert not (tmp_path / name).exists()
        return
    assert write(tmp_path / name, known) == 40
    given = {"frame_ps": 0.1} if name == "XDATCAR" else {}
    given |= {"timestep_fs": 1.0} if name == "a.lammpstrj" else {}
    assert_same(tmp_path / name, known, PRINTED[name] + 1e-12, **given)


@pytest.mark.parametrize("name", ["a.lammpstrj", "a.h5"])
def test_steps_longer_than_a_minimum_image_stay_exact(tmp_path, name):
    """6 Å per frame in a cell of 8.5 Å."""
    known = walk(TRICLINIC)
    far = type(known)(7 * known.position, known.cell, known.number)
    write(tmp_path / name, far)
    given = {"timestep_fs": 1.0} if name == "a.lammpstrj" else {}
    assert_same(tmp_path / name, far, 1e-9, **given)


@pytest.mark.parametrize("name", ["a.extxyz", "XDATCAR", "a.traj"])
def test_ase_reads_the_same(tmp_path, name):
    known = walk(TRICLINIC, breathing=0.01)
    write(tmp_path / name, known)
    frames = ase.io.read(tmp_path / name, index=":")
    assert isinstance(frames, list)
    position = np.array([atoms.positions for atoms in frames])
    cell = np.array([atoms.cell.array for atoms in frames])
    np.testing.assert_allclose(position, known.position, rtol=0, atol=2e-9)
    np.testing.assert_allclose(cell, known.cell, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(frames[0].numbers, known.number)
    assert frames[0].pbc.all()
    if name != "XDATCAR":
        assert frames[3].info["time_ps"] == pytest.approx(0.3)


def test_ase_reads_the_lammps_dump(tmp_path):
    known = walk(TRICLINIC, breathing=0.01)
    write(tmp_path / "a.lammpstrj", known)
    frames = ase.io.read(tmp_path / "a.lammpstrj", index=":", format="lammps-dump-text")
    position = np.array([atoms.positions for atoms in frames])
    np.testing.assert_allclose(position, known.position, rtol=0, atol=1e-9)
    np.testing.assert_allclose(frames[-1].cell.array, known.cell[-1], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(frames[0].numbers, known.number)


def test_types_and_steps_of_a_dump(tmp_path):
    known = walk(n_frames=3)
    write(tmp_path / "a.dump", known, timestep_fs=2.0)
    lines = (tmp_path / "a.dump").read_text().splitlines()
    assert lines[8] == "ITEM: ATOMS id type element xu yu zu"
    assert lines[9].split()[:3] == ["1", "2", "F"]  # ascending atomic number: Li is 1
    assert lines[10].split()[:3] == ["2", "1", "Li"]
    steps = [b for a, b in zip(lines, lines[1:], strict=False) if a == "ITEM: TIMESTEP"]
    assert steps == ["0", "50", "100"]
    species = {1: "Li", 2: "F"}
    trajectory = open_trajectory(tmp_path / "a.dump", species=species, timestep_fs=2.0)
    np.testing.assert_array_equal(trajectory.atomic_number, known.number)
    assert trajectory.frame_ps == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["a.lammpstrj", "a.extxyz", "a.h5", "a.traj"])
def test_free_boundaries(tmp_path, name):
    known = walk(n_frames=3)
    write(tmp_path / name, known, periodic=(True, False, True))
    given = {"timestep_fs": 1.0} if name == "a.lammpstrj" else {}
    trajectory = assert_same(tmp_path / name, known, 1e-9, **given)
    assert trajectory.periodic == (True, False, True)


def test_h5md_is_as_specified(tmp_path):
    """H5MD 1.1: https://www.nongnu.org/h5md/h5md.html."""
    known = walk(n_frames=9)
    write(tmp_path / "a.h5", known, timestep_fs=2.0)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        assert set(file["h5md"]) == {"author", "creator", "modules"}
        assert file["h5md/creator"].attrs["name"] == "jaxdiff"
        assert file["h5md/modules/units"].attrs["version"].tolist() == [1, 0]
        group = file["particles/all"]
        assert group["box"].attrs["dimension"] == 3
        assert list(group["box"].attrs["boundary"]) == ["periodic"] * 3
        for name in ("position", "image", "box/edges"):
            assert group[f"{name}/step"] == group["position/step"]  # the same object
            assert group[f"{name}/time"] == group["position/time"]
            assert len(group[f"{name}/value"]) == 9
        assert group["position/value"].attrs["unit"] == "Angstrom"
        assert group["position/time"].attrs["unit"] == "ps"
        assert not np.any(group["image/value"])
        np.testing.assert_array_equal(group["position/step"], 50 * np.arange(9))
        np.testing.assert_array_equal(group["species"], known.number)
        assert h5py.check_enum_dtype(group["species"].dtype) == {"Li": 3, "F": 9}


def test_frames_are_written_as_they_come(tmp_path):
    """The second chunk is asked for when the first is on disk."""
    known, sizes = walk(n_frames=400, n_atoms=50), []

    def watched():
        for chunk in chunks(known, 100):
            path = tmp_path / "a.xyz"
            sizes.append(path.stat().st_size if path.exists() else 0)
            yield chunk

    write_trajectory(tmp_path / "a.xyz", watched(), atomic_number=known.number)
    assert np.all(np.diff(sizes) > 100 * 50 * 30)


def test_mdanalysis_reads_the_same(tmp_path):
    """Its positions are float32: 2e-6 Å at 30 Å."""
    mda = pytest.importorskip("MDAnalysis")
    known = walk(TRICLINIC, breathing=0.01)
    dump, h5 = tmp_path / "a.lammpstrj", tmp_path / "a.h5"
    for path in (dump, h5):
        write(path, known)
    universes = [
        mda.Universe(str(dump), format="LAMMPSDUMP", topology_format="LAMMPSDUMP", dt=1e-3),
        mda.Universe(str(dump), str(h5), topology_format="LAMMPSDUMP", format="H5MD"),
    ]
    for universe in universes:
        seen = [
            (ts.time, ts.positions.copy(), ts.triclinic_dimensions.copy())
            for ts in universe.trajectory
        ]
        time, position, cell = (np.array(part) for part in zip(*seen, strict=True))
        np.testing.assert_allclose(position, known.position, rtol=0, atol=1e-5)
        np.testing.assert_allclose(cell, known.cell, rtol=0, atol=1e-5)
        np.testing.assert_allclose(time, known.time_ps, atol=1e-6)
        types = np.where(known.number == 3, "1", "2")
        np.testing.assert_array_equal(universe.atoms.types, types)


@pytest.mark.parametrize("name", ["a.lammpstrj", "a.extxyz", "XDATCAR", "a.traj"])
def test_ovito_reads_the_same(tmp_path, name):
    """OVITO Basic has no reader of H5MD."""
    ovito = pytest.importorskip("ovito.io")
    known = walk(TRICLINIC, breathing=0.01)
    write(tmp_path / name, known)
    pipeline = ovito.import_file(str(tmp_path / name))
    assert pipeline.source.num_frames == 40
    for k in (0, 17, 39):
        data = pipeline.compute(k)
        position = np.asarray(data.particles.positions)
        np.testing.assert_allclose(position, known.position[k], rtol=0, atol=1e-8)
        cell = np.asarray(data.cell)[:, :3].T
        np.testing.assert_allclose(cell, known.cell[k], rtol=0, atol=1e-8)
        kinds = data.particles.particle_types
        symbols = [kinds.type_by_id(t).name for t in kinds]
        assert symbols == ["Li" if z == 3 else "F" for z in known.number]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("a.dcd", {}, "the format is not clear; say --file-format"),
        ("a.xyz", {"file_format": "dcd"}, "the format is not clear"),
        ("a.dump", {"timestep_fs": 0.3}, "0.1 ps is not at a whole number of steps"),
        ("a.dump", {"timestep_fs": -1.0}, "timestep_fs=-1.0"),
        ("XDATCAR", {"periodic": (True, True, False)}, "XDATCAR is periodic in all"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / name, walk(n_frames=3), **arguments)
    assert not (tmp_path / name).exists()


def test_frames_that_cannot_be_written(tmp_path):
    known = walk(n_frames=3)
    path = tmp_path / "a.xyz"
    with pytest.raises(ValueError, match="Frames have 12 atoms, atomic_number 11"):
        write_trajectory(path, chunks(known), atomic_number=known.number[1:])
    known.position[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        write(path, known)
    path.write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        write(path, walk(n_frames=3))
    assert path.read_text() == "mine"
