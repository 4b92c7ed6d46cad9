"""XDATCAR as versions of VASP write it: names, blank lines, numbers, joined files."""

import gzip

import numpy as np
import pytest
from written_by_hand import ORTHOGONAL, TRICLINIC, read, walk

from jaxdiff.io.trajectory import open_trajectory

KNOWN = walk(TRICLINIC, n_frames=6)
ORDER = np.argsort(KNOWN.number, kind="stable")  # 8 Li, 4 F
PRINTED = 1e-9


def head(names="Li F", title="made up", counts="8 4", cell=TRICLINIC):
    rows = "".join("".join(f"{x:22.16f}" for x in row) + "\n" for row in cell)
    return f"{title}\n  1.0\n{rows}{names}\n{counts}\n"


def rows(frame, width=14, known=KNOWN):
    inside = known.fractional[frame] - known.image[frame]
    return "".join("".join(f"{x:{width}.12f}" for x in s) + "\n" for s in inside[ORDER])


def direct(number):
    return f"Direct configuration={number:>6}\n"


def text(numbers=range(1, 7), **of_head):
    return head(**of_head) + "".join(direct(n) + rows(k) for k, n in enumerate(numbers))


@pytest.fixture
def xdatcar(tmp_path):
    def write(content):
        path = tmp_path / "XDATCAR"
        path.write_text(content)
        return path

    return write


def assert_known(path, **arguments):
    trajectory, position, _, time_ps = read(path, frame_ps=0.1, **arguments)
    assert trajectory.format == "xdatcar"
    np.testing.assert_array_equal(trajectory.atomic_number, KNOWN.number[ORDER])
    np.testing.assert_allclose(position, KNOWN.position[:, ORDER], rtol=0, atol=PRINTED)
    np.testing.assert_allclose(time_ps, KNOWN.time_ps)
    assert trajectory.note == ""


@pytest.mark.parametrize(
    "names",
    ["Li_sv F", "Li/ F/", "Li_sv/1a2b3c4d F/5e6f7a8b", "Li_sv_GW F_h", "Li.5 F1.25"],
)
def test_names_of_potcars(xdatcar, names):
    assert_known(xdatcar(text(names=names)))


@pytest.mark.parametrize("names", ["Lx_sv F", "LI F", "/Li F", "X F"])
def test_names_that_are_none(xdatcar, names):
    with pytest.raises(ValueError, match=f"the element '{names.split()[0]}', which is not"):
        open_trajectory(xdatcar(text(names=names)), frame_ps=0.1)


def test_blank_lines_instead_of_numbers(xdatcar):
    """Older VASP; also a frame that ends in blanks, and a file that does."""
    blank = head() + "".join("\n" + rows(k) for k in range(6))
    assert_known(xdatcar(blank))
    assert_known(xdatcar(blank.replace("\n\n", "\n  \n") + "\n\n"))
    assert_known(xdatcar(head() + "".join(f"Konfig={k}\n" + rows(k) for k in range(6))))


def test_blank_lines_beside_numbers(xdatcar):
    assert_known(xdatcar(text().replace("Direct", "\nDirect") + "\n\n"))


@pytest.mark.parametrize("title", ["", "  ", "64", "Li 8 F 4"])
def test_titles(xdatcar, title):
    path = xdatcar("".join(head(title=title) + direct(k) + rows(k) for k in range(6)))
    assert_known(path)


def test_numbers_that_touch(xdatcar):
    """3F12.8 leaves no blank before a minus, and none where ten cells are crossed."""
    known = walk(ORTHOGONAL, n_frames=3)
    moved = known.fractional - 0.5
    table = "".join(
        direct(k + 1) + "".join("".join(f"{x:.12f}" for x in s) + "\n" for s in moved[k])
        for k in range(3)
    )
    assert "-0." in table.split("\n")[1][5:]
    path = xdatcar(head(names="F Li F", counts="1 10 1", cell=ORTHOGONAL) + table)
    _, position, _, _ = read(path, frame_ps=0.1)
    expected = known.position - 0.5 * np.diag(ORTHOGONAL)
    np.testing.assert_allclose(position, expected, rtol=0, atol=PRINTED)


def test_a_cell_whose_numbers_touch(xdatcar):
    edges = "   20.000000  -10.000000    0.000000\n"
    touching = "   20.000000-10.0000000.000000\n"
    other = "    0.000000   20.000000    0.000000\n    0.000000    0.000000   20.000000\n"
    frame = "Li\n1\n" + direct(1) + "  0.5  0.5  0.5\n"
    _, _, plain, _ = read(xdatcar(f"a\n1\n{edges}{other}{frame}"), frame_ps=0.1)
    _, _, cell, _ = read(xdatcar(f"a\n1\n{touching}{other}{frame}"), frame_ps=0.1)
    np.testing.assert_array_equal(cell, plain)
    assert cell[0, 0].tolist() == [20, -10, 0]


