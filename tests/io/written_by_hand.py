"""A trajectory with known positions, and LAMMPS dumps of it written as the manual says.

https://docs.lammps.org/dump.html and https://docs.lammps.org/Howto_triclinic.html
"""

import dataclasses

import numpy as np
import pytest

from jaxdiff.io.trajectory import open_trajectory

ORTHOGONAL = np.diag([9.0, 10.0, 8.5])
TRICLINIC = np.array([[9.0, 0, 0], [2.0, 10.0, 0], [-3.0, 1.5, 8.5]])
TILTED_BACK = np.array([[9.0, 0, 0], [-2.0, 10.0, 0], [-3.0, -1.5, 8.5]])
GENERAL = TRICLINIC[:, [1, 2, 0]]
ORIGIN = np.array([-1.5, 2.25, 0.5])


@dataclasses.dataclass(frozen=True)
class Known:
    """Unwrapped positions from the corner [F, N, 3], cells [F, 3, 3], 0.1 ps apart."""

    position: np.ndarray
    cell: np.ndarray
    number: np.ndarray
    frame_ps: float = 0.1

    @property
    def fractional(self):
        return self.position @ np.linalg.inv(self.cell)

    @property
    def image(self):
        return np.floor(self.fractional)

    @property
    def wrapped(self):
        return (self.fractional - self.image) @ self.cell

    @property
    def time_ps(self):
        return self.frame_ps * np.arange(len(self.position))


def walk(cell=TRICLINIC, n_frames=40, n_atoms=12, breathing=0.0, seed=0):
    """Atoms that start inside, drift over several cells and jiggle.

    Fractional steps of 0.06 (drift) and 0.02 (jiggle): some 0.6 to 1.5 Å, below a quarter
    of the smallest height (8.3 Å).
    """
    rng = np.random.default_rng(seed)
    step = 0.02 * rng.normal(size=(n_frames, n_atoms, 3)) + [0.06, -0.05, 0.04]
    step[0] = rng.uniform(0.05, 0.95, size=(n_atoms, 3))
    scale = 1 + breathing * rng.normal(size=(n_frames, 1, 1))
    cells = np.broadcast_to(cell * scale, (n_frames, 3, 3))
    number = np.where(np.arange(n_atoms) % 3 == 0, 9, 3)
    return Known(np.cumsum(step, axis=0) @ cells, cells, number)


def lammps_bounds(cell, origin=ORIGIN, flags="pp pp pp"):
    """The box of one frame: orthogonal, restricted triclinic, or general."""
    if abs(cell[np.triu_indices(3, 1)]).max() > 0:
        rows = [f"{a[0]} {a[1]} {a[2]} {o}" for a, o in zip(cell, origin, strict=True)]
        return f"ITEM: BOX BOUNDS abc origin {flags}\n" + "\n".join(rows) + "\n"
    low, high = origin, origin + np.diag(cell)
    xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
    if not (xy or xz or yz):
        rows = [f"{a} {b}" for a, b in zip(low, high, strict=True)]
        return f"ITEM: BOX BOUNDS {flags}\n" + "\n".join(rows) + "\n"
    return (
        f"ITEM: BOX BOUNDS xy xz yz {flags}\n"
        f"{low[0] + min(0, xy, xz, xy + xz)} {high[0] + max(0, xy, xz, xy + xz)} {xy}\n"
        f"{low[1] + min(0, yz)} {high[1] + max(0, yz)} {xz}\n"
        f"{low[2]} {high[2]} {yz}\n"
    )


def lammps_columns(known, columns):
    """Values [F, N, columns] by name; absolute coordinates are from ORIGIN."""
    unscaled = {"u": known.position + ORIGIN, "": known.wrapped + ORIGIN}
    scaled = {"u": known.fractional, "": known.fractional - known.image}
    table = {
        "type": np.broadcast_to(np.where(known.number == 3, 1, 2), known.position.shape[:2])
    }
    table["id"] = np.broadcast_to(
        10 + np.arange(len(known.number)), known.position.shape[:2]
    )
    for k, axis in enumerate("xyz"):
        table[f"i{axis}"] = known.image[..., k]
        table[f"v{axis}"] = np.full(known.position.shape[:2], 7.5)
        for suffix in ("", "u"):
            table[f"{axis}{suffix}"] = unscaled[suffix][..., k]
            table[f"{axis}s{suffix}"] = scaled[suffix][..., k]
    return [table[name] for name in columns]


def lammps_frames(known, columns="id type xu yu zu", shuffle=None, extra="", every=100):
    """The text of every frame; `shuffle` is a generator that orders atoms anew."""
    columns = columns.split()
    values = lammps_columns(known, [c for c in columns if c != "element"])
    frames = []
    for f in range(len(known.position)):
        order = np.arange(len(known.number))
        if shuffle is not None:
            order = shuffle.permutation(order)
        rows = []
        for a in order:
            words = iter([v[f, a] for v in values])
            rows.append(
                " ".join(
                    {3: "Li", 9: "F"}[known.number[a]]
                    if c == "element"
                    else _word(c, words)
                    for c in columns
                )
            )
        frames.append(
            f"{extra}ITEM: TIMESTEP\n{every * f}\nITEM: NUMBER OF ATOMS\n{len(rows)}\n"
            + lammps_bounds(known.cell[f])
            + f"ITEM: ATOMS {' '.join(columns)} \n"
            + "".join(f"{row} \n" for row in rows)
        )
    return frames


def _word(column, words):
    value = next(words)
    return (
        f"{int(value)}" if column in ("id", "type", "ix", "iy", "iz") else f"{value:.10f}"
    )


def read(path, chunk_frames=7, **arguments):
    trajectory = open_trajectory(path, **arguments)
    chunks = list(trajectory.chunks(chunk_frames))
    assert all(len(chunk.time_ps) <= chunk_frames for chunk in chunks)
    return trajectory, *(
        np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("position", "cell", "time_ps")
    )


def assert_same(path, known, atol, **arguments):
    trajectory, position, cell, time_ps = read(path, **arguments)
    np.testing.assert_allclose(position, known.position, rtol=0, atol=atol)
    np.testing.assert_allclose(cell, known.cell, rtol=0, atol=atol)
    np.testing.assert_allclose(time_ps, known.time_ps, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(trajectory.atomic_number, known.number)
    assert trajectory.frame_ps == pytest.approx(known.frame_ps, rel=1e-6)
    assert trajectory.tally.frames == len(known.position)
    assert trajectory.note == ""
    return trajectory
