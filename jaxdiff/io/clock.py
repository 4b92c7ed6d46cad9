"""What tells the time in a trajectory, and whether its frames are equally far apart."""

import dataclasses
from pathlib import Path

import numpy as np

from jaxdiff.io.trajectory_source import Missing, RawFrame, Source, Tally

_SAME_SPACING = 1e-3  # of the spacing; times are printed with few digits
_TIME_EPSILON = 4 * float(np.finfo(np.float32).eps)  # times may be stored in float32
_SAME_TIME = 1e-2  # of the spacing; of a time that only confirms the clock
_PRINTED = 2e-5  # of a time that is printed with 6 digits, twice its rounding
_UNITS_PS = {  # of times that come without one
    "ps": 1.0,
    "fs": 1e-3,
    "ns": 1e3,
    "s": 1e12,
    "Å sqrt(u/eV)": 1.018050571e-2,
    "atomic units": 2.418884326e-5,
}


@dataclasses.dataclass(frozen=True)
class Clock:
    """Times of frames: `quantity` of a raw frame, times `ps_per_tick`."""

    path: Path
    quantity: str  # step, time or index
    word: str
    ps_per_tick: float | None = None
    spacing: float | None = None  # ticks between frames of the file
    time_spacing: float | None = None  # of a time that is not the clock

    @property
    def frame_ps(self) -> float | None:
        """Time between frames of the file; None if there is only one."""
        if self.ps_per_tick is None or self.spacing is None:
            return None
        return self.ps_per_tick * self.spacing

    def tick(self, raw: RawFrame, index: int) -> float:
        """Of a frame, in the unit of the file."""
        value = index if self.quantity == "index" else getattr(raw, self.quantity)
        if value is None:
            raise ValueError(
                f"{self.path}, frame {index} has no {self.word}, but the first has; read "
                "the parts before and after it with --stop and --start."
            )
        return float(value)

    def check_time(self, before: RawFrame, raw: RawFrame, index: int) -> None:
        """A time beside the steps must grow evenly: time steps may vary in a run."""
        if self.time_spacing is None or before.time is None or raw.time is None:
            return
        apart, rounding = raw.time - before.time, _PRINTED * abs(raw.time)
        if abs(apart - self.time_spacing) > _SAME_TIME * abs(self.time_spacing) + rounding:
            raise ValueError(
                f"{self.path}: frames {index - 1} and {index} are {apart:g} apart in time "
                f"where {self.time_spacing:g} is expected, though their {self.word}s are "
                "equally far apart: the time step varies. Write frames at equal times, or "
                f"read a part by --stop {index} or --start {index}."
            )

    def check_spacing(self, before: float, tick: float, index: int) -> None:
        """Frame `index` must come one spacing after the one before."""
        if self.spacing is None:
            return
        allowed = _SAME_SPACING * abs(self.spacing) + _TIME_EPSILON * abs(tick)
        if tick > before and abs(tick - before - self.spacing) <= allowed:
            return
        cause = "frames are missing there"
        if tick < before + self.spacing:
            cause = "they are closer there"
        if tick < before:
            cause = "it goes back, as where a restart is appended or two runs are joined"
        raise ValueError(
            f"{self.path}: frames {index - 1} and {index} are at {self.word} {before:.12g} "
            f"and {tick:.12g}, {tick - before:g} apart where {self.spacing:g} is expected: "
            f"{cause}. Cut the file there, or read a part of it by --stop {index} or "
            f"--start {index}."
        )


def read_clock(
    path: Path,
    source: Source,
    start: int,
    frame_ps: float | None,
    timestep_fs: float | None,
) -> Clock:
    """What tells the time, and the spacing of the frames at `start`."""
    raw, following = _two_frames(source, start)
    clock = _choose(path, source, raw, (frame_ps, timestep_fs))
    if clock is None:
        raise Missing("time", _question(path, source, raw, following))
    if following is None:
        return dataclasses.replace(
            clock, spacing=1.0 if clock.quantity == "index" else None
        )
    before, tick = clock.tick(raw, start), clock.tick(following, start + 1)
    spacing = 1.0 if clock.quantity == "index" else tick - before
    if not spacing > 0:
        raise ValueError(
            f"{path}: {clock.word} goes back by {-spacing:g} after frame {start}; give one "
            "run, in order."
        )
    clock = _agreeing(dataclasses.replace(clock, spacing=spacing), frame_ps)
    if raw.time is not None and following.time is not None and clock.quantity != "time":
        _check_time(clock, (raw.time, following.time), stated=source.time_stated)
        clock = dataclasses.replace(clock, time_spacing=following.time - raw.time)
    elif clock.quantity == "time" and not source.time_stated:
        _check_time(clock, (before, tick), stated=False)
    return clock


