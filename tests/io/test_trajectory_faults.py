"""What is wrong with a trajectory is said in one sentence; what is merely cut is told."""

import gzip

import ase
import ase.io
import numpy as np
import pytest
from written_by_hand import ORTHOGONAL, lammps_frames, read, walk

from jaxdiff.io.export import write_trajectory
from jaxdiff.io.trajectory import FORMATS, Frames, open_trajectory

LAMMPS = {"species": {1: "Li", 2: "F"}, "timestep_fs": 1.0}


@pytest.fixture
def dump(tmp_path):
    def write(text):
        path = tmp_path / "dump.lammpstrj"
        path.write_text("".join(text))
        return path

    return write


def text_of(form, known, path):
    """The bytes of a file, written by hand or by ASE."""
    if form == "lammps":
        return "".join(lammps_frames(known)).encode()
    chunk = Frames(known.position, known.cell, known.time_ps)
    write_trajectory(path, [chunk], atomic_number=known.number, file_format=form)
    return path.read_bytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["lammps", "extxyz", "xdatcar"])
def test_a_last_frame_cut_anywhere(tmp_path, form, packed):
    """The complete frames are the same, whatever byte the file ends with.

    A last line that only lacks its line end, and the blank before it, is complete.
    """
    known = walk(n_frames=3, n_atoms=3)
    content = text_of(form, known, tmp_path / "whole")
    two = walk(n_frames=2, n_atoms=3)
    start = len(text_of(form, two, tmp_path / "two"))
    arguments = LAMMPS if form == "lammps" else {"frame_ps": 0.1}
    path = tmp_path / "cut"
    for end in range(start + 1, len(content)):
        part = content[:end]
        if packed:  # what a killed gzip leaves: no end of the stream
            pipe = gzip.compress(part, mtime=0)
            part = pipe[:-8]
        path.write_bytes(part)
        trajectory, position, _, _ = read(path, **arguments)
        whole = content[:end].rstrip() == content.rstrip()
        expected = known.position[: 3 if whole else 2]
        np.testing.assert_allclose(position, expected, rtol=0, atol=2e-9)
        assert trajectory.tally.incomplete == (0 if whole else 1)
        assert ("1 frames were cut short" in trajectory.note) is not whole


