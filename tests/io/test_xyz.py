"""XYZ files as LAMMPS, GPUMD, CP2K, OVITO and ASE write them."""

import ase
import ase.io
import numpy as np
import pytest
from written_by_hand import ORTHOGONAL, TRICLINIC, assert_same, read, walk

from jaxdiff.io.trajectory import open_trajectory

KNOWN = walk(TRICLINIC, n_frames=8)
PRINTED = 1e-9
SYMBOL = {3: "Li", 9: "F"}
LATTICE = " ".join(f"{x:.12f}" for x in TRICLINIC.ravel())
LAMMPS = (
    'Timestep={step} Time={time:g} pbc="T T T" Lattice="{lattice}" Properties={columns}'
)
GPUMD = 'pbc="T T T" Time={time:.8f} Lattice="{lattice}" energy=-1 Properties={columns}'
CP2K = " i = {step:8d}, time = {fs:12.3f}, E = {energy:20.10f}"


def frame(k, comment, known=KNOWN, columns="species:S:1:pos:R:3", order=None, **values):
    """One frame; `values` are columns by name."""
    table = {
        "species": [SYMBOL[z] for z in known.number],
        "pos": known.wrapped[k],
        "unwrapped_position": known.position[k],
        "id": np.arange(len(known.number)) + 5,
        **values,
    }
    names = columns.split(":")[::3]
    lines = []
    for a in range(len(known.number)) if order is None else order:
        words = [word for name in names for word in np.ravel(table[name][a])]
        lines.append(" ".join(w if isinstance(w, str) else f"{w:.12g}" for w in words))
    said = comment.format(
        step=100 * k,
        fs=100.0 * k,
        time=0.1 * k,
        lattice=LATTICE,
        columns=columns,
        energy=-9.5,
    )
    return f"{len(lines)}\n{said}\n" + "\n".join(lines) + "\n"


@pytest.fixture
def xyz(tmp_path):
    def write(frames):
        path = tmp_path / "a.xyz"
        path.write_text("".join(frames))
        return path

    return write


def frames(comment, **options):
    return [frame(k, comment, **options) for k in range(8)]


def test_lammps(xyz):
    """Its time is ps or fs, as its units are; its steps are of --timestep-fs."""
    path = xyz(frames(LAMMPS))
    assert_same(path, KNOWN, PRINTED, timestep_fs=1.0)
    assert_same(path, KNOWN, PRINTED, frame_ps=0.1)
    with pytest.raises(
        ValueError, match=r"--timestep-fs, .* 0.1 if it is ps, .* 0.0001 if"
    ):
        open_trajectory(path)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_a_time_without_a_unit_must_fit_what_is_given(xyz, unit):
    """fs, ps or ns of 0.1 ps; not 0.2 ps, or 3 fs a step, in any of them."""
    known = [
        frame(k, LAMMPS.replace("{time:g}", f"{0.1 * k / unit:.9g}")) for k in range(8)
    ]
    assert_same(xyz(known), KNOWN, PRINTED, frame_ps=0.1)
    assert_same(xyz(known), KNOWN, PRINTED, timestep_fs=1.0)
    for start in (0, 50):  # frames after which there is a rounding of the time
        times = [f"{(start + k) / 10 / unit:g}" for k in range(8)]
        late = [frame(k, LAMMPS.replace("{time:g}", time)) for k, time in enumerate(times)]
        for wrong in ({"frame_ps": 0.2}, {"timestep_fs": 3.0}):
            with pytest.raises(ValueError, match=r"do not agree in ps or fs"):
                open_trajectory(xyz(late), **wrong)


def test_a_time_step_that_varies(xyz):
    """Steps are equally far apart, their times from frame 5 on are not."""
    known = frames(LAMMPS)
    known[5:] = [text.replace("Time=0.", "Time=0.9") for text in known[5:]]
    with pytest.raises(ValueError, match=r"frames 4 and 5 are 0\.55 apart in time where 0"):
        read(xyz(known), timestep_fs=1.0)
    late = [frame(k, LAMMPS.replace("{time:g}", f"{1e5 + 0.1 * k:g}")) for k in range(8)]
    assert "Time=100000 " in late[4]  # 6 digits do not show 0.1 ps there
    assert_same(xyz(late), KNOWN, PRINTED, timestep_fs=1.0)


