"""A trajectory of any crystal as displacements relative to its framework."""

import dataclasses

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.neighborlist import primitive_neighbor_list
from jaxtyping import Bool, Float, Int

from jaxdiff.analysis.transport import LEAST_FRAMES, Paths
from jaxdiff.io.trajectory import Trajectory

_CHUNK_FRAMES = 256
_BYTES = 2**28  # of the displacements of one trajectory
_REACH = 3.0, 12.0  # Å, first and last, in which neighbours are looked for


@dataclasses.dataclass(frozen=True)
class Read:
    """A trajectory as displacements; every `stride`-th of its frames was kept.

    - `variation`: of the volume, the largest less the smallest over the mean.
    - `start`: places in the first frame, fractions of the mean `cell`, rows, Å, from the
      mean of the framework.
    """

    paths: Paths
    start: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    n_frames: int
    stride: int
    variation: float

    def fraction(self, *, mobile: bool) -> Float[np.ndarray, "frames _atoms 3"]:
        """Places of the mobile atoms, or of the framework, relative to the framework."""
        mine = self.paths.is_mobile == mobile
        moved = self.paths.displacement[:, mine] @ np.linalg.inv(self.cell)
        return self.start[mine] + moved

    @property
    def host(self) -> Float[np.ndarray, "host 3"]:
        """Mean places of framework atoms, fractions."""
        return self.fraction(mobile=False).mean(axis=0)

    @property
    def host_number(self) -> Int[np.ndarray, " host"]:
        """Their atomic numbers."""
        return self.paths.atomic_number[~self.paths.is_mobile]


def mobile_atoms(trajectory: Trajectory, element: str) -> Bool[np.ndarray, " atoms"]:
    """Which atoms are of the element; others must be there, as a framework.

    Raises `ValueError` where that is no element, or all or none of the atoms are of it.
    """
    if element not in atomic_numbers:
        raise ValueError(f"--mobile {element} is no element; give a symbol such as Li.")
    is_mobile = trajectory.atomic_number == atomic_numbers[element]
    symbols = ", ".join(chemical_symbols[z] for z in np.unique(trajectory.atomic_number))
    if not is_mobile.any():
        raise ValueError(
            f"{trajectory.path} has no {element}; it has {symbols}. Give the element that "
            "moves by --mobile."
        )
    if is_mobile.all():
        raise ValueError(
            f"{trajectory.path} has {element} alone, and no framework against which it "
            "moves; give a trajectory with all atoms of the crystal."
        )
    return is_mobile


def read(trajectory: Trajectory, element: str, kelvin: float) -> Read:
    """All frames, or every second, fourth and so on where they are too many for memory.

    A displacement is one of fractional coordinates, less the mean of the framework atoms,
    times the mean cell: a cell that breathes moves no atom.
    """
    is_mobile = mobile_atoms(trajectory, element)
    if trajectory.frame_ps is None:
        raise ValueError(
            f"{trajectory.path} has one frame; displacements need a trajectory of "
            f"{LEAST_FRAMES} frames at least."
        )
    if not all(trajectory.periodic):
        raise ValueError(
            f"{trajectory.path} is not periodic in all directions; displacements are "
            "measured in crystals."
        )
    most = max(_BYTES // (12 * len(is_mobile)), 2 * LEAST_FRAMES)
    kept: list[np.ndarray] = []
    stride, count, spacing, cells = 1, 0, 0.0, []
    start = np.zeros(0)
    for chunk in trajectory.chunks(_CHUNK_FRAMES):
        for position, cell in zip(chunk.position, chunk.cell, strict=True):
            place = position @ np.linalg.inv(cell)
            place = place - place[~is_mobile].mean(axis=0)
            if count == 0:
                start, spacing = place, _spacing(position[is_mobile], cell)
            if count % stride == 0:
                kept.append((place - start).astype("f4"))
            if len(kept) > most:
                kept, stride = kept[::2], 2 * stride
            cells.append(cell)
            count += 1
    if len(kept) < LEAST_FRAMES:
        raise ValueError(
            f"{trajectory.path} has {len(kept)} frames; a mean squared displacement over "
            f"time needs {LEAST_FRAMES} at least."
        )
    volume = np.abs(np.linalg.det(np.array(cells)))
    mean_cell = np.mean(cells, axis=0)
    displacement = np.stack(kept) @ mean_cell.astype("f4")
    paths = Paths(
        displacement=displacement,
        atomic_number=trajectory.atomic_number,
        is_mobile=is_mobile,
        frame_ps=trajectory.frame_ps * stride,
        temperature=kelvin,
        volume=float(volume.mean()),
        spacing=spacing,
    )
    variation = float(np.ptp(volume) / volume.mean())
    return Read(paths, start, mean_cell, count, stride, variation)


def _spacing(
    position: Float[np.ndarray, "mobile 3"], cell: Float[np.ndarray, "3 3"]
) -> float:
    """Median distance, Å, of a mobile atom to the nearest other, or to its own image."""
    reach = _REACH[0]
    while True:
        first, apart = primitive_neighbor_list(
            "id", [True] * 3, cell, position, reach, self_interaction=False
        )
        nearest = np.full(len(position), np.inf)
        np.minimum.at(nearest, first, apart)
        if np.isfinite(np.median(nearest)) or reach >= _REACH[1]:
            return float(min(np.median(nearest), _REACH[1]))
        reach *= 2
