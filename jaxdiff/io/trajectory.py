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

from jaxdiff.io.clock import Clock, read_clock
from jaxdiff.io.trajectory_format import FORMATS, open_source
from jaxdiff.io.trajectory_source import Given, Missing, RawFrame, Source, Tally
from jaxdiff.io.unwrap import Unwrapper, image_difference
from jaxdiff.system import FARTHEST

__all__ = ["FORMATS", "Frames", "Trajectory", "open_trajectory", "trajectory_of"]

_SAME_FRAME = 0.01  # Å; more between two frames of one time, and they are different runs
_NO_VOLUME = 1e-6  # Å^3
_MOST_CELLS = 1e5  # that an atom may have crossed
_TIMESTEP_FS = 0.01, 20.0  # beyond these it is a slip of units
_ANY = {  # what stands for what is missing, to see what else is
    "species": dict(enumerate(["H"] * 119)),
    "cell": 1e3 * np.eye(3),
}


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
    _stated: bool
    _clock: Clock
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
        if self.tally.restarts:
            places = ", ".join(map(str, self.tally.restarts[:5]))
            more = " and more" if len(self.tally.restarts) > 5 else ""
            parts.append(
                f"unwrapped positions began again from other images at frame {places}"
                f"{more}, and were continued by the minimum image"
            )
        return "; ".join(parts)

    def chunks(self, chunk_frames: int = 256) -> Iterator[Frames]:
        """All frames in order, at most `chunk_frames` at a time; may be called again."""
        if chunk_frames < 1:
            raise ValueError(f"chunk_frames={chunk_frames}; it must be at least 1.")
        self.tally.reset()
        selected = self._selected()
        while batch := list(itertools.islice(selected, chunk_frames)):
            self.tally.frames += len(batch)
            time, position, cell = zip(*batch, strict=True)
            yield Frames(np.stack(position), np.stack(cell), np.array(time))
        if self.tally.frames == 0:
            start, stop, stride = self._range
            raise ValueError(
                f"{self.path} has no frame in --start {start} --stop {stop} --stride "
                f"{stride}; frames are counted from 0."
            )

    def _selected(self) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        """Time, continuous position and cell of the frames asked for."""
        start, _, stride = self._range
        exact = self._source.exact
        unwrap = Unwrapper(self.periodic, exact=exact, stated=self._stated)
        for index, time, raw in self._distinct():
            wanted = index >= start and (index - start) % stride == 0
            if index < start or not (wanted or not exact):
                continue
            where = f"{self.path}, frame {index}"
            position, cell = raw.load()
            _check(position, cell, where)
            position = unwrap(position, cell, where)
            if unwrap.began_again:
                self.tally.restarts.append(index)
            if wanted:
                yield time, position, cell

    def _distinct(self) -> Iterator[tuple[int, float, RawFrame]]:
        """Index, time and raw frame up to `stop`; no duplicates, spacing checked."""
        start, stop, _ = self._range
        index, first, previous = -1, 0.0, None
        for raw in self._source.frames(self.tally):
            tick = self._clock.tick(raw, index + 1)
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
                self._clock.check_spacing(previous[0], tick, index)
                self._clock.check_time(previous[1], raw, index)
            previous = tick, raw
            yield index, (tick - first) * (self._clock.ps_per_tick or 0.0), raw

    def _check_duplicate(self, one: RawFrame, two: RawFrame, index: int) -> None:
        (position, cell), (again, _) = one.load(), two.load()
        difference = image_difference(again, position, cell, self.periodic)
        worst = float(np.linalg.norm(difference, axis=1).max())
        if not worst <= _SAME_FRAME:
            raise ValueError(
                f"{self.path}: frame {index} and the next have the same "
                f"{self._clock.word}, but an atom is {worst:.3g} Å away: these are "
                "different runs; read them as two files."
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
    cell: Float[np.ndarray, "3 3"] | None = None,
    topology: str | Path | None = None,
    length_unit: str | None = None,
) -> Trajectory:
    """Open a trajectory; its first frames are read and checked.

    - `species`: elements of atom types, where the file has types.
    - `frame_ps`: time between consecutive frames of the file, where it has no times.
    - `timestep_fs`: length of a time step, where the file counts steps.
    - `file_format`: one of `FORMATS`; by default from the content.
    - `start`, `stop`, `stride`: frames as in slices, from 0, duplicates not counted.
    - `unwrapped`: positions are continuous already, though the file cannot say so.
    - `cell`, Å: where the file has none (CP2K's XYZ, some DCD); periodic.
    - `topology`: structure file with the same atoms, where the file names no elements.
    - `length_unit`: angstrom or nm, of H5MD files without units.
    """
    path = Path(path)
    _check_arguments(path, frame_ps, timestep_fs, (start, stop, stride))
    given = Given(
        species=species,
        cell=_given_cell(cell),
        topology=None if topology is None else Path(topology),
        length_unit=_given_unit(length_unit),
    )
    source, clock = _opened(path, file_format, given, start, (frame_ps, timestep_fs))
    stated = unwrapped and not source.exact
    if stated:
        source = dataclasses.replace(source, exact=True, unwrapping="none, as stated")
    return _trajectory(path, source, clock, (start, stop, stride), stated=stated)


