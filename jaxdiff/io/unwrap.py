"""Continuous positions from wrapped ones, by minimum image between consecutive frames."""

import numpy as np
from jaxtyping import Float

INCREMENT_LIMIT = 0.25
"""Largest allowed increment between frames, in smallest perpendicular heights of the cell.
An atom that truly moved by more than 1 minus this is the least that can go unnoticed."""


class Unwrapper:
    r"""Adds to every atom the lattice vectors it has crossed since the first frame.

    With s the fractional coordinates, $n_k = n_{k-1} - \mathrm{round}(s_k - s_{k-1})$ and
    $r_k = (s_k + n_k)\,h_k$. The image numbers n are whole, so nothing accumulates; in a
    variable cell h the image moves with the lattice (doi:10.1021/acs.jctc.3c00308 compares
    the schemes). Works alike on positions that were continuous already.
    """

    def __init__(self, periodic: tuple[bool, bool, bool]) -> None:
        """Start before the first frame."""
        self._periodic = np.asarray(periodic)
        self._fractional: np.ndarray | None = None
        self._image = np.zeros(3)

    def __call__(
        self,
        position: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        where: str,
    ) -> Float[np.ndarray, "atoms 3"]:
        """Continuous positions, Å, of the next frame; `where` names it in the error."""
        fractional = position @ np.linalg.inv(cell)
        if self._fractional is not None:
            step = fractional - self._fractional
            crossed = np.rint(step) * self._periodic
            self._check((step - crossed) @ cell, cell, where)
            self._image = self._image - crossed
        self._fractional = fractional
        return position + self._image @ cell

    def _check(self, increment: np.ndarray, cell: np.ndarray, where: str) -> None:
        squared = np.einsum("ax,ax->a", increment, increment)
        atom = int(squared.argmax())
        moved = float(np.sqrt(squared[atom]))
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        height = float(heights[self._periodic].min(initial=np.inf))
        if moved > INCREMENT_LIMIT * height:
            raise ValueError(
                f"{where}: atom {atom} moved {moved:.2f} Å since the frame before, more "
                f"than {INCREMENT_LIMIT:g} of the smallest height of the cell "
                f"({height:.2f} Å), so crossings of the boundary cannot be told from "
                "motion. Write unwrapped coordinates (xu yu zu) or image flags (ix iy iz), "
                "or write frames more often; if the positions are unwrapped already, say "
                "unwrapped=True."
            )


def image_difference(
    position: Float[np.ndarray, "atoms 3"],
    reference: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    periodic: tuple[bool, bool, bool],
) -> Float[np.ndarray, "atoms 3"]:
    """Difference of positions, Å, less whole lattice vectors."""
    step = (position - reference) @ np.linalg.inv(cell)
    return (step - np.rint(step) * np.asarray(periodic)) @ cell
