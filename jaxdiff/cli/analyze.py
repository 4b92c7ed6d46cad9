"""`jaxdiff analyze`: hops and diffusion from trajectories that exist already."""

import hashlib
import json
import math
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdiff.cli.folders import fresh_folder

if TYPE_CHECKING:
    from jaxdiff.io.trajectory import Trajectory
    from jaxdiff.observables.replay import Replay

BAD_INPUT = 2
SERIES = "series.h5"
DWELL_PS = 0.06
"""A cation must stay in a new core this long, and for one frame at least."""

_CHUNK_FRAMES = 256


def analyze(
    trajectory: Annotated[
        list[Path],
        typer.Argument(
            help="LAMMPS dump, extxyz, XDATCAR, H5MD or ASE .traj; each a replica."
        ),
    ],
    temperature_kelvin: Annotated[
        list[float],
        typer.Option(help="Temperature of each trajectory in turn, or one for all."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for series.h5 and the report.")],
    supercell: Annotated[
        str | None,
        typer.Option(
            help="Conventional cells (5 or 4,4,6), or three vectors in units of a as "
            "nine numbers; default: from the cell."
        ),
    ] = None,
    mobile: Annotated[str, typer.Option(help="Element of the cations.")] = "Li",
    species: Annotated[
        list[str] | None,
        typer.Option(help="Element of a LAMMPS atom type, as 1=Li; one per type."),
    ] = None,
    timestep_fs: Annotated[
        float | None, typer.Option(help="MD time step, where the file counts steps.")
    ] = None,
    frame_ps: Annotated[
        float | None, typer.Option(help="Time between frames, where the file has none.")
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option(help="lammps, extxyz, xdatcar, h5md or traj; else guessed."),
    ] = None,
    start: Annotated[int, typer.Option(help="First frame.")] = 0,
    stop: Annotated[int | None, typer.Option(help="Frame to stop before.")] = None,
    stride: Annotated[int, typer.Option(help="Use every so many-th frame.")] = 1,
    dwell_frames: Annotated[
        int | None,
        typer.Option(help="Frames in a core before a site counts; default: 0.06 ps."),
    ] = None,
    core_radius_angstrom: Annotated[
        float, typer.Option(help="A cation this near to a site has arrived.")
    ] = 0.77,
    keep_frames: Annotated[
        int, typer.Option(help="Frames kept for the continuous MSD; 0: none.")
    ] = 1000,
) -> None:
    """Find the hops in trajectories; write series.h5 and the report into a folder."""
    options = {k: v for k, v in locals().items() if k not in ("trajectory", "out")}
    import jax

    jax.config.update("jax_enable_x64", True)

    from jaxdiff.io.trajectory import open_trajectory
    from jaxdiff.report import write_report

    try:
        types = _species(species or [])
        opened = [
            open_trajectory(
                path,
                species=types,
                timestep_fs=timestep_fs,
                frame_ps=frame_ps,
                file_format=file_format,
                start=start,
                stop=stop,
                stride=stride,
            )
            for path in trajectory
        ]
        _check_alike(opened)
        temperature = _temperatures(temperature_kelvin, len(opened))
        fresh_folder(out, "--out", "--out DIR")
        write_series(out / SERIES, opened, temperature, options)
        target = write_report(out)
    except (ValueError, OSError) as error:
        typer.echo(f"jaxdiff analyze: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    for one in opened:
        if one.note:
            typer.echo(f"{one.path}: {one.note}")
    typer.echo(target)


def write_series(
    path: Path,
    trajectories: list["Trajectory"],
    temperature: list[float],
    options: dict[str, Any],
) -> None:
    """Run the tracker over each trajectory and write what it saw as one series."""
    import numpy as np
    from ase.data import atomic_numbers

    from jaxdiff.io.series import SeriesWriter
    from jaxdiff.observables import SiteSettings

    frame_ps = trajectories[0].frame_ps
    if frame_ps is None:
        raise ValueError(
            f"{trajectories[0].path} has one frame; hops need a trajectory of several."
        )
    settings = SiteSettings(
        core_radius=options["core_radius_angstrom"],
        dwell_frames=options["dwell_frames"] or max(1, round(DWELL_PS / frame_ps)),
        log_capacity=16 * _CHUNK_FRAMES,
    )
    if options["mobile"] not in atomic_numbers:
        raise ValueError(
            f"--mobile {options['mobile']} is no element; give a symbol such as Li."
        )
    is_mobile = trajectories[0].atomic_number == atomic_numbers[options["mobile"]]
    supercell = _supercell(options["supercell"], trajectories[0], int((~is_mobile).sum()))
    seen, kept = [], []
    for one in trajectories:
        keeper = _Keeper(options["keep_frames"])
        seen.append(_replay(one, settings, supercell, is_mobile, keeper))
        kept.append(keeper)
    attributes = {
        "run_file": json.dumps(options, indent=1),
        "frame_ps": frame_ps,
        "dwell_frames": settings.dwell_frames,
        "core_radius_angstrom": settings.core_radius,
        "supercell": supercell.matrix,
        "n_mobile": int(is_mobile.sum()),
        "n_anion": int((~is_mobile).sum()),
    }
    series = SeriesWriter(
        path.parent,
        temperature=np.array(temperature),
        seed_index=np.arange(len(seen)),
        lattice_constant=np.array([r.lattice_constant for r in seen]),
        cell=np.stack([r.cell for r in seen]),
        is_mobile=is_mobile,
        attributes=attributes,
        provenance=_provenance(trajectories, seen),
    )
    _write_sites(series, seen)
    if options["keep_frames"]:
        series.append_positions(*_together(kept, frame_ps))
    series.finish("complete")


def _replay(one: "Trajectory", settings, supercell, is_mobile, keeper) -> "Replay":
    from jaxdiff.observables.replay import replay

    def chunks() -> Iterator[tuple[Any, Any]]:
        for frames in one.chunks(_CHUNK_FRAMES):
            keeper.add(frames.position)
            yield frames.position, frames.cell

    return replay(settings, supercell, chunks(), is_mobile)


class _Keeper:
    """Every so many-th frame of a stream of unknown length, at most `n` to `2 n`."""

    def __init__(self, n: int) -> None:
        self.n, self.stride, self._count = n, 1, 0
        self.frames: list[Any] = []

    def add(self, position: Any) -> None:
        """Take what is due from a chunk [F, N, 3]."""
        for i in range(len(position) if self.n else 0):
            if self._count % self.stride == 0:
                self.frames.append(position[i].astype("f4"))
            self._count += 1
            if len(self.frames) >= 2 * self.n:
                self.thin(2 * self.stride)

    def thin(self, stride: int) -> None:
        """Keep only multiples of a stride."""
        self.frames, self.stride = self.frames[:: stride // self.stride], stride


def _together(kept: list[_Keeper], frame_ps: float) -> tuple[Any, Any]:
    """Times [K] and positions [R, K, N, 3] at which all trajectories have a frame."""
    import numpy as np

    stride = max(keeper.stride for keeper in kept)
    for keeper in kept:
        keeper.thin(stride)
    n = min(len(keeper.frames) for keeper in kept)
    return np.arange(n) * stride * frame_ps, np.stack([k.frames[:n] for k in kept])


def _write_sites(series: Any, seen: list["Replay"]) -> None:
    import numpy as np

    series.start_sites(np.stack([r.initial_site for r in seen]))
    changes = {n: np.concatenate([getattr(r, n) for r in seen]) for n in _CHANGES}
    changes["replica"] = np.repeat(np.arange(len(seen)), [len(r.frame) for r in seen])
    counts = {
        "frames": np.array([r.n_frames for r in seen]),
        "anion_displaced_frames": np.array([r.anion_displaced_frames for r in seen]),
        "lost_frame": np.array([r.lost_frame for r in seen]),
    }
    series.append_sites(changes, counts)


_CHANGES = ("frame", "cation", "site")


def _check_alike(trajectories: list["Trajectory"]) -> None:
    first = trajectories[0]
    for other in trajectories[1:]:
        same = len(first.atomic_number) == len(other.atomic_number)
        if not (same and (first.atomic_number == other.atomic_number).all()):
            raise ValueError(
                f"{other.path} does not have the same atoms in the same order as "
                f"{first.path}; analyze them apart."
            )
        if not math.isclose(other.frame_ps or 0, first.frame_ps or 0, rel_tol=1e-6):
            raise ValueError(
                f"{other.path} has a frame every {other.frame_ps} ps, {first.path} every "
                f"{first.frame_ps} ps; analyze them apart, or make them alike by --stride."
            )


def _temperatures(given: list[float], n: int) -> list[float]:
    if len(given) not in (1, n):
        raise ValueError(
            f"{len(given)} temperatures for {n} trajectories; give one for all, or --"
            "temperature-kelvin once for each, in the same order."
        )
    for kelvin in given:
        if not 0 < kelvin <= 5000:
            raise ValueError(f"--temperature-kelvin {kelvin} is outside 0 to 5000 K.")
    return given if len(given) == n else given * n


def _species(given: list[str]) -> dict[int, str] | None:
    types = {}
    for entry in given:
        number, equals, symbol = entry.partition("=")
        if not (equals and number.strip().isdigit()):
            raise ValueError(f"--species {entry} is not of the form 1=Li.")
        types[int(number)] = symbol.strip()
    return types or None


def _supercell(text: str | None, trajectory: "Trajectory", n_anions: int) -> Any:
    import numpy as np

    from jaxdiff.observables.supercell import as_supercell, guess

    if text is None:
        return guess(next(trajectory.chunks(1)).cell[0], n_anions)
    try:
        numbers = [float(part) for part in text.replace(";", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3, 9):
        raise ValueError(
            f"--supercell {text} must be one number, three, or nine, separated by commas."
        )
    shape = {1: (), 3: (3,), 9: (3, 3)}[len(numbers)]
    return as_supercell(np.reshape(numbers, shape))


def _provenance(trajectories: list["Trajectory"], seen: list["Replay"]) -> dict[str, Any]:
    return {
        "versions": {name: version(name) for name in ("jaxdiff", "jax", "numpy")},
        "trajectories": [
            {
                "path": str(one.path),
                "sha256": _sha256(one.path),
                "format": one.format,
                "unwrapping": one.unwrapping,
                "frames": replay.n_frames,
                "lattice_constant_angstrom": replay.lattice_constant,
                "left_out": one.note,
            }
            for one, replay in zip(trajectories, seen, strict=True)
        ],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
