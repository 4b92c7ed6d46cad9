"""Packed trajectories, whole and cut, and files whose last line lacks its line end."""

import bz2
import gzip
import lzma
import sys

import numpy as np
import pytest
from written_by_hand import assert_same, lammps_frames, read, walk

from jaxdiff.io.trajectory import open_trajectory

LAMMPS = {"species": {1: "Li", 2: "F"}, "timestep_fs": 1.0}
KNOWN = walk(n_frames=40)
TEXT = "".join(lammps_frames(KNOWN)).encode()
PRINTED = 2e-9


def packed(name):
    if name == "zst":
        return pytest.importorskip("backports.zstd").compress(TEXT)
    return {"gz": gzip, "bz2": bz2, "xz": lzma}[name].compress(TEXT)


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst"])
def test_packed(tmp_path, name):
    path = tmp_path / f"dump.{name}"
    path.write_bytes(packed(name))
    assert_same(path, KNOWN, PRINTED, **LAMMPS)


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst"])
def test_packed_and_cut(tmp_path, name):
    """Of 40 frames those before the cut are left, as many as the packing lets out."""
    content, path = packed(name), tmp_path / "cut"
    for end in range(200, len(content), len(content) // 15):
        path.write_bytes(content[:end])
        try:
            trajectory, position, _, _ = read(path, **LAMMPS)
        except ValueError as error:
            assert "no complete frame" in str(error)  # noqa: PT017
            continue
        expected = KNOWN.position[: len(position)]
        np.testing.assert_allclose(position, expected, rtol=0, atol=PRINTED)
        assert len(position) < 40
        assert trajectory.tally.incomplete <= 1


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst"])
def test_packed_and_damaged(tmp_path, name):
    content, path = bytearray(packed(name)), tmp_path / "wrong"
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged|no complete frame|number|frame|format"):
        read(path, **LAMMPS)


def test_zstd_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    path = tmp_path / "dump.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    with pytest.raises(ValueError, match=r"packed by zstd; unpack it .* 'jaxdiff\[zst\]'"):
        open_trajectory(path, **LAMMPS)


@pytest.mark.parametrize("blank", [" ", ""])
@pytest.mark.parametrize("fmt", ["%.4f", "%g", "%.6e"])
@pytest.mark.parametrize("n_frames", [1, 3])
def test_a_last_line_without_its_end(tmp_path, fmt, blank, n_frames):
    """Every cut of the last number but none is a frame cut short, whatever the format."""
    known = walk(n_frames=n_frames, n_atoms=8, seed=4)
    known.position[-1, -1] = known.position[-1, -1] @ np.diag([1, 1, 0]) + [0, 0, 7.34567]
    text = "".join(lammps_frames(known)).splitlines()
    lines = []
    for line in text:
        words = line.split()
        if len(words) == 5 and words[0].isdigit():
            numbers = [fmt % float(word) for word in words[2:]]
            line = " ".join([*words[:2], *numbers]) + blank
        lines.append(line)
    content, path = "\n".join(lines), tmp_path / "dump.lammpstrj"
    path.write_text(content)
    trajectory, position, _, _ = read(path, **LAMMPS)
    assert len(position) == n_frames
    assert trajectory.note == ""
    assert position[-1, -1, 2] == pytest.approx(7.34567, abs=1e-4)
    for cut in range(1 + len(blank), 8):
        path.write_text(content[:-cut])
        if n_frames == 1:
            with pytest.raises(ValueError, match="no complete frame"):
                open_trajectory(path, **LAMMPS)
            continue
        trajectory, position, _, _ = read(path, **LAMMPS)
        assert len(position) == n_frames - 1
        assert trajectory.tally.incomplete == 1


@pytest.mark.parametrize("last", ["element", "ix iy iz"])
def test_a_last_column_of_words(tmp_path, last):
    """A word that other lines end with is whole."""
    known = walk(n_frames=2, n_atoms=8)
    columns = "id x y z " + last if last == "element" else "id type x y z " + last
    content = "".join(lammps_frames(known, columns)).rstrip()
    path = tmp_path / "dump.lammpstrj"
    path.write_text(content)
    given = {"timestep_fs": 1.0} if last == "element" else LAMMPS
    trajectory, position, _, _ = read(path, **given)
    assert len(position) == 2
    path.write_text(content[:-1])
    trajectory, position, _, _ = read(path, **given)
    assert len(position) == 1
