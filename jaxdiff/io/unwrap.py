"""Continuous positions from wrapped ones, by minimum image between consecutive frames."""

import numpy as np
from jaxtyping import Bool, Float

INCREMENT_LIMIT = 0.4
"""Largest allowed increment between frames along each lattice direction, in perpendicular
heights of the cell. Motion by 1 minus this is the least that can go unnoticed."""

_WHOLE = 0.25
"""A step that is this near to a lattice vector, in fractions of the cell, and not near 0,
is a change of image rather than motion; it must be the rule among long steps."""


class Unwrapper:
    r"""Adds to every atom the lattice vectors it has crossed since the first frame.

    With s the fractional coordinates, $n_k = n_{k-1} - \mathrm{round}(s_k - s_{k-1})$ and
    $r_k = (s_k + n_k)\,h_k$. The image numbers n are whole, so nothing accumulates; in a
    variable cell h the image moves with the lattice (doi:10.1021/acs.jctc.3c00308 compares
    the schemes). Works alike on positions that were continuous already.

    With `exact`, positions are continuous already, and are left alone but where they jump
    by whole lattice vectors, as after a restart from wrapped positions. `stated`: it is the
    user who says so, and is told where the file contradicts.
    """

    def __init__(
        self,
        periodic: tuple[bool, bool, bool],
        *,
        exact: bool = False,
        stated: bool = False,
    ) -> None:
        """Start before the first frame."""
        self._periodic = np.asarray(periodic)
        self._exact, self._stated = exact, stated
        self._fractional: np.ndarray | None = None
        self._image = np.zeros(3)
        self.began_again = False
        """Whether continuous positions began again from other images at the last frame."""

    def __call__(
        self,
        position: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        where: str,
    ) -> Float[np.ndarray, "atoms 3"]:
        """Continuous positions, Å, of the next frame; `where` names it in the error."""
        fractional = position @ np.linalg.inv(cell)
        self.began_again = False
        if self._fractional is not None:
            step = fractional - self._fractional
            if self._stated or not self._exact:
                _check_free(step, self._periodic, where)
            crossed = np.rint(step) * self._periodic
            if not self._exact:
                self._check(step - crossed, cell, where)
                self._image = self._image - crossed
            elif _starts_again(step, crossed):
                self._refuse_stated(crossed, where)
                self._check(step - crossed, cell, where)
                self._image = self._image - crossed
                self.began_again = True
        self._fractional = fractional
        return position + self._image @ cell

    def _check(self, step: np.ndarray, cell: np.ndarray, where: str) -> None:
        """Fractional steps less whole numbers, against the limit."""
        share = abs(step) * self._periodic
        if share.max(initial=0) <= INCREMENT_LIMIT:
            return
        atom, axis = np.unravel_index(share.argmax(), share.shape)
        height = 1 / np.linalg.norm(np.linalg.inv(cell)[:, axis])
        n_far = int((share > INCREMENT_LIMIT).any(axis=1).sum())
        moved = np.linalg.norm(step[atom] @ cell)
        raise ValueError(
            f"{where}: atom {atom} moved {moved:.2f} Å since the frame before, along "
            f"{'abc'[axis]} more than {INCREMENT_LIMIT:g} of the height of the cell "
            f"({height:.2f} Å), as did {n_far} of {len(step)} atoms in some direction: "
            "crossings of the boundary cannot be told from motion, or atoms change their "
            "order. Write unwrapped coordinates (xu yu zu) or image flags (ix iy iz), or "
            "frames more often, with ids; if the positions are unwrapped already, say "
            "--unwrapped."
        )

    def _refuse_stated(self, crossed: Float[np.ndarray, "atoms 3"], where: str) -> None:
        if self._stated:
            n_atoms = int(crossed.any(axis=1).sum())
            raise ValueError(
                f"{where}: {n_atoms} atoms jump by a lattice vector since the frame "
                "before, so the positions are wrapped; leave --unwrapped out."
            )


def _starts_again(
    step: Float[np.ndarray, "atoms 3"], crossed: Float[np.ndarray, "atoms 3"]
) -> bool:
    """Whether atoms jump by whole lattice vectors, and not because all move far."""
    jumped = crossed.any(axis=1)
    if not jumped.any():
        return False
    near = (abs(step - crossed) < _WHOLE).all(axis=1)
    return int((jumped & near).sum()) >= max(1, int((~near).sum()))


def _check_free(
    step: Float[np.ndarray, "atoms 3"], periodic: Bool[np.ndarray, " 3"], where: str
) -> None:
    """No atom may jump by a whole lattice vector along a direction without images."""
    image = np.rint(step)
    jumped = (image != 0) & (abs(step - image) < _WHOLE) & ~periodic
    if jumped.any():
        axes = ", ".join("abc"[k] for k in np.flatnonzero(jumped.any(axis=0)))
        raise ValueError(
            f"{where}: {jumped.any(axis=1).sum()} atoms jump by a lattice vector along "
            f"{axes} since the frame before, but the file says that this direction is not "
            'periodic; correct its boundary (pbc="T T T", pp pp pp), or write unwrapped '
            "positions."
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
