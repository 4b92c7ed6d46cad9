"""Known trajectories in every format come back as they are."""

import gzip
import tracemalloc

import ase
import ase.io
import ase.io.vasp
import numpy as np
import pytest
from written_by_hand import (
    GENERAL,
    ORTHOGONAL,
    TILTED_BACK,
    TRICLINIC,
    assert_same,
    lammps_bounds,
    lammps_frames,
    read,
    walk,
)

from jaxdiff.io.trajectory import open_trajectory
from jaxdiff.system import read_lammps_state

LITHIUM_FLUORIDE = {1: "Li", 2: "F"}
# Coordinates are printed with 10 decimals: 5e-11 Å, times the sum of three edges (~30 Å)
# for scaled ones.
PRINTED = 2e-9


@pytest.fixture
def dump(tmp_path):
    def write(text):
        path = tmp_path / "dump.lammpstrj"
        path.write_text("".join(text))
        return path

    return write


LAMMPS = {"species": LITHIUM_FLUORIDE, "timestep_fs": 1.0}


@pytest.mark.parametrize(
    ("columns", "exact"),
    [
        ("xu yu zu", True),
        ("x y z ix iy iz", True),
        ("xs ys zs ix iy iz", True),
        ("xsu ysu zsu", True),
        ("x y z", False),
        ("xs ys zs", False),
        ("vx x y z vy xu yu zu", True),
    ],
)
@pytest.mark.parametrize("cell", [ORTHOGONAL, TRICLINIC, TILTED_BACK, GENERAL])
@pytest.mark.parametrize("breathing", [0.0, 0.01])
def test_lammps(dump, columns, exact, cell, breathing):
    known = walk(cell, breathing=breathing)
    shuffle = np.random.default_rng(1)
    path = dump(lammps_frames(known, f"type id {columns}", shuffle=shuffle))
    trajectory = assert_same(path, known, PRINTED, **LAMMPS)
    assert trajectory.format == "lammps"
    assert ("minimum image" in trajectory.unwrapping) is not exact
    assert trajectory.periodic == (True, True, True)


def test_the_walk_crosses_boundaries():
    known = walk()
    assert np.ptp(known.image, axis=0).max() >= 2
    assert np.abs(known.position - known.wrapped).max() > 15


def test_elements_of_a_dump(dump):
    known = walk()
    path = dump(lammps_frames(known, "id element xu yu zu"))
    assert_same(path, known, PRINTED, timestep_fs=1.0)
    path = dump(lammps_frames(known, "id element type xu yu zu"))
    swapped = open_trajectory(path, species={1: "F", 2: "Li"}, timestep_fs=1.0)
    np.testing.assert_array_equal(swapped.atomic_number, 12 - known.number)


def test_lammps_default_element_is_not_believed(dump):
    text = "".join(lammps_frames(walk(), "id type element xu yu zu"))
    path = dump(text.replace("Li", "C").replace(" F ", " C "))
    with pytest.raises(ValueError, match="all 2 atom types C, LAMMPS's default"):
        open_trajectory(path, timestep_fs=1.0)


def test_gz(tmp_path):
    known = walk()
    path = tmp_path / "dump.gz"
    path.write_bytes(gzip.compress("".join(lammps_frames(known)).encode()))
    assert_same(path, known, PRINTED, **LAMMPS)


def test_images_count_only_along_periodic_directions(dump):
    known = walk(ORTHOGONAL, n_frames=3)
    text = "".join(lammps_frames(known, "id type x y z ix iy iz"))
    free = open_trajectory(dump(text.replace("pp pp pp", "pp ff pp")), **LAMMPS)
    assert free.periodic == (True, False, True)
    expected = known.wrapped + known.image * [1, 0, 1] @ ORTHOGONAL
    (frames,) = free.chunks()
    np.testing.assert_allclose(frames.position, expected, rtol=0, atol=PRINTED)


def test_wrapped_positions_move_only_along_periodic_directions(dump):
    """An atom that goes out of a free boundary by more than half a cell stays there."""
    head = "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n1\n"
    box = "ITEM: BOX BOUNDS pp ff pp\n0 10\n0 2\n0 10\nITEM: ATOMS id type x y z\n"
    rows = ["1 1 9.5 1 1", "1 1 0.5 2.5 1", "1 1 1.5 4 1"]
    text = [head.format(k) + box + f"{row}\n" for k, row in enumerate(rows)]
    _, position, _, _ = read(dump(text), **LAMMPS)
    np.testing.assert_allclose(
        position[:, 0], [[9.5, 1, 1], [10.5, 2.5, 1], [11.5, 4, 1]], atol=1e-12
    )