@pytest.mark.parametrize("key", ["time", "Time", "TIME"])
def test_time_alone(xyz, key):
    comment = GPUMD.replace("Time", key).replace("{time:.8f}", "{fs:.4f}")
    assert_same(xyz(frames(comment)), KNOWN, PRINTED, frame_ps=0.1)
    with pytest.raises(
        ValueError, match=r"GPUMD fs.*--frame-ps 100 if .* --frame-ps 0.1 if"
    ):
        open_trajectory(xyz(frames(comment)))
    with pytest.raises(
        ValueError, match=r"not count time steps.* --timestep-fs 1 .*--frame-ps"
    ):
        open_trajectory(xyz(frames(comment)), timestep_fs=1.0)


@pytest.mark.parametrize("key", ["Time_ps", "time_ps", "Timestep", "step", "Step"])
def test_keys_in_large_and_small_letters(xyz, key):
    value, given = ("{time}", {}) if "ps" in key else ("{step}", {"timestep_fs": 1.0})
    comment = f'{key}={value} lattice="{{lattice}}" PBC="T T T" properties={{columns}}'
    assert_same(xyz(frames(comment)), KNOWN, PRINTED, **given)


def test_steps_that_go_back_or_are_missing(xyz):
    known = frames(LAMMPS)
    with pytest.raises(
        ValueError, match=r"frames 4 and 5 .* 400 and 300, .* goes back.*--st"
    ):
        read(xyz([*known[:5], *known[3:]]), timestep_fs=1.0)
    with pytest.raises(ValueError, match=r"frames 4 and 5 .* 400 and 600, .* missing"):
        read(xyz([*known[:5], *known[6:]]), frame_ps=0.1)
    trajectory, *_ = read(xyz([*known[:5], *known[4:]]), frame_ps=0.1)
    assert trajectory.tally.duplicates == 1


PERIODIC = ["T T T", "1 1 1", "True True True", "[True, True, True]", "t t t", "TTT", "T"]


@pytest.mark.parametrize("said", PERIODIC)
@pytest.mark.parametrize("value", [True, False])
def test_spellings_of_pbc(xyz, said, value):
    """Wrapped: read if periodic, refused if it says that it is not."""
    if not value:
        said = said.replace("True", "False").replace("T", "F").replace("t t", "f f")
        said = said.replace("1", "0").replace("f t", "f f")
    path = xyz(frames(LAMMPS.replace("T T T", said)))
    if value:
        assert_same(path, KNOWN, PRINTED, timestep_fs=1.0)
        return
    with pytest.raises(ValueError, match=r"jump by a lattice vector along .*pbc=\"T T T\""):
        read(path, timestep_fs=1.0)


@pytest.mark.parametrize("said", ["maybe", "T T", "T T T T", "2 2 2"])
def test_no_spelling_of_pbc(xyz, said):
    with pytest.raises(ValueError, match='write it as pbc="T T T"'):
        open_trajectory(xyz(frames(LAMMPS.replace("T T T", said))), timestep_fs=1.0)


def test_without_pbc_it_is_periodic(xyz):
    assert_same(
        xyz(frames(LAMMPS.replace('pbc="T T T" ', ""))), KNOWN, PRINTED, timestep_fs=1
    )


def test_atoms_by_id(xyz):
    """Another order in every frame; ids from 5 on."""
    rng = np.random.default_rng(0)
    columns = "id:I:1:species:S:1:pos:R:3"
    known = [frame(k, LAMMPS, columns=columns, order=rng.permutation(12)) for k in range(8)]
    assert_same(xyz(known), KNOWN, PRINTED, timestep_fs=1.0)
    other = known[3].replace("\n5 ", "\n99 ")
    with pytest.raises(ValueError, match="frame 3 has other atom ids"):
        read(xyz([*known[:3], other, *known[4:]]), timestep_fs=1.0)
    twice = known[3].replace("\n5 ", "\n6 ")
    with pytest.raises(ValueError, match="frame 3 has an atom id twice"):
        read(xyz([*known[:3], twice, *known[4:]]), timestep_fs=1.0)


