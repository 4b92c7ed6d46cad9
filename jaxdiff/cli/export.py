"""`jaxdiff export`: the positions that a run kept, as trajectories of other programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdiff.cli.frame import command
from jaxdiff.cli.options import RunDir
from jaxdiff.io.shown import counted

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from jaxdiff.io.trajectory import Frames

PLACE = "{replica}"
"""In a name of a file: the number of the replica goes there."""

_CHUNK_FRAMES = 64
_SAME_TIME = 1e-6  # ps; a thousandth of the shortest time step that anyone uses


@command
def export(
    run_dir: RunDir,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="File to write; {replica} becomes the number of each."
        ),
    ],
    replica: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only this replica, counted from 0."),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="lammps, extxyz, xdatcar, h5md or traj. Default: by the name.",
        ),
    ] = None,
    anion: Annotated[
        str | None,
        typer.Option(
            metavar="ELEMENT", help="Of the anions, where the run does not say it."
        ),
    ] = None,
    allow_incomplete: Annotated[
        bool,
        typer.Option("--allow-incomplete", help="Also from a run that has not finished."),
    ] = False,
) -> None:
    """Write the trajectories of a run as LAMMPS dump, extxyz, XDATCAR, H5MD or .traj.

    Positions are unwrapped; a replica that diverged ends before it did.
    """
    from jaxdiff.analysis.traces import open_series

    _check_format(file_format)
    path = run_dir / "series.h5"
    with open_series(path, allow_incomplete=allow_incomplete) as series:
        for line in _write(path, series, file, replica, file_format, anion):
            typer.echo(line)


def _check_format(given: str | None) -> None:
    from jaxdiff.io.trajectory import FORMATS

    if given is not None and given not in FORMATS:
        raise ValueError(
            f"--file-format {given} is not known; give one of {', '.join(FORMATS)}."
        )


def _write(
    path: Path,
    series: "h5py.File",
    file: Path,
    replica: int | None,
    file_format: str | None,
    anion: str | None,
) -> Iterator[str]:
    """Write what was asked for; a line for each replica."""
    import numpy as np

    from jaxdiff.analysis.traces import diverged_ps, n_kept
    from jaxdiff.io.export import write_trajectory

    time = np.asarray(series["positions/time_ps"])
    if len(time) == 0:
        raise ValueError(
            f"{path} holds no positions; set output.positions_every_ps in the run file and "
            "run again (or analyze with --keep-frames above 0)."
        )
    kelvin = np.asarray(series["temperature_kelvin"])
    chosen = _chosen(replica, len(kelvin), file)
    number = _atomic_number(path, series, anion)
    stop = diverged_ps(path, series)
    kept = n_kept(time, stop)
    if not any(kept[r] for r in chosen):
        raise ValueError(
            f"No position was kept before {_words(chosen)} diverged, at "
            f"{stop[chosen[0]]:g} ps; the first is of {time[0]:g} ps."
        )
    for r in chosen:
        if kept[r] == 0:
            yield f"replica {r}: left out, it diverged before the first frame"
            continue
        target = _target(file, r)
        target.parent.mkdir(parents=True, exist_ok=True)
        n = write_trajectory(
            target,
            _frames(path, series, r, int(kept[r])),
            atomic_number=number,
            timestep_fs=_timestep_fs(series),
            file_format=file_format,
        )
        yield f"{target}: {counted(n, 'frame')} of replica {r}, {kelvin[r]:g} K"


def _chosen(replica: int | None, n_replicas: int, file: Path) -> list[int]:
    if replica is not None and not 0 <= replica < n_replicas:
        raise ValueError(
            f"--replica {replica}: the run has {n_replicas}, numbered from 0 to "
            f"{n_replicas - 1}."
        )
    chosen = [replica] if replica is not None else list(range(n_replicas))
    if len(chosen) > 1 and PLACE not in str(file):
        raise ValueError(
            f"The run has {n_replicas} replicas and FILE is {file}; put {PLACE} into the "
            f"name, as in {file.stem}_{PLACE}{file.suffix}, or choose one by --replica."
        )
    for target in (_target(file, r) for r in chosen):
        if target.exists():
            raise ValueError(
                f"{target} exists already; give another name, or move it away."
            )
    return chosen


def _target(file: Path, replica: int) -> Path:
    return Path(str(file).replace(PLACE, str(replica)))


def _words(chosen: list[int]) -> str:
    return f"replica {chosen[0]}" if len(chosen) == 1 else "the replicas"


def _frames(
    path: Path, series: "h5py.File", replica: int, n_frames: int
) -> Iterator["Frames"]:
    import numpy as np

    from jaxdiff.io.trajectory import Frames

    time = np.asarray(series["positions/time_ps"])
    position: Any = series["positions/position"]
    for start in range(0, n_frames, _CHUNK_FRAMES):
        part = slice(start, min(start + _CHUNK_FRAMES, n_frames))
        yield Frames(
            np.asarray(position[replica, part], float),
            _cells(path, series, replica, time[part]),
            time[part],
        )


def _cells(
    path: Path, series: "h5py.File", replica: int, time_ps: "np.ndarray"
) -> "np.ndarray":
    """Lattice vectors [frames, 3, 3], Å: scaled to the volume then, where it varies.

    A barostat scales all of them alike.
    """
    import numpy as np

    from jaxdiff.analysis.traces import per_replica

    shape = (len(np.asarray(series["temperature_kelvin"])), 3, 3)
    cell = per_replica(path, series, "cell_angstrom", shape)[replica]
    cells = np.tile(cell, (len(time_ps), 1, 1))
    if not _varies(series):
        return cells
    rows, volumes = np.asarray(series["thermo/time_ps"]), series["thermo/volume_angstrom3"]
    row = np.minimum(np.searchsorted(rows, time_ps - _SAME_TIME), len(rows) - 1)
    missing = np.abs(rows[row] - time_ps) > _SAME_TIME
    if missing.any():
        raise ValueError(
            f"{path}: the cell varied, and its volume at {time_ps[missing][0]:g} ps was "
            "not written; run with output.positions_every_ps a multiple of "
            "hops.stride_fs times output.thermo_stride_frames."
        )
    stretch = np.cbrt(np.asarray(volumes)[replica, row] / np.linalg.det(cell))
    return cells * stretch[:, None, None]


def _varies(series: "h5py.File") -> bool:
    """Whether the run file asked for a barostat; cells of `jaxdiff analyze` are means."""
    from jaxdiff.io.config import table_of

    return "barostat" in table_of(str(series.attrs["run_file"]))


def _timestep_fs(series: "h5py.File") -> float:
    """Unit of step numbers, fs: that of the run; of an analysed trajectory, its frames."""
    attributes: dict[str, Any] = dict(series.attrs)
    if "timestep_fs" in attributes:
        return float(attributes["timestep_fs"])
    return 1e3 * float(attributes["frame_ps"])


def _atomic_number(path: Path, series: "h5py.File", anion: str | None) -> "np.ndarray":
    """Of each atom: from the run, its final frames, its run file, or as given."""
    import numpy as np
    from ase.data import atomic_numbers

    if "positions/atomic_number" in series:
        return np.asarray(series["positions/atomic_number"])
    is_mobile = np.asarray(series["positions/is_mobile"], bool)
    final = path.with_name("final.extxyz")
    if anion is None and final.is_file():
        from ase.io import read

        atoms: Any = read(final, index=0)
        if len(atoms) == len(is_mobile):
            return np.asarray(atoms.numbers)
    mobile, other = _elements(str(series.attrs["run_file"]))
    other = anion or other
    if other not in atomic_numbers:
        what = f"--anion {other} is no element" if other else "it does not say the anion"
        raise ValueError(f"{path}: {what}; give its symbol, as in --anion F.")
    return np.where(is_mobile, atomic_numbers[mobile], atomic_numbers[other])


def _elements(run_file: str) -> tuple[str, str | None]:
    """Symbols of cations and anions as far as the run file says them.

    A crystal that is built is LiF; one from files is what they hold.
    """
    from jaxdiff.io.config import table_of

    table = table_of(run_file)
    if "analyze" in table:
        return table["analyze"]["mobile"], None
    return "Li", None if table.get("system", {}).get("structure_files") else "F"