def test_a_gz_file_cut_anywhere(tmp_path):
    """Of 40 frames some are left, or there is a sentence."""
    known = walk()
    content = gzip.compress("".join(lammps_frames(known)).encode())
    path = tmp_path / "cut.gz"
    for end in range(200, len(content), len(content) // 25):
        path.write_bytes(content[:end])
        if end < len(content) // 30:  # less than the first frame
            with pytest.raises(ValueError, match="no complete frame"):
                read(path, **LAMMPS)
            continue
        trajectory, position, _, _ = read(path, **LAMMPS)
        expected = known.position[: len(position)]
        np.testing.assert_allclose(position, expected, rtol=0, atol=2e-9)
        assert len(position) < 40
        assert trajectory.tally.incomplete <= 1


@pytest.mark.slow
def test_a_killed_run_that_was_appended_to(dump):
    """Frame 4 is cut within a word; the restart begins again with frame 4, or with 3."""
    known = walk(n_frames=9)
    frames = lammps_frames(known)
    for end in range(1, len(frames[4])):
        trajectory, position, _, _ = read(
            dump([*frames[:4], frames[4][:end], *frames[4:]]), **LAMMPS
        )
        np.testing.assert_allclose(position, known.position, rtol=0, atol=2e-9)
        assert trajectory.tally.incomplete == 1
    trajectory, position, _, _ = read(
        dump([*frames[:4], frames[4][:99], *frames[3:]]), **LAMMPS
    )
    np.testing.assert_allclose(position, known.position, rtol=0, atol=2e-9)
    assert trajectory.note == (
        "1 frames were there twice, dropped once; 1 frames were cut short and left out"
    )


@pytest.mark.parametrize("columns", ["id type xu yu zu", "id type x y z"])
def test_frames_twice(dump, columns):
    known = walk(n_frames=9)
    frames = lammps_frames(known, columns)
    trajectory, position, _, time_ps = read(
        dump([frames[0], *frames[:5], *frames[4:], frames[8]]), **LAMMPS
    )
    np.testing.assert_allclose(position, known.position, rtol=0, atol=2e-9)
    np.testing.assert_allclose(time_ps, known.time_ps)
    assert trajectory.tally.duplicates == 3
    assert "3 frames were there twice" in trajectory.note
    assert trajectory.frame_ps == pytest.approx(0.1)


def test_frames_of_one_time_that_differ(dump):
    frames = lammps_frames(walk(n_frames=6))
    other = [f.replace("STEP\n500\n", "STEP\n400\n") for f in frames]
    with pytest.raises(ValueError, match=r"frame 4 and the next .* different runs"):
        read(dump(other), **LAMMPS)


def test_frames_missing(dump):
    frames = lammps_frames(walk(n_frames=9))
    path = dump([*frames[:4], *frames[5:]])
    with pytest.raises(ValueError, match=r"frames 3 and 4 .* 300 and 500, 200 apart"):
        read(path, **LAMMPS)
    _, _, _, time_ps = read(path, **LAMMPS, stop=4)
    np.testing.assert_allclose(time_ps, [0, 0.1, 0.2, 0.3])
    _, _, _, time_ps = read(path, **LAMMPS, start=4)
    np.testing.assert_allclose(time_ps, [0.5, 0.6, 0.7, 0.8])
    with pytest.raises(ValueError, match="time step goes back by 300 after frame 0"):
        read(dump([frames[3], frames[0]]), **LAMMPS)
    with pytest.raises(ValueError, match=r"frames 3 and 4 .* -100 apart"):
        read(dump([*frames[:4], *frames[2:]]), **LAMMPS)


def test_steps_too_long_for_a_minimum_image(dump):
    """0.4 of the smallest height is 3.40 Å: 3.39 Å is allowed, 3.41 Å is not."""
    for step, fine in [(3.39, True), (3.41, False)]:
        known = walk(ORTHOGONAL, n_frames=3)
        position = known.position * 0 + [[[1.0, 1, 1]], [[1, 1, 1 + step]], [[1, 1, 1]]]
        known = type(known)(position, known.cell, known.number)
        path = dump(lammps_frames(known, "id type x y z"))
        if fine:
            read(path, **LAMMPS)
        else:
            with pytest.raises(
                ValueError, match=r"frame 1: atom \d+ moved 3\.41 Å .*8\.50 Å"
            ):
                read(path, **LAMMPS)


def test_the_smallest_height_of_a_tilted_cell(dump):
    """Heights are V / |b x c| and so on; here the edges are far longer than the heights."""
    cell = np.array([[9.0, 0, 0], [7.0, 6.0, 0], [0.5, 5.0, 7.0]])
    volume = 9 * 6 * 7
    faces = [np.cross(cell[k], cell[k - 1]) for k in range(3)]
    face = max(faces, key=np.linalg.norm)
    height = volume / np.linalg.norm(face)
    normal = face / np.linalg.norm(face)
    known = walk(cell, n_frames=2, n_atoms=1)
    for share, fine in [(0.399, True), (0.401, False)]:
        position = np.array([[[1.0, 1, 1]], [[1.0, 1, 1] + share * height * normal]])
        moved = type(known)(position, known.cell, known.number)
        path = dump(lammps_frames(moved, "id type x y z"))
        if fine:
            read(path, **LAMMPS)
        else:
            with pytest.raises(ValueError, match=rf"height of the cell \({height:.2f} Å"):
                read(path, **LAMMPS)


def change(frame, old, new):
    """Edit the third of five frames (12 atoms, triclinic)."""
    frames = lammps_frames(walk(n_frames=5))
    assert old in frames[2]
    return [*frames[:2], frames[2].replace(old, new, 1), *frames[3:]]


FIRST_ATOM = lammps_frames(walk(n_frames=5))[2].splitlines()[9]
ID, TYPE, X, *_ = FIRST_ATOM.split()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (X, "nan", r"frame 2: the position of atom 0 is \[ *nan"),
        (X, "-inf", r"the position of atom 0 is \[ *-inf"),
        (X, "12.x", r"frame 2 \(step 200\) has a coordinate that is not a number"),
        (X, f"{X} 3", r"61 words for 12 atoms of 5 columns"),
        ("ATOMS\n12\n", "ATOMS\n11\n", r"has 11 atoms, the first frame 12"),
        ("ATOMS\n12\n", "ATOMS\n-2\n", r"has -2 atoms"),
        ("ATOMS\n12\n", "ATOMS\nx\n", r"number of atoms should be a whole number, got 'x'"),
        ("STEP\n200\n", "STEP\n2e2\n", r"time step should be a whole number, got '2e2'"),
        (f"\n{ID} {TYPE} ", f"\n{ID} 1 ", r"atoms of another type than the first"),
        (f"\n{ID} {TYPE} ", f"\n77 {TYPE} ", r"other atom ids than the first"),
        (f"\n{ID} {TYPE} ", f"\n11 {TYPE} ", r"atom id 11 twice"),
        (f"\n{ID} {TYPE} ", f"\nx {TYPE} ", r"atom id that is not a whole number"),
        ("id type xu yu zu", "id type x y z", r"has the columns id type x y z, the first"),
        ("ITEM: BOX BOUNDS xy xz yz", "ITEM: BOX BOUNDS", r"3 rows of 2 numbers"),
        ("ITEM: BOX BOUNDS", "ITEM: BOX", r"frame 2: a line with 'ITEM:' should come"),
        ("ITEM: NUMBER OF ATOMS\n12\n", "", r"has no 'ITEM: NUMBER OF ATOMS'"),
    ],
)
def test_damaged_dumps(dump, old, new, message):
    with pytest.raises(ValueError, match=message):
        read(dump(change(2, old, new)), **LAMMPS)


