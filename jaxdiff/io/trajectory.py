"""Existing trajectories, read in chunks of frames with continuous positions.

trajectory = open_trajectory("dump.lammpstrj", species={1: "Li", 2: "F"}, timestep_fs=1)
for frames in trajectory.chunks():
    frames.position  # [frames, atoms, 3], Å
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from jaxdiff.io.ase_traj import open_ase_traj
from jaxdiff.io.extxyz import open_extxyz
from jaxdiff.io.h5md import open_h5md
from jaxdiff.io.lammps_dump import open_lammps_dump
from jaxdiff.io.trajectory_source import Lines, RawFrame, Source, Tally
from jaxdiff.io.unwrap import Unwrapper, image_difference
from jaxdiff.io.xdatcar import open_xdatcar

FORMATS = ("lammps", "extxyz", "xdatcar", "h5md", "traj")

_SAME_FRAME = 0.01  # Å; more between two frames of one time, and they are different runs
_SAME_SPACING = 1e-3  # of the spacing; times are printed with few digits
_TIME_EPSILON = 4 * float(np.finfo(np.float32).eps)  # times may be stored in float32


@dataclasses.dataclass(frozen=True)
class Frames:
    """Consecutive frames.

    - `position`, Å: unwrapped, from the corner of the cell; atoms keep their order.
    - `cell`, Å: lattice vectors are rows.
    - `time_ps`: from the first frame of the file.
    """

    position: Float[np.ndarray, "frames atoms 3"]
    cell: Float[np.ndarray, "frames 3 3"]
    time_ps: Float[np.ndarray, " frames"]


@dataclasses.dataclass(frozen=True)
class _Clock:
    """Times of frames: `quantity` of a raw frame, times `ps_per_tick`."""

    quantity: str  # step, time_ps or index
    ps_per_tick: float | None
    spacing: float | None  # ticks between frames of the file

    def tick(self, raw: RawFrame, index: int, where: Path) -> float:
        """Of a frame, in the unit of the file."""
        value = index if self.quantity == "index" else getattr(raw, self.quantity)
        if value is None:
            raise ValueError(
                f"{where}, frame {index} has no {_WORDS[self.quantity]}, but the first has."
            )
        return float(value)


_WORDS = {"step": "time step", "time_ps": "time", "index": "index"}


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """What is known of a trajectory without reading all of it.

    - `atomic_number` [N]; the order of the atoms in every frame.
    - `frame_ps`: time between the frames delivered; None if there is only one.
    - `unwrapping`: how positions are made continuous, in words.
    - `tally`: frames delivered, duplicates dropped, frames cut short; of the last pass.
    """

    path: Path
    format: str
    atomic_number: Integer[np.ndarray, " atoms"]
    periodic: tuple[bool, bool, bool]
    frame_ps: float | None
    unwrapping: str
    tally: Tally
    _source: Source
    _clock: _Clock
    _range: tuple[int, int | None, int]

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_number)

    @property
    def note(self) -> str:
        """What the last pass left out, in words; empty if nothing."""
        parts = []
        if self.tally.duplicates:
            parts.append(f"{self.tally.duplicates} frames were there twice, dropped once")
        if self.tally.incomplete:
            parts.append(f"{self.tally.incomplete} frames were cut short and left out")
        return "; ".join(parts)

    def chunks(self, chunk_frames: int = 256) -> Iterator[Frames]:
        """All frames in order, at most `chunk_frames` at a time; may be called again."""
        if chunk_frames < 1:
            raise ValueError(f"chunk_frames={chunk_frames}; it must be at least 1.")
        for name in ("frames", "duplicates", "incomplete"):
            setattr(self.tally, name, 0)
        selected = self._selected()
        while batch := list(itertools.islice(selected, chunk_frames)):
            self.tally.frames += len(batch)
            time, position, cell = zip(*batch, strict=True)
            yield Frames(np.stack(position), np.stack(cell), np.array(time))
        if self.tally.frames == 0:
            start, stop, stride = self._range
            raise ValueError(
                f"{self.path} has no frame in start={start}, stop={stop}, stride={stride}; "
                "frames are counted from 0."
            )

    def _selected(self) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        """Time, continuous position and cell of the frames asked for."""
        start, _, stride = self._range
        unwrap = None if self._source.exact else Unwrapper(self.periodic)
        for index, time, raw in self._distinct():
            wanted = index >= start and (index - start) % stride == 0
            if index < start or not (wanted or unwrap):
                continue
            where = f"{self.path}, frame {index}"
            position, cell = raw.load()
            _check(position, cell, self.periodic, where)
            if unwrap:
                position = unwrap(position, cell, where)
            if wanted:
                yield time, position, cell

    def _distinct(self) -> Iterator[tuple[int, float, RawFrame]]:
        """Index, time and raw frame up to `stop`; no duplicates, spacing checked."""
        start, stop, _ = self._range
        index, first, previous = -1, 0.0, None
        for raw in self._source.frames(self.tally):
            tick = self._clock.tick(raw, index + 1, self.path)
            if previous is not None and tick == previous[0]:
                self._check_duplicate(previous[1], raw, index)
                self.tally.duplicates += 1
                continue
            index += 1
            if stop is not None and index >= stop:
                return
            if previous is None:
                first = tick
            elif index > start:
                self._check_spacing(previous[0], tick, index)
            previous = tick, raw
            yield index, (tick - first) * (self._clock.ps_per_tick or 0.0), raw

    def _check_spacing(self, before: float, tick: float, index: int) -> None:
        spacing = self._clock.spacing
        if spacing is None:
            return
        allowed = _SAME_SPACING * abs(spacing) + _TIME_EPSILON * abs(tick)
        if tick > before and abs(tick - before - spacing) <= allowed:
            return
        raise ValueError(
            f"{self.path}: frames {index - 1} and {index} are at "
            f"{_WORDS[self._clock.quantity]} {before:g} and {tick:g}, {tick - before:g} "
            f"apart where {spacing:g} is expected; equal spacing is needed: cut the file "
            "there, or read a part of it with start and stop."
        )

    def _check_duplicate(self, one: RawFrame, two: RawFrame, index: int) -> None:
        (position, cell), (again, _) = one.load(), two.load()
        if self._source.exact:
            difference = again - position
        else:
            difference = image_difference(again, position, cell, self.periodic)
        worst = float(np.linalg.norm(difference, axis=1).max())
        if not worst <= _SAME_FRAME:
            raise ValueError(
                f"{self.path}: frame {index} and the next have the same "
                f"{_WORDS[self._clock.quantity]}, but an atom is {worst:.3g} Å away: these "
                "are different runs, or image flags were lost at a restart; read them as "
                "two files."
            )


def open_trajectory(
    path: str | Path,
    *,
    species: dict[int, str] | None = None,
    frame_ps: float | None = None,
    timestep_fs: float | None = None,
    file_format: str | None = None,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    unwrapped: bool = False,
) -> Trajectory:
    """Open a trajectory; its first frames are read and checked.

    - `species`: elements of atom types, for LAMMPS dumps and H5MD files without names.
    - `frame_ps`: time between consecutive frames of the file, where it has no times.
    - `timestep_fs`: length of a time step, where the file counts steps.
    - `file_format`: one of `FORMATS`; by default from the content.
    - `start`, `stop`, `stride`: frames as in slices, from 0, duplicates not counted.
    - `unwrapped`: positions are continuous already, though the file cannot say so.
    """
    path = Path(path)
    _check_arguments(path, frame_ps, timestep_fs, (start, stop, stride))
    form = _format(path) if file_format is None else file_format
    source = _open_source(path, form, species)
    if unwrapped and not source.exact:
        source = dataclasses.replace(source, exact=True, unwrapping="none, as stated")
    clock = _clock(path, source, start, frame_ps, timestep_fs)
    between = None
    if clock.ps_per_tick is not None and clock.spacing is not None:
        between = clock.ps_per_tick * clock.spacing * stride
    return Trajectory(
        path=path,
        format=source.format,
        atomic_number=source.atomic_number,
        periodic=source.periodic,
        frame_ps=between,
        unwrapping=source.unwrapping,
        tally=Tally(),
        _source=source,
        _clock=clock,
        _range=(start, stop, stride),
    )


def _open_source(path: Path, form: str, species: dict[int, str] | None) -> Source:
    if form == "lammps":
        return open_lammps_dump(path, species)
    if form == "h5md":
        return open_h5md(path, species)
    plain = {"extxyz": open_extxyz, "xdatcar": open_xdatcar, "traj": open_ase_traj}
    if form not in plain:
        raise ValueError(f"file_format={form!r}; use one of {', '.join(FORMATS)}.")
    return plain[form](path)


def _format(path: Path) -> str:
    """Format of a file by its content."""
    with path.open("rb") as file:
        magic = file.read(8)
    if magic == b"\x89HDF\r\n\x1a\n":
        return "h5md"
    if magic.startswith(b"- of Ulm"):
        return "traj"
    with Lines(path) as lines:
        head = [lines.line()[:10_000] for _ in range(7)]
    if head[0].startswith(b"ITEM:"):
        return "lammps"
    if head[0].strip().isdigit():
        return "extxyz"
    if [len(line.split()) for line in head[1:5]] == [1, 3, 3, 3]:
        return "xdatcar"
    raise ValueError(
        f"{path} is of no known format; known are LAMMPS text dumps, extended XYZ, "
        "XDATCAR, H5MD and ASE's .traj. Convert it, or say its format (file_format, "
        "--file-format)."
    )


def _check_arguments(
    path: Path,
    frame_ps: float | None,
    timestep_fs: float | None,
    selection: tuple[int, int | None, int],
) -> None:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the path of a trajectory file.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; give a trajectory with at least one frame.")
    for name, value in (("frame_ps", frame_ps), ("timestep_fs", timestep_fs)):
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name}={value}; it must be positive.")
    start, stop, stride = selection
    if start < 0 or stride < 1 or (stop is not None and stop <= start):
        raise ValueError(
            f"start={start}, stop={stop}, stride={stride}; frames are counted from 0, stop "
            "must be beyond start and stride at least 1."
        )


def _clock(
    path: Path,
    source: Source,
    start: int,
    frame_ps: float | None,
    timestep_fs: float | None,
) -> _Clock:
    """What tells the time, and the spacing of the frames at `start`."""
    raw, following = _two_frames(source, start)
    has_step, has_time = raw.step is not None, raw.time_ps is not None
    if timestep_fs is not None and not has_step:
        raise ValueError(
            f"{path} does not count time steps, so timestep_fs={timestep_fs:g} does not "
            "tell its times; give frame_ps, the time between frames."
        )
    if timestep_fs is not None:
        quantity, ps_per_tick = "step", 1e-3 * timestep_fs
    elif has_time and (source.time_stated or frame_ps is None):
        quantity, ps_per_tick = "time_ps", 1.0
    elif frame_ps is not None:
        quantity = "step" if has_step else "time_ps" if has_time else "index"
        ps_per_tick = None
    else:
        need = "timestep_fs (or frame_ps)" if has_step else "frame_ps"
        raise ValueError(f"{path} does not say the time between its frames; give {need}.")
    clock = _Clock(quantity, ps_per_tick, None)
    if following is None:
        return dataclasses.replace(clock, spacing=1.0 if quantity == "index" else None)
    spacing = clock.tick(following, start + 1, path) - clock.tick(raw, start, path)
    if quantity == "index":
        spacing = 1.0
    if not spacing > 0:
        raise ValueError(
            f"{path}: {_WORDS[quantity]} goes back by {-spacing:g} after frame {start}; "
            "give one run, in order."
        )
    return _agreeing(path, dataclasses.replace(clock, spacing=spacing), frame_ps)


def _agreeing(path: Path, clock: _Clock, frame_ps: float | None) -> _Clock:
    """The clock with its rate set by `frame_ps`, or compared with it."""
    assert clock.spacing is not None
    if frame_ps is None:
        return clock
    if clock.ps_per_tick is None:
        return dataclasses.replace(clock, ps_per_tick=frame_ps / clock.spacing)
    stated = clock.ps_per_tick * clock.spacing
    if abs(stated - frame_ps) > _SAME_SPACING * frame_ps:
        raise ValueError(
            f"{path} has frames {stated:g} ps apart, but frame_ps={frame_ps:g} was given; "
            "leave it out, or correct it."
        )
    return clock


def _two_frames(source: Source, start: int) -> tuple[RawFrame, RawFrame | None]:
    """Frame `start`, or the last before it, and the one after."""
    frames = source.frames(Tally())
    last, index = next(frames), 0
    for raw in frames:
        time = raw.step, raw.time_ps
        if time != (None, None) and time == (last.step, last.time_ps):
            continue  # a duplicate
        if index == start:
            return last, raw
        last, index = raw, index + 1
    return last, None


def _check(
    position: np.ndarray, cell: np.ndarray, periodic: tuple[bool, ...], where: str
) -> None:
    bad = np.flatnonzero(~np.isfinite(position).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{where}: the position of atom {bad[0]} is {position[bad[0]]} ({len(bad)} "
            "atoms in all are not finite); stop before that frame, or repair the file."
        )
    if not np.isfinite(cell).all() or (
        any(periodic) and not abs(np.linalg.det(cell)) > 1e-6
    ):
        raise ValueError(
            f"{where} has a cell without volume; three lattice vectors are needed. Set the "
            "cell in the file."
        )
