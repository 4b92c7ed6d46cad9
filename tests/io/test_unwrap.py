"""Wrapped positions that move far, and unwrapped ones that begin again."""

import numpy as np
import pytest
from written_by_hand import (
    ORTHOGONAL,
    TRICLINIC,
    Known,
    lammps_frames,
    read,
    walk,
)

from jaxdiff.io.unwrap import Unwrapper

LAMMPS = {"species": {1: "Li", 2: "F"}, "timestep_fs": 1.0}
PERIODIC = (True, True, True)


def crystal(n_frames=12, n_cells=3, edge=2.0, seed=0):
    """Simple cubic sites that jiggle by 0.1 Å about 0; atom 0 hops along x at frame 4."""
    rng = np.random.default_rng(seed)
    site = edge * np.stack(np.meshgrid(*[np.arange(n_cells)] * 3), -1).reshape(-1, 3)
    position = site + 0.1 * rng.normal(size=(n_frames, len(site), 3))
    position[4:, 0, 0] += edge
    cell = np.broadcast_to(n_cells * edge * np.eye(3), (n_frames, 3, 3))
    return Known(position, cell, np.where(np.arange(len(site)) % 3 == 0, 9, 3))


def restarted(known, frame):
    """Unwrapped positions whose images were lost before a frame."""
    image = np.where(np.arange(len(known.position)) < frame, 0, 1)[:, None, None]
    lost = image * np.floor(known.fractional[frame])
    return Known(known.position - lost @ known.cell, known.cell, known.number)


@pytest.fixture
def dump(tmp_path):
    def write(text):
        path = tmp_path / "dump.lammpstrj"
        path.write_text("".join(text))
        return path

    return write


@pytest.mark.parametrize("frame", [1, 4, 7, 11])
@pytest.mark.parametrize("columns", ["xu yu zu", "xsu ysu zsu"])
def test_unwrapped_positions_that_begin_again(dump, frame, columns):
    """Also where an atom hops in the frame of the restart, by a third of the cell."""
    known = crystal()
    path = dump(lammps_frames(restarted(known, frame), f"id type {columns}"))
    trajectory, position, _, _ = read(path, **LAMMPS)
    np.testing.assert_allclose(position, known.position, rtol=0, atol=1e-8)
    assert trajectory.tally.restarts == [frame]
    assert trajectory.note == (
        "unwrapped positions began again from other images at frame "
        f"{frame}, and were continued by the minimum image"
    )


def test_image_flags_lost_at_a_restart(dump):
    known = crystal()
    frames = lammps_frames(known, "id type x y z ix iy iz")
    flags = frames[7].splitlines(keepends=True)
    lost = [" ".join([*line.split()[:5], "0 0 0\n"]) for line in flags[9:]]
    path = dump([*frames[:7], "".join(flags[:9] + lost), *frames[8:]])
    trajectory, position, _, _ = read(path, **LAMMPS)
    np.testing.assert_allclose(position, known.position, rtol=0, atol=1e-8)
    assert trajectory.tally.restarts == [7, 8]


def test_a_frame_doubled_by_the_restart(dump):
    """The same positions in other images are the same frame."""
    known = crystal()
    before, after = (
        lammps_frames(one, "id type xu yu zu") for one in (known, restarted(known, 6))
    )
    trajectory, position, _, _ = read(dump([*before[:7], *after[6:]]), **LAMMPS)
    np.testing.assert_allclose(position, known.position, rtol=0, atol=1e-8)
    assert trajectory.tally.duplicates == 1
    assert trajectory.tally.restarts == [7]


def test_one_atom_that_begins_again(dump):
    known = crystal()
    position = known.position + 1.0  # nothing near the boundary but atom 0, two cells on
    position[:, 0, 1] += 2 * 6.0
    known = Known(position, known.cell, known.number)
    trajectory, position, _, _ = read(
        dump(lammps_frames(restarted(known, 8), "id type xu yu zu")), **LAMMPS
    )
    np.testing.assert_allclose(position, known.position, rtol=0, atol=1e-8)
    assert trajectory.tally.restarts == [8]


def test_a_restart_amid_steps_that_are_too_far(dump):
    """Most atoms jump by lattice vectors, but one moved by 0.45 of the cell: which way?"""
    known = crystal()
    known.position[7:, 5] += [0, 0.45 * 6.0, 0]
    path = dump(lammps_frames(restarted(known, 7), "id type xu yu zu"))
    with pytest.raises(ValueError, match=r"frame 7: atom 5 moved 2\.\d+ Å"):
        read(path, **LAMMPS)


@pytest.mark.parametrize("stride", [1, 8, 16])
def test_far_motion_in_frames_far_apart_is_left_alone(dump, stride):
    """Unwrapped, by half a cell and more from frame to frame: true, and not healed."""
    known = walk(TRICLINIC)
    path = dump(lammps_frames(known, "id type xu yu zu"))
    trajectory, position, _, _ = read(path, **LAMMPS, stride=stride)
    np.testing.assert_allclose(position, known.position[::stride], rtol=0, atol=1e-8)
    assert trajectory.note == ""


def test_positions_that_are_said_to_be_unwrapped(dump):
    """Checked against wrapped ones: steps of whole lattice vectors contradict it."""
    known = crystal()
    path = dump(lammps_frames(known, "id type x y z"))
    with pytest.raises(ValueError, match=r"frame 1: \d+ atoms jump .* leave --unwrapped"):
        read(path, **LAMMPS, unwrapped=True)
    as_they_are = Known(known.position, known.cell, known.number)
    text = "".join(lammps_frames(as_they_are, "id type xu yu zu")).replace(
        "xu yu zu", "x y z"
    )
    trajectory, position, _, _ = read(dump(text), **LAMMPS, unwrapped=True)
    np.testing.assert_allclose(position, known.position, rtol=0, atol=1e-8)
    assert trajectory.unwrapping == "none, as stated"


def test_the_limit_is_of_each_direction():
    """A step along the diagonal, 0.39 of each height: longer than 0.5, and certain."""
    unwrap = Unwrapper(PERIODIC)
    start = np.full((1, 3), 0.9) @ ORTHOGONAL
    step = np.full((1, 3), 0.39) @ ORTHOGONAL
    unwrap(start, ORTHOGONAL, "")
    inside = start + step - ORTHOGONAL.sum(axis=0)
    np.testing.assert_allclose(unwrap(inside, ORTHOGONAL, ""), start + step, atol=1e-12)
    unwrap(inside + step, ORTHOGONAL, "")
    with pytest.raises(
        ValueError, match=r"along c more than 0.4 .*\(8\.50 Å\), as did 1 of"
    ):
        unwrap(inside + step * [1, 1, 2.05], ORTHOGONAL, "frame 3")


def test_free_directions_have_no_images(dump):
    known = crystal()
    text = "".join(lammps_frames(known, "id type x y z")).replace("pp pp pp", "pp ff pp")
    with pytest.raises(ValueError, match="jump by a lattice vector along b since"):
        read(dump(text), **LAMMPS)