def test_fewer_atoms_in_a_dump(dump):
    known = walk(n_frames=2)
    fewer = type(known)(known.position[:, 1:], known.cell, known.number[1:])
    frames = [lammps_frames(known)[0], lammps_frames(fewer)[1]]
    with pytest.raises(ValueError, match="has 11 atoms, the first frame 12"):
        read(dump(frames), **LAMMPS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timestep_fs": 1.0}, "gives atom types, not elements"),
        (
            {"species": {1: "Li"}, "timestep_fs": 1.0},
            "atom type 2, but --species names only 1; add --species 2=ELEMENT",
        ),
        ({"species": {1: "Li", 2: "Fx"}, "timestep_fs": 1.0}, "element 'Fx', which is not"),
        ({"species": {1: "Li", 2: "F"}}, "does not say the time .* --timestep-fs"),
        ({**LAMMPS, "frame_ps": 0.2}, "frames 0.1 ps apart, but --frame-ps 0.2"),
        ({**LAMMPS, "timestep_fs": 0.0}, "--timestep-fs 0.0; it must be positive"),
        ({**LAMMPS, "start": -1}, "--start -1"),
        ({**LAMMPS, "stride": 0}, "--stride 0"),
        ({**LAMMPS, "start": 3, "stop": 3}, "--stop 3"),
        ({**LAMMPS, "start": 99}, "no frame in --start 99"),
        ({**LAMMPS, "file_format": "pdb"}, "--file-format pdb is not one of lammps"),
        ({**LAMMPS, "file_format": "extxyz"}, "number of atoms should be a whole number"),
    ],
)
def test_arguments(dump, arguments, message):
    with pytest.raises(ValueError, match=message):
        read(dump(lammps_frames(walk(n_frames=5))), **arguments)
    with pytest.raises(ValueError, match="chunk_frames=0"):
        read(dump(lammps_frames(walk(n_frames=5))), 0, **LAMMPS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("type xu yu zu", "no id column"),
        ("id type vx vy vz", "but no coordinates"),
        ("id xu yu zu", "neither an element nor a type"),
    ],
)
def test_columns_that_are_needed(dump, columns, message):
    with pytest.raises(ValueError, match=message):
        open_trajectory(dump(lammps_frames(walk(n_frames=1), columns)), **LAMMPS)


def test_units_that_are_not_read(dump):
    frames = lammps_frames(walk(n_frames=2))
    with pytest.raises(ValueError, match="units 'lj'; only metal and real"):
        read(dump(["ITEM: UNITS\nlj\n", *frames]), **LAMMPS)


EXTXYZ = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            f"1\n{EXTXYZ}\nLi 1 2 3\n",
            "does not say the time between its frames; give --frame-ps",
        ),
        ("1\nsome text\nLi 1 2 3\n", "no Lattice"),
        ("1\nLattice pbc=T\nLi 1 2 3\n", "is not extended XYZ|9 numbers"),
        ('1\nLattice="9 0 0 9"\nLi 1 2 3\n', "is not extended XYZ"),
        (f"1\n{EXTXYZ}\nQq 1 2 3\n", "element 'Qq'"),
        (f"1\n{EXTXYZ}\nLi 1 2\n", "3 words for 1 atoms of 4 columns"),
        (f"0\n{EXTXYZ}\n", "has 0 atoms"),
        (f"1\n{EXTXYZ}\nLi 1 2 3\n1\n{EXTXYZ}\nF 1 2 3\n", "another species"),
        (f"1\n{EXTXYZ}\nLi 1 2 3\n2\n{EXTXYZ}\nLi 1 2 3\nLi 2 2 2\n", "has 2 atoms"),
        (f"1\n{EXTXYZ}\nLi 1 2 nan\n", "position of atom 0"),
        (f"1\n{EXTXYZ} time_ps=a\nLi 1 2 3\n", "time_ps should be a number, got 'a'"),
        (
            f"1\n{EXTXYZ} time_ps=1\nLi 1 2 3\n1\n{EXTXYZ}\nLi 1 2 3\n",
            "frame 1 has no time",
        ),
        (f"1\n{EXTXYZ.replace('9', '0')}\nLi 1 2 3\n", "cell without volume"),
        (f"1\n{EXTXYZ.replace('pos', 'xyz')}\nLi 1 2 3\n", "species and pos are needed"),
        (f"1\n{EXTXYZ.replace('R:3', 'R:x')}\nLi 1 2 3\n", "a count in Properties"),
        (f"3\n{EXTXYZ}\nLi 1 2 3\n", "no complete frame"),
        ("", "is empty"),
        ("hello\nworld\n", "of no known format"),
        ("LiF\n1\n9 0 0\n0 9 0\n0 0 9\n 1 1\nDirect\n", "names no elements"),
        ("LiF\n1\n9 0 0\n0 9 0\n0 0 9\nLi F\n1\nDirect\n", "do not match the counts"),
        ("LiF\n1\n9 0 0\n0 9 0\n0 0 9\nLi\n1\nCart\n0 0 0\n", "'Direct configuration='"),
        ("LiF\n1\n9 0 0\n0 9 0\n0 0 9\nLi\n1\nDirect\n0 0 x\n", "not a number"),
        ("LiF\n1\n9 0 0\n0 9 0\n0 0 9\nLi\n2\nDirect\n0 0\n0 0\n", "words for 2 atoms"),
    ],
)
def test_other_texts(tmp_path, content, message):
    path = tmp_path / "a"
    path.write_text(content)
    timed = "give --frame-ps" in message or "time" in content
    with pytest.raises(ValueError, match=message):
        read(path, **({} if timed else {"frame_ps": 0.1}))