def test_numbers_are_the_clock(xdatcar):
    """The time between two frames is asked for, whatever the numbers count."""
    for numbers in (range(1, 7), range(100, 700, 100), range(7, 13)):
        assert_known(xdatcar(text(numbers)))
    with pytest.raises(ValueError, match=r"configuration number .*fs 2 .*--frame-ps"):
        open_trajectory(xdatcar(text()), timestep_fs=2.0)
    with pytest.raises(ValueError, match=r"time between its frames; give --frame-ps\.$"):
        open_trajectory(xdatcar(text()))


def test_stars_go_on_counting(xdatcar):
    assert_known(xdatcar(text([999998, 999999, "******", "******", "******", "******"])))
    assert_known(xdatcar(text(["******"] * 6)))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 2, 3, 101, 102, 103], r"frames 2 and 3 .* number 3 and 101, 98 .* missing"),
        ([1, 2, 3, 1, 2, 3], r"frames 2 and 3 .* 3 and 1, -2 .* goes back, .*--stop 3 "),
        (
            [10, 20, 30, 35, 45, 55],
            r"frames 2 and 3 .* 35, 5 apart where 10 .* closer",
        ),
        ([5, 4, 3, 2, 1, 0], "configuration number goes back by 1 after frame 0"),
        ([1, 2, 3, "", 4, 5], "frame 3 has no configuration number"),
        ([1, 2, 3, "x", 4, 5], "frame 3: its number should be a whole number, got 'x'"),
    ],
)
def test_numbers_with_gaps(xdatcar, numbers, message):
    with pytest.raises(ValueError, match=message):
        read(xdatcar(text(numbers)), frame_ps=0.1)


def test_joined_files(xdatcar):
    """Two heads; the numbers go on, start again, or the second part has other atoms."""
    one, two = text([1, 2, 3]), head()
    two += "".join(direct(n) + rows(n - 1) for n in (4, 5, 6))
    assert_known(xdatcar(one + two))
    again = head() + "".join(direct(n) + rows(n) for n in (1, 2, 3))
    with pytest.raises(ValueError, match="goes back"):
        read(xdatcar(one + again), frame_ps=0.1)
    with pytest.raises(ValueError, match="frame 3 has other atoms than the first frame"):
        read(xdatcar(one + two.replace("8 4", "7 5")), frame_ps=0.1)


def test_vasp_4_has_no_names(xdatcar):
    old = text().replace("Li F\n", "")
    assert_known(xdatcar(old), species={1: "Li", 2: "F"})
    with pytest.raises(ValueError, match="VASP 4.*--species 1=Li --species 2=F"):
        open_trajectory(xdatcar(old), frame_ps=0.1)


def test_too_many_rows(xdatcar):
    content = text()
    with pytest.raises(ValueError, match="a line 'Direct configuration=' should come"):
        read(xdatcar(content.replace(direct(3), rows(0)[:43] + direct(3))), frame_ps=0.1)


def test_argyrodite(shared):
    """Li192 P32 S160 Cl32, 140 frames 0.1 ps apart; values of its README."""
    path = shared / "data/trajectories/li6ps5cl_XDATCAR.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    trajectory, position, cell, time_ps = read(path, frame_ps=0.1)
    np.testing.assert_array_equal(
        trajectory.atomic_number, np.repeat([3, 17, 16, 15], [192, 32, 160, 32])
    )
    assert time_ps.tolist() == pytest.approx([0.1 * k for k in range(140)])
    assert np.linalg.norm(np.diff(position, axis=0), axis=2).max() == pytest.approx(
        2.42, abs=0.005
    )
    framework = trajectory.atomic_number != 3
    position -= position[:, framework].mean(axis=1, keepdims=True)
    lithium = position[:, ~framework]
    for lag, expected in [(10, 1.60), (20, 2.47), (50, 5.12), (100, 8.94)]:
        step = lithium[lag:] - lithium[:-lag]
        assert (step**2).sum(axis=2).mean() == pytest.approx(expected, abs=0.006)
    assert cell[0, 0, 0] == 20.312311


def test_packed(tmp_path):
    path = tmp_path / "XDATCAR.gz"
    path.write_bytes(gzip.compress(text().encode()))
    assert_known(path)