def _choose(
    path: Path, source: Source, raw: RawFrame, given: tuple[float | None, float | None]
) -> Clock | None:
    """The clock without its spacing; None where nothing tells how long a tick is."""
    frame_ps, timestep_fs = given
    has_step, has_time = raw.step is not None, raw.time is not None
    if timestep_fs is not None:
        if not has_step or source.step_word != "time step":
            instead = f" (its {source.step_word} may count frames)" if has_step else ""
            raise ValueError(
                f"{path} does not count time steps{instead}, so --timestep-fs "
                f"{timestep_fs:g} does not tell its times; give --frame-ps, the time "
                "between frames."
            )
        return Clock(path, "step", source.step_word, 1e-3 * timestep_fs)
    if has_time and source.time_stated:
        return Clock(path, "time", "time", 1.0)
    if frame_ps is None:
        return None
    if has_step:
        return Clock(path, "step", source.step_word)
    return Clock(path, "time", "time") if has_time else Clock(path, "index", "index")


def _question(path: Path, source: Source, raw: RawFrame, following: RawFrame | None) -> str:
    """What to ask for where the file does not say how long a tick is."""
    counts = raw.step is not None and source.step_word == "time step"
    need = "--timestep-fs, the MD time step (or --frame-ps)" if counts else "--frame-ps"
    if raw.time is None or following is None or following.time is None:
        return f"{path} does not say the time between its frames; give {need}."
    apart = following.time - raw.time
    return (
        f"{path} does not say the time between its frames: they are {apart:g} apart in a "
        f"time without a unit (LAMMPS means ps or fs, GPUMD fs). Give {need}: --frame-ps "
        f"{apart:g} if it is ps, --frame-ps {1e-3 * apart:g} if it is fs."
    )


def _agreeing(clock: Clock, frame_ps: float | None) -> Clock:
    """The clock with its rate set by `frame_ps`, or compared with it."""
    assert clock.spacing is not None
    if frame_ps is None:
        return clock
    if clock.ps_per_tick is None:
        return dataclasses.replace(clock, ps_per_tick=frame_ps / clock.spacing)
    stated = clock.ps_per_tick * clock.spacing
    if abs(stated - frame_ps) > _SAME_SPACING * frame_ps:
        raise ValueError(
            f"{clock.path} has frames {stated:g} ps apart, but --frame-ps {frame_ps:g} was "
            "given; leave it out, or correct it."
        )
    return clock


def _check_time(clock: Clock, times: tuple[float, float], *, stated: bool) -> None:
    """Times that the file has, in its unit or in any, against the one that is used."""
    used, apart = clock.frame_ps, times[1] - times[0]
    units = {"ps": 1.0} if stated else _UNITS_PS
    rounding = _PRINTED * abs(times[1])
    if used is None or any(
        abs(apart - used / unit) <= _SAME_TIME * used / unit + rounding
        for unit in units.values()
    ):
        return
    raise ValueError(
        f"{clock.path} has a time that grows by {apart:g}{' ps' if stated else ''} from "
        f"frame to frame, but what was given makes frames {used:g} ps apart, and these do "
        f"not agree in {' or '.join(units)}; correct --timestep-fs or --frame-ps."
    )


def _two_frames(source: Source, start: int) -> tuple[RawFrame, RawFrame | None]:
    """Frame `start`, or the last before it, and the one after."""
    frames = source.frames(Tally())
    last, index = next(frames), 0
    for raw in frames:
        time = raw.step, raw.time
        if time != (None, None) and time == (last.step, last.time):
            continue  # a duplicate
        if index == start:
            return last, raw
        last, index = raw, index + 1
    return last, None