def test_missing_files(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        open_trajectory(tmp_path / "none.xyz", frame_ps=0.1)
    with pytest.raises(ValueError, match="does not exist"):
        open_trajectory(tmp_path, frame_ps=0.1)
    (tmp_path / "a.xyz").write_text(f"1\n{EXTXYZ}\nLi 1 2 3\n")
    with pytest.raises(ValueError, match="does not count time steps"):
        open_trajectory(tmp_path / "a.xyz", timestep_fs=1.0)


def test_traj_files(tmp_path):
    one = ase.Atoms("LiF", positions=np.ones((2, 3)), cell=[9, 9, 9], pbc=True)
    path = tmp_path / "a.traj"
    cases = [
        ([one, one[:1]], "has 1 atoms, the first frame 2"),
        ([one, one[::-1]], "atoms of another species"),
        ([ase.Atoms("Li", pbc=True)], "cell without volume"),
    ]
    for frames, message in cases:
        ase.io.write(path, frames)
        with pytest.raises(ValueError, match=message):
            read(path, frame_ps=0.1)


def test_a_traj_file_cut_anywhere(tmp_path):
    """Frames that are left are right and the loss is told; or there is a sentence."""
    known = walk(n_frames=30, n_atoms=4)
    content = text_of("traj", known, tmp_path / "whole.traj")
    path, n_read = tmp_path / "cut.traj", 0
    for end in range(10, len(content), 211):
        path.write_bytes(content[:end])
        try:
            trajectory, position, _, _ = read(path)
        except ValueError:
            continue
        n_read += 1
        np.testing.assert_array_equal(position, known.position[: len(position)])
        assert trajectory.tally.incomplete == 30 - len(position) > 0
    assert n_read > 5


def test_a_traj_file_damaged_inside(tmp_path):
    content = bytearray(text_of("traj", walk(n_frames=9), tmp_path / "whole.traj"))
    places = [k for k in range(len(content)) if content.startswith(b'"positions."', k)]
    content[places[4]] = ord("x")
    path = tmp_path / "a.traj"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="frame 4 cannot be read, but the last one can"):
        read(path)


@pytest.mark.parametrize("form", [None, *FORMATS])
def test_random_bytes(tmp_path, form):
    rng = np.random.default_rng(3)
    for size in (1, 30, 3000):
        path = tmp_path / "noise"
        path.write_bytes(rng.bytes(size))
        with pytest.raises(ValueError, match=r"^[^\n]{20,400}\.$"):
            read(path, **LAMMPS | {"file_format": form})


@pytest.mark.parametrize("form", FORMATS)
def test_files_with_one_byte_wrong(tmp_path, form):
    """Read all the same, or one sentence; never another exception."""
    known = walk(n_frames=4, n_atoms=3)
    content = bytearray(text_of(form, known, tmp_path / "whole"))
    rng = np.random.default_rng(4)
    path = tmp_path / "wrong"
    for _ in range(150):
        wrong = content.copy()
        wrong[rng.integers(len(wrong))] = rng.integers(256)
        path.write_bytes(wrong)
        arguments = LAMMPS if form == "lammps" else {}
        if form == "xdatcar":
            arguments = {"frame_ps": 0.1}
        try:
            read(path, **arguments)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
