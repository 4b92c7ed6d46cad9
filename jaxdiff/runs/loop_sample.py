"""Frames of the model's own dynamics, with where they come from."""

from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import numpy as np

from jaxdiff.analysis.traces import diverged_ps, n_kept, open_series
from jaxdiff.io.ase_frames import read_atoms
from jaxdiff.io.parts import SERIES
from jaxdiff.io.runfile import RunFile
from jaxdiff.runs.folder import FINAL
from jaxdiff.runs.simulation import Progress, simulate


def check(run: RunFile, name: str) -> None:
    """Refuse dynamics that would keep no frames."""
    if run.barostat is not None:
        raise ValueError(
            f"[sample.{name}]: its run file has [barostat]; jaxdiff simulate keeps the "
            "cell, so remove it, and give several runs with other lattice constants."
        )
    if run.positions_every_ps is None:
        raise ValueError(
            f"[sample.{name}]: its run file keeps no positions; add "
            "output.positions_every_ps, such as 0.1."
        )


def sample(
    run: RunFile,
    name: str,
    progress: Progress,
    say: Callable[[str], None],
) -> tuple[list[ase.Atoms], tuple[str, ...]]:
    """Run the dynamics, or find them complete; their frames, and why replicas diverged.

    Frames have `config_type` and `sample_source`; those of a replica that diverged end
    before it did. With `hops.crossings_per_chunk` the frames at crossings are among them.
    """
    directory = Path(run.output.directory)
    diverged = simulate(run, directory, progress, say)
    frames = read_kept(directory, name)
    if not frames:
        why = f" ({diverged[0]})" if diverged else ""
        raise ValueError(
            f"[sample.{name}]: no position was kept in {directory}{why}; start from a "
            "better model or from lower temperatures, or keep positions more often."
        )
    return frames, diverged


def read_kept(directory: Path, name: str) -> list[ase.Atoms]:
    """All frames that a complete run kept, in the order of replicas and of time."""
    number = read_atoms(directory / FINAL)[0].numbers
    path = directory / SERIES
    with open_series(path) as file:
        kelvin = np.asarray(file["temperature_kelvin"], float)
        cell = np.asarray(file["cell_angstrom"], float)
        cell = np.broadcast_to(cell, (len(kelvin), 3, 3))
        time = np.asarray(file["positions/time_ps"], float)
        position = np.asarray(file["positions/position"], float)
        kept = n_kept(time, diverged_ps(path, file))
        crossing = _crossings(file)
    found = []

    def add(replica: int, where: np.ndarray, what: str) -> None:
        atoms = ase.Atoms(number, where, cell=cell[replica], pbc=True)
        source = f"{kelvin[replica]:g} K, replica {replica}, {what}"
        atoms.info |= {"config_type": name, "sample_source": source}
        found.append(atoms)

    for r in range(len(kelvin)):
        for k in range(int(kept[r])):
            add(r, position[r, k], f"{time[k]:g} ps")
        for where in crossing.get(r, []):
            add(r, where, "at a crossing")
    return found


def _crossings(file) -> dict[int, list[np.ndarray]]:
    """Positions [N, 3], Å, by replica; none where they were not asked for."""
    found: dict[int, list[np.ndarray]] = {}
    if "crossings/position" not in file:
        return found
    position = np.asarray(file["crossings/position"], float)
    for replica, where in zip(np.asarray(file["crossings/replica"]), position, strict=True):
        found.setdefault(int(replica), []).append(where)
    return found