def _opened(
    path: Path,
    file_format: str | None,
    given: Given,
    start: int,
    times: tuple[float | None, float | None],
) -> tuple[Source, Clock]:
    """The file and its times; all that is missing is asked for at once."""
    asked: list[str] = []
    while True:
        try:
            source = open_source(path, file_format, given)
            clock = read_clock(path, source, start, *times)
        except Missing as missing:
            asked.append(str(missing))
            if missing.what == "time":
                raise ValueError(" ".join(asked)) from None
            given = dataclasses.replace(given, **{missing.what: _ANY[missing.what]})
        except ValueError:
            if asked:
                raise ValueError(" ".join(asked)) from None
            raise
        else:
            if asked:
                raise ValueError(" ".join(asked))
            return source, clock


def trajectory_of(path: Path, source: Source) -> Trajectory:
    """All of a source that states its times."""
    return _trajectory(path, source, read_clock(path, source, 0, None, None))


def _trajectory(
    path: Path,
    source: Source,
    clock: Clock,
    selection: tuple[int, int | None, int] = (0, None, 1),
    *,
    stated: bool = False,
) -> Trajectory:
    between = clock.frame_ps
    return Trajectory(
        path=path,
        format=source.format,
        atomic_number=source.atomic_number,
        periodic=source.periodic,
        frame_ps=None if between is None else between * selection[2],
        unwrapping=source.unwrapping,
        tally=Tally(),
        _source=source,
        _stated=stated,
        _clock=clock,
        _range=selection,
    )


def _given_cell(cell: np.ndarray | None) -> np.ndarray | None:
    if cell is None:
        return None
    rows = np.asarray(cell, float)
    if rows.shape != (3, 3) or not abs(np.linalg.det(rows)) > _NO_VOLUME:
        raise ValueError(
            f"--cell-angstrom {np.ravel(rows).tolist()} is not three lattice vectors that "
            "span a volume; give three edges, or nine numbers row by row."
        )
    return rows


def _given_unit(unit: str | None) -> float | None:
    known = {"angstrom": 1.0, "nm": 10.0}
    if unit is not None and unit.lower() not in known:
        raise ValueError(f"--length-unit {unit} is not one of {', '.join(known)}.")
    return None if unit is None else known[unit.lower()]


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
    for name, value in (("--frame-ps", frame_ps), ("--timestep-fs", timestep_fs)):
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name} {value}; it must be positive.")
    if timestep_fs is not None and not _TIMESTEP_FS[0] <= timestep_fs <= _TIMESTEP_FS[1]:
        raise ValueError(
            f"--timestep-fs {timestep_fs:g} is no MD time step, which is about 1 fs; "
            "LAMMPS's metal units count ps: its 0.001 is --timestep-fs 1."
        )
    start, stop, stride = selection
    if start < 0 or stride < 1 or (stop is not None and stop <= start):
        raise ValueError(
            f"--start {start} --stop {stop} --stride {stride}; frames are counted from 0, "
            "stop must be beyond start and stride at least 1."
        )


def _check(position: np.ndarray, cell: np.ndarray, where: str) -> None:
    bad = np.flatnonzero(~np.isfinite(position).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{where}: the position of atom {bad[0]} is {position[bad[0]]} ({len(bad)} "
            "atoms in all are not finite); read what is before it by --stop, or repair it."
        )
    if not np.isfinite(cell).all() or not abs(np.linalg.det(cell)) > _NO_VOLUME:
        raise ValueError(
            f"{where} has a cell without volume; three lattice vectors are needed. Set the "
            "cell in the file."
        )
    if abs(cell).max() > FARTHEST:
        raise ValueError(
            f"{where} has a cell of {abs(cell).max():.3g} Å, and no crystal is that large; "
            "its unit is not Å, or the file is damaged."
        )
    far = abs(position).max(axis=1)
    away = abs(position @ np.linalg.inv(cell)).max(axis=1)
    absurd = np.flatnonzero((far > FARTHEST) | (away > _MOST_CELLS))
    if len(absurd):
        raise ValueError(
            f"{where}: atom {absurd[0]} has a coordinate of {far[absurd[0]]:.3g} Å and is "
            f"{away[absurd[0]]:.3g} cells away ({len(absurd)} atoms in all), which "
            "no motion does; the file is damaged there. Read what is before it by --stop."
        )
