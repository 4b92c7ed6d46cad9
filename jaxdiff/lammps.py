"""Our evaluator inside a LAMMPS script: forces, energy and virial by `fix external`.

LAMMPS keeps the integrator, its thermostats and its output; on one rank, in `units metal`,
in a cell that is periodic in all directions:

    lmp = lammps.lammps()
    lmp.file("in.lif")  # with atoms, pair_style zero 8.0, pair_coeff * *
    drive(lmp, "lif-compact", ["Li", "F"])
    lmp.command("run 1000")
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.data
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import checkpoints, neighbors
from jaxdiff.calculator import require_damping
from jaxdiff.models.contract import Model
from jaxdiff.models.dispersion import CUTOFF
from jaxdiff.models.dispersion import dispersion as d3
from jaxdiff.potential import evaluator, with_terms

_COMPRESSION = 0.02  # by which the edges of a cell may shrink before it is looked at anew


def drive(
    lmp: Any,
    model: Model | str | Path,
    elements: Sequence[str],
    *,
    head: str | None = None,
    fix: str = "jaxdiff",
    precision: str = "float32",
    tolerance: float | None = 1e-6,
    skin: float = 0.5,
    dispersion: bool = False,
    damping: str = "bj",
    dispersion_xc: str = "pbe",
    dispersion_cutoff: float = CUTOFF,
) -> None:
    """Let a model make the forces of a LAMMPS instance that has its atoms.

    - `lmp`: a `lammps.lammps` object.
    - `elements`: the element of each of its atom types, in their order.
    - `head`: of a model of several.
    - `fix`: the name of the fix, with `energy yes virial yes`.
    - `tolerance`: see `potential.evaluator`; `skin`: of the neighbour lists, Å.
    - `dispersion`, `damping`, `dispersion_xc`, `dispersion_cutoff`: as the calculator's.

    Raises ValueError for several ranks, other units, open boundaries, types without an
    element, or ids with gaps. Needs `jax.config.update("jax_enable_x64", True)`.
    """
    _require_drivable(lmp, elements)
    if dispersion:
        require_damping(damping, dispersion_xc)
    if not isinstance(model, Model):
        model = checkpoints.load(model)
    added = {"functional": dispersion_xc, "cutoff": dispersion_cutoff, "dtype": precision}
    driver = _Driver(
        *(lmp, model.of_head(head), elements, fix, precision, tolerance, skin),
        added if dispersion else None,
    )
    lmp.command(f"fix {fix} all external pf/callback 1 1")
    lmp.command(f"fix_modify {fix} energy yes virial yes")
    lmp.set_fix_external_callback(fix, driver.set_forces, lmp)


def _require_drivable(lmp: Any, elements: Sequence[str]) -> None:
    """An error where LAMMPS is not in a state that forces from here are right for."""
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError(
            "positions need 64 bits: call jax.config.update('jax_enable_x64', True) before "
            "anything else."
        )
    if lmp.extract_setting("world_size") != 1:
        raise ValueError(
            f"LAMMPS runs on {lmp.extract_setting('world_size')} ranks; the forces come "
            "from one process: run it on one rank, and give that process more cores."
        )
    if (units := lmp.extract_global("units")) != "metal":
        raise ValueError(f"LAMMPS has units {units!r}; use 'units metal' (eV, Å).")
    if not all(lmp.extract_box()[5]):
        raise ValueError("LAMMPS has an open boundary; use 'boundary p p p'.")
    if lmp.extract_setting("ntypes") != len(elements):
        raise ValueError(
            f"LAMMPS has {lmp.extract_setting('ntypes')} atom types and {len(elements)} "
            f"elements are given ({', '.join(elements)}); give one for each type."
        )
    if unknown := [e for e in elements if e not in ase.data.atomic_numbers]:
        raise ValueError(
            f"{unknown[0]!r} is no chemical element; give symbols such as 'Li', one for "
            "each atom type."
        )
    n_atoms = lmp.get_natoms()
    if sorted(lmp.numpy.extract_atom("id")[:n_atoms]) != list(range(1, n_atoms + 1)):
        raise ValueError(
            f"the ids of LAMMPS's {n_atoms} atoms are not 1 to {n_atoms}; use "
            "'reset_atoms id' first."
        )


class _Driver:
    """What lasts from step to step: the program, unwrapped positions, neighbour lists.

    `added`: keywords of `models.dispersion.dispersion`, or None.
    """

    def __init__(self, lmp, model, elements, fix, precision, tolerance, skin, added):
        self.fix, self.skin, self.added = fix, skin, added
        order = np.argsort(lmp.numpy.extract_atom("id")[: lmp.get_natoms()])
        kind = lmp.numpy.extract_atom("type")[order] - 1
        number = np.array([ase.data.atomic_numbers[e] for e in elements])[kind]
        ready = evaluator(model, number, tolerance=tolerance, dtype=precision)
        self.params, function, self.cutoff = ready[:3]
        self.position = lmp.numpy.extract_atom("x")[order].copy()
        self.number, self.terms = number, ()
        self.lists = self.allocated(_cell(lmp))

        def step(params, position, cell, lists, terms):
            given = (position[None], cell[None], lists)
            lists = neighbors.refresh(*given, self.cutoff, self.skin)
            own = jax.tree.map(lambda x: x[0], lists)
            fits = neighbors.is_covered(cell, own) & ~own.overflow
            fits = fits & ~neighbors.is_crowded(position, cell, own, self.cutoff)
            found = function(params, position, cell, own)
            found = with_terms(found, terms, position, cell)
            # a cell that has shrunk has more images in reach: then these are no numbers
            return found, lists, fits & jnp.isfinite(found[0])

        self.step = jax.jit(step)

    def allocated(self, cell):
        """Lists of the present positions, made on the host, with a leading axis of one.

        Dispersion is made for this cell, too.
        """
        if self.added is not None:
            self.terms = (d3(self.number, cell, compression=_COMPRESSION, **self.added),)
        now = neighbors.neighbor_rows(self.position, cell, self.cutoff)[0].shape[1]
        close = math.ceil(1.25 * now)  # hot atoms crowd, and more places compile anew
        return neighbors.allocate(
            self.position[None], cell, self.cutoff, self.skin, close=close
        )

    def set_forces(self, lmp, timestep, n_local, tag, x, f) -> None:
        """Called by LAMMPS at every step: fill `f`, and tell energy and virial.

        What is raised here LAMMPS prints and goes on, so forces that could not be computed
        are not numbers, and the run ends at its next look at the clock.
        """
        f[:n_local] = np.nan
        try:
            self.fill(lmp, tag[:n_local] - 1, x[:n_local], f[:n_local])
        except BaseException:
            lmp.force_timeout()
            raise

    def fill(self, lmp, row, x, f) -> None:
        """Forces of the atoms that LAMMPS has in these rows of ours."""
        cell = _cell(lmp)
        moved = x - self.position[row]
        moved -= np.round(moved @ np.linalg.inv(cell)) @ cell
        self.position[row] += moved
        position = jnp.asarray(self.position)
        given = self.params, position, cell
        result, lists, fits = self.step(*given, self.lists, self.terms)
        if not bool(fits):
            self.lists = self.allocated(cell)
            result, lists, _ = self.step(*given, self.lists, self.terms)
        self.lists = lists
        energy, force, strain = jax.device_get(result)
        f[:] = force[row]
        lmp.fix_external_set_energy_global(self.fix, float(energy))
        virial = -strain[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        lmp.fix_external_set_virial_global(self.fix, virial.tolist())


def _cell(lmp) -> np.ndarray:
    """Lattice vectors as rows, Å."""
    low, high, xy, yz, xz = lmp.extract_box()[:5]
    lx, ly, lz = np.subtract(high, low)
    return np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
