"""A run as objects of other packages: pandas, MDAnalysis, kinisi.

None of them is needed otherwise; each function imports its own.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxdiff.analysis.series import Series

if TYPE_CHECKING:
    import pandas


def to_pandas(series: Series) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    """Replicas and events as data frames, units in the names of the columns.

    Events: one row each; `from_*` and `to_*` are on the path of the defect, unwrapped.
    """
    import pandas

    n_replicas = len(series.temperature)
    replicas = pandas.DataFrame(
        {
            "temperature_kelvin": series.temperature,
            "lattice_constant_angstrom": series.lattice_constant,
            "exposure_ps": series.exposure_ps,
            "hops": series.hop_count,
            "diverged_ps": series.diverged_ps,
            **{f"{name}_frames": count for name, count in series.frames.items()},
        },
        index=pandas.RangeIndex(n_replicas, name="replica"),
    )
    events, to_angstrom = series.events, series.event_unit
    table: dict[str, Any] = {
        "replica": events.replica,
        "temperature_kelvin": series.temperature[events.replica],
        "time_ps": (events.frame + 1) * series.frame_ps,
        "event": np.array(series.network.classes)[events.kind],
        "defect": events.defect,
        "cations_moved": events.n_moved,
    }
    for name, site in (("from", events.start), ("to", events.end)):
        for axis, column in zip("xyz", site.T, strict=True):
            table[f"{name}_{axis}_angstrom"] = column * to_angstrom
    return replicas, pandas.DataFrame(table)


def to_mdanalysis(series: Series, replica: int) -> Any:
    """An `MDAnalysis.Universe` of the frames kept of one replica, in memory, unwrapped.

    Of a replica that diverged, those from before it stopped.
    """
    import MDAnalysis

    _check_replica(series, replica)
    n_frames = int(series.n_kept[replica])
    if n_frames < 2:
        raise ValueError(
            f"There are fewer than two frames of replica {replica}; run with a shorter "
            "output.positions_every_ps, or analyze with --keep-frames above 1."
        )
    universe = MDAnalysis.Universe.empty(len(series.is_mobile), trajectory=True)
    names = np.where(series.is_mobile, "M", "X")
    universe.add_TopologyAttr("name", names.tolist())
    universe.add_TopologyAttr("type", names.tolist())
    lengths_and_angles = _box(series.cell[replica])
    universe.load_new(
        np.asarray(series.position[replica, :n_frames], np.float32),
        order="fac",
        dt=float(np.diff(series.position_time_ps[:2])[0]),
        dimensions=np.tile(lengths_and_angles, (n_frames, 1)),
    )
    return universe


def to_kinisi(series: Series, replica: int) -> Any:
    """A `kinisi.parser.Parser` of the cations of one replica, one frame per `frame_ps`.

    Site-projected: a cation is where its events have put it, without vibration, so the
    mean squared displacement has no offset. Give it to `kinisi.analyze`'s analyzers.
    """
    import scipp
    from kinisi.parser import Parser

    _check_replica(series, replica)
    path = site_path(series, replica)
    cell = series.cell[replica]
    fractional = np.linalg.solve(cell.T, path.reshape(-1, 3).T).T.reshape(path.shape)
    lattice = np.broadcast_to(cell, (len(path), 3, 3))
    make: Any = Parser  # its own annotations forbid its defaults
    return make(
        coords=scipp.array(dims=["time", "particle", "dimension"], values=fractional),
        latt=scipp.array(
            dims=["time", "row", "column"], values=lattice.copy(), unit="angstrom"
        ),
        time_step=series.frame_ps * scipp.Unit("ps"),
        step_skip=scipp.scalar(1),
        specie_indices=scipp.arange("particle", series.n_mobile),
        drift_indices=scipp.array(dims=["particle"], values=np.zeros(0, int)),
    )


def site_path(series: Series, replica: int) -> Float[np.ndarray, "frames mobile 3"]:
    """Site-projected displacement of each cation since the start, Å, axes as in `cell`."""
    n_frames = int(series.frames["frames"][replica])
    path = np.zeros((n_frames, series.n_mobile, 3))
    events = series.events
    mine = events.replica[events.move_event] == replica
    frame = events.frame[events.move_event[mine]]
    np.add.at(path, (frame, events.move_cation[mine]), events.move_step[mine])
    matrix = np.array(series.supercell.matrix, float)
    to_cell = np.linalg.solve(matrix, series.cell[replica])
    return np.cumsum(path, axis=0) @ to_cell


def _check_replica(series: Series, replica: int) -> None:
    if not 0 <= replica < len(series.temperature):
        raise ValueError(
            f"replica={replica}; this run has {len(series.temperature)}, numbered from 0."
        )


def _box(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "6"]:
    """Lengths, Å, and angles, degrees, as MDAnalysis wants them."""
    length = np.linalg.norm(cell, axis=1)
    pairs = ((1, 2), (0, 2), (0, 1))
    cosine = np.array([cell[i] @ cell[j] / (length[i] * length[j]) for i, j in pairs])
    return np.concatenate([length, np.degrees(np.arccos(cosine))])