def test_times_of_a_dump(dump):
    known = walk(n_frames=5)
    frames = lammps_frames(known)
    timed = [f"ITEM: TIME\n{0.1 * k:.4f}\n" + frame for k, frame in enumerate(frames)]
    metal = ["ITEM: UNITS\nmetal\n", *timed]
    assert_same(dump(metal), known, PRINTED, species=LITHIUM_FLUORIDE)
    with pytest.raises(ValueError, match="--frame-ps 0.1 if it is ps, --frame-ps 0.0001"):
        open_trajectory(dump(timed), species=LITHIUM_FLUORIDE)
    real = [f"ITEM: TIME\n{100 * k}\n" + frame for k, frame in enumerate(frames)]
    real[0] = "ITEM: UNITS\nreal\n" + real[0]
    assert_same(dump(real), known, PRINTED, species=LITHIUM_FLUORIDE)
    path = dump(frames)
    assert_same(path, known, PRINTED, species=LITHIUM_FLUORIDE, frame_ps=0.1)
    assert open_trajectory(path, species=LITHIUM_FLUORIDE, timestep_fs=2).frame_ps == 0.2


@pytest.mark.parametrize("columns", ["id type xu yu zu", "id type x y z"])
def test_chunks_and_slices(dump, columns):
    known = walk(n_frames=23)
    path = dump(lammps_frames(known, columns))
    _, whole, _, time_ps = read(path, 100, **LAMMPS)
    for size in (1, 2, 22, 23, 24):
        _, position, _, _ = read(path, size, **LAMMPS)
        np.testing.assert_array_equal(position, whole)
    for start, stop, stride in [(0, None, 5), (3, 20, 4), (22, None, 1), (2, 3, 7)]:
        part = {"start": start, "stop": stop, "stride": stride}
        trajectory, position, _, time = read(path, 3, **LAMMPS, **part)
        expected = whole[start:stop:stride]
        # wrapped positions are continuous from the first frame that was asked for
        step = (position - expected) @ np.linalg.inv(known.cell[0])
        np.testing.assert_allclose(
            step, np.round(step[0]) + np.zeros_like(step), atol=1e-12
        )
        np.testing.assert_array_equal(time, time_ps[start:stop:stride])
        if start < 22:
            assert trajectory.frame_ps == pytest.approx(0.1 * stride)


def test_the_spacing_is_that_of_the_part_read(dump):
    """Frames 0 to 3 are 0.1 ps apart, the others 0.2 ps."""
    frames = lammps_frames(walk(n_frames=9))
    path = dump([*frames[:4], *frames[4::2]])
    assert open_trajectory(path, **LAMMPS, stop=4).frame_ps == pytest.approx(0.1)
    trajectory, _, _, time_ps = read(path, **LAMMPS, start=4)
    assert trajectory.frame_ps == pytest.approx(0.2)
    np.testing.assert_allclose(time_ps, [0.4, 0.6, 0.8])


def test_a_second_pass_is_like_the_first(dump):
    trajectory = open_trajectory(dump(lammps_frames(walk(), "id type x y z")), **LAMMPS)
    one, two = list(trajectory.chunks()), list(trajectory.chunks())
    np.testing.assert_array_equal(one[0].position, two[0].position)
    assert trajectory.tally.frames == 40