def test_types_instead_of_elements(xyz):
    """LAMMPS's default names are its types; they are no atomic numbers."""
    kinds = np.where(KNOWN.number == 3, "1", "2")
    path = xyz(frames(LAMMPS, species=kinds))
    assert_same(path, KNOWN, PRINTED, timestep_fs=1.0, species={1: "Li", 2: "F"})
    with pytest.raises(ValueError, match=r"types \(1, 2\) .* --species 1=Li --species 2=F"):
        open_trajectory(path, timestep_fs=1.0)
    path = xyz(frames(LAMMPS, columns="Z:I:1:pos:R:3", Z=KNOWN.number))
    assert_same(path, KNOWN, PRINTED, timestep_fs=1.0)


def test_unwrapped_positions_of_gpumd(xyz):
    columns = "species:S:1:pos:R:3:unwrapped_position:R:3"
    path = xyz(frames(GPUMD.replace("{time:.8f}", "{fs:.8f}"), columns=columns))
    trajectory = assert_same(path, KNOWN, PRINTED, frame_ps=0.1)
    assert trajectory.unwrapping == "column unwrapped_position"


def test_cp2k(xyz):
    """Times are fs; the cell is not in the file. Kinds may be numbered."""
    path = xyz(frames(CP2K, species=["F2" if z == 9 else "Li" for z in KNOWN.number]))
    assert_same(path, KNOWN, PRINTED, cell=TRICLINIC)
    with pytest.raises(ValueError, match="no Lattice .*--cell-angstrom 20.3,20.3,20.3"):
        open_trajectory(path)
    with pytest.raises(ValueError, match="--frame-ps 100 was given"):
        open_trajectory(path, cell=TRICLINIC, frame_ps=100)


@pytest.mark.parametrize(
    ("comment", "given"),
    [
        ("Atoms. Timestep: {step}", {"timestep_fs": 1.0}),
        ("Atoms. Timestep: {step}", {"frame_ps": 0.1}),
        ("", {"frame_ps": 0.1}),
        (
            "frame {step} | Written by MDAnalysis XYZWriter (release 2.9.0)",
            {"frame_ps": 0.1},
        ),
        ("i like crystals, time and again", {"frame_ps": 0.1}),
    ],
)
def test_plain_xyz(xyz, comment, given):
    assert_same(xyz(frames(comment)), KNOWN, PRINTED, cell=TRICLINIC, **given)


def test_a_cell_that_is_not_needed(xyz):
    with pytest.raises(ValueError, match="states its cells; leave --cell-angstrom out"):
        open_trajectory(xyz(frames(LAMMPS)), timestep_fs=1.0, cell=TRICLINIC)
    with pytest.raises(ValueError, match="not three lattice vectors that span a volume"):
        open_trajectory(xyz(frames(CP2K)), cell=np.ones((3, 3)))


def test_an_origin(xyz):
    """OVITO writes the corner of the cell, and positions from elsewhere."""
    comment = LAMMPS.replace("pbc", 'Origin="-1 2 3" pbc')
    path = xyz(frame(k, comment, pos=KNOWN.wrapped[k] + [-1, 2, 3]) for k in range(8))
    assert_same(path, KNOWN, PRINTED, timestep_fs=1.0)


def test_traj_without_a_cell(tmp_path):
    """ASE's .traj: the cell is asked for, and keys are those of extended XYZ."""
    atoms = [
        ase.Atoms(KNOWN.number, positions=x, info={"step": 100 * k, "time": 0.1 * k})
        for k, x in enumerate(KNOWN.wrapped)
    ]
    path = tmp_path / "a.traj"
    ase.io.write(path, atoms)
    assert_same(path, KNOWN, PRINTED, timestep_fs=1.0, cell=TRICLINIC)
    with pytest.raises(ValueError, match="without volume; give it, such as --cell-ang"):
        open_trajectory(path, timestep_fs=1.0)
    for one in atoms:
        one.set_cell(TRICLINIC)
    ase.io.write(path, atoms)
    with pytest.raises(ValueError, match="leave --cell-angstrom out"):
        open_trajectory(path, timestep_fs=1.0, cell=ORTHOGONAL)
    with pytest.raises(ValueError, match="jump by a lattice vector"):  # pbc F F F
        read(path, timestep_fs=1.0)