def memory_of_a_pass(trajectory):
    """Number of frames and the most bytes held at once while they are read."""
    tracemalloc.start()
    n_frames = sum(len(frames.time_ps) for frames in trajectory.chunks(8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return n_frames, peak


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(dump):
    """400 frames x 300 atoms are 2.9 MB of positions; a quarter of them is read first."""
    text = lammps_frames(walk(n_frames=1, n_atoms=300))[0]
    path = dump(text.replace("STEP\n0\n", f"STEP\n{k}\n") for k in range(400))
    n_short, short = memory_of_a_pass(open_trajectory(path, **LAMMPS, stop=100))
    n_long, long = memory_of_a_pass(open_trajectory(path, **LAMMPS))
    assert (n_short, n_long) == (100, 400)
    # 300 more frames are 2.2 MB; held are two buffers, two chunks and the words of a frame
    assert long < short + 0.5e6 < 2.5e6


def test_conventions_of_a_lammps_state(shared, dump):
    """Positions of a dump, made from LAMMPS's own data file, are those of that reader."""
    path = sorted((shared / "data/lif_dft/states").glob("*.data"))[0]
    lines = path.read_text().splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("Atoms")) + 2
    rows = lines[start : start + 1001]
    edge = lines[5].split()[1]
    head = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1001\nITEM: BOX BOUNDS pp pp pp\n"
    bounds = f"0.0 {edge}\n" * 3 + "ITEM: ATOMS id type x y z ix iy iz\n"
    trajectory, position, cell, _ = read(
        dump([head, bounds, "\n".join(rows), "\n"]), **LAMMPS
    )
    system = read_lammps_state(path)
    np.testing.assert_allclose(position[0], system.position, rtol=0, atol=1e-9)
    np.testing.assert_allclose(cell[0], system.cell)
    np.testing.assert_array_equal(trajectory.atomic_number, system.atomic_number)
    assert np.abs(system.position - position[0] % cell[0, 0, 0]).max() > 20  # some crossed


def ase_frames(known, wrapped, **info):
    position = known.wrapped if wrapped else known.position
    for k, (x, cell) in enumerate(zip(position, known.cell, strict=True)):
        atoms = ase.Atoms(known.number, positions=x, cell=cell, pbc=True)
        atoms.info = {name: value * k for name, value in info.items()}
        yield atoms


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("cell", [ORTHOGONAL, TILTED_BACK, GENERAL])
@pytest.mark.parametrize("name", ["a.extxyz", "a.traj"])
def test_ase_formats(tmp_path, name, cell, wrapped):
    known = walk(cell, breathing=0.01)
    ase.io.write(tmp_path / name, list(ase_frames(known, wrapped)))
    atol = 3e-8 if name.endswith("xyz") else 1e-12  # ASE prints 8 decimals
    assert_same(tmp_path / name, known, atol, frame_ps=0.1)


@pytest.mark.parametrize(("key", "value"), [("time_ps", 0.1), ("time_fs", 100)])
@pytest.mark.parametrize("name", ["a.extxyz", "a.traj"])
def test_ase_times(tmp_path, name, key, value):
    known = walk(n_frames=4)
    ase.io.write(tmp_path / name, list(ase_frames(known, False, **{key: value})))
    assert_same(tmp_path / name, known, 3e-8)


def test_columns_of_extxyz_in_any_place(tmp_path):
    known = walk(n_frames=3)
    frames = list(ase_frames(known, True))
    for atoms, x in zip(frames, known.position, strict=True):
        atoms.new_array("unwrapped_position", x)
        atoms.new_array("tag", np.arange(len(atoms)))
    path = tmp_path / "a.xyz"
    columns = ["tag", "symbols", "positions", "unwrapped_position"]
    ase.io.write(path, frames, format="extxyz", columns=columns)
    trajectory = assert_same(path, known, 3e-8, frame_ps=0.1)
    assert trajectory.unwrapping == "column unwrapped_position"


def test_unwrapped_may_be_stated(tmp_path):
    """Steps of half a cell, of which the minimum image knows nothing."""
    known = walk(ORTHOGONAL)
    far = known.position[::8]
    path = tmp_path / "a.traj"
    ase.io.write(path, list(ase_frames(known, False))[::8])
    with pytest.raises(ValueError, match="say --unwrapped"):
        read(path, frame_ps=0.8)
    _, position, _, _ = read(path, frame_ps=0.8, unwrapped=True)
    np.testing.assert_allclose(position, far, rtol=0, atol=1e-12)


def test_xdatcar_of_ase(tmp_path):
    known = walk(GENERAL)
    order = np.argsort(known.number, kind="stable")  # VASP groups the elements
    frames = [atoms[order] for atoms in ase_frames(known, True)]
    ase.io.vasp.write_vasp_xdatcar(str(tmp_path / "XDATCAR"), frames)
    trajectory, position, cell, time_ps = read(tmp_path / "XDATCAR", frame_ps=0.1)
    assert trajectory.format == "xdatcar"
    np.testing.assert_array_equal(trajectory.atomic_number, np.sort(known.number))
    # 8 decimals of fractional coordinates and 6 of the cell, over up to three cells
    np.testing.assert_allclose(position, known.position[:, order], rtol=0, atol=1e-5)
    np.testing.assert_allclose(cell, known.cell, rtol=0, atol=1e-6)
    np.testing.assert_allclose(time_ps, known.time_ps)


@pytest.mark.parametrize("scale", [1.0, 2.0, -2.0])
def test_xdatcar_with_a_variable_cell(tmp_path, scale):
    known = walk(TRICLINIC, breathing=0.01)
    text = ""
    inside = known.fractional - known.image
    for k, (cell, s) in enumerate(zip(known.cell, inside, strict=True)):
        first = scale if scale > 0 else -np.linalg.det(cell)
        rows = cell / abs(scale)
        text += f"LiF\n {first:.12f}\n" + "".join(
            f" {a:.12f} {b:.12f} {c:.12f}\n" for a, b, c in rows
        )
        text += " F Li\n 4 8\n"
        text += f"Direct configuration= {k + 1:5d}\n"
        rows = np.concatenate([s[known.number == 9], s[known.number == 3]])
        text += "".join(f"  {a:.12f} {b:.12f} {c:.12f}\n" for a, b, c in rows)
    (tmp_path / "XDATCAR").write_text(text)
    trajectory, position, cell, _ = read(tmp_path / "XDATCAR", frame_ps=0.1)
    np.testing.assert_array_equal(trajectory.atomic_number, [9] * 4 + [3] * 8)
    order = np.argsort(-known.number, kind="stable")
    np.testing.assert_allclose(position, known.position[:, order], rtol=0, atol=PRINTED)
    np.testing.assert_allclose(cell, known.cell, rtol=0, atol=PRINTED)


def test_the_bounds_of_the_manual():
    """The bounding box of a tilted cell holds all of its corners, and touches them."""
    for cell in (TRICLINIC, TILTED_BACK):
        rows = [line.split() for line in lammps_bounds(cell).splitlines()[1:]]
        corner = np.array(list(np.ndindex(2, 2, 2))) @ cell + [-1.5, 2.25, 0.5]
        bounds = np.array(rows, float)
        np.testing.assert_allclose(bounds[:, 0], corner.min(axis=0))
        np.testing.assert_allclose(bounds[:, 1], corner.max(axis=0))
