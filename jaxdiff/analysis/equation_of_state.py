"""The static reference: lattice constant and bulk modulus of a crystal at rest, at 0 K.

Without zero-point motion, so that it is what averages over classical motion tend to as the
temperature goes to zero.
"""

import dataclasses

import numpy as np
from ase.eos import EquationOfState
from jaxtyping import Float

from jaxdiff import units


@dataclasses.dataclass(frozen=True)
class StaticLattice:
    """Minimum of a fit of energy against volume.

    - `lattice_constant`: Å. `bulk_modulus`: GPa. `energy`: eV, of a conventional cell.
    - `residual`: root of the mean square of the fit, eV; errors of the numbers are due to
      the range of volumes, not to statistics.
    """

    lattice_constant: float
    bulk_modulus: float
    energy: float
    residual: float


def equation_of_state(
    lattice_constant: Float[np.ndarray, " cells"], energy: Float[np.ndarray, " cells"]
) -> StaticLattice:
    """Birch and Murnaghan's equation (doi:10.1103/PhysRev.71.809), fitted by ASE.

    - `lattice_constant`, Å; `energy`, eV, of a cubic conventional cell; five at least,
      with the minimum inside.
    """
    order = np.argsort(lattice_constant)
    constant, energy = lattice_constant[order], energy[order]
    lowest = int(np.argmin(energy))
    if len(constant) < 5 or not 0 < lowest < len(constant) - 1:
        raise ValueError(
            f"{len(constant)} cells with the lowest energy at {constant[lowest]:.4f} Å, of "
            f"{constant[0]:.4f} to {constant[-1]:.4f} Å; give five or more, on both sides "
            "of the minimum."
        )
    fit = EquationOfState(constant**3, energy, eos="birchmurnaghan")
    volume, minimum, modulus = fit.fit(warn=False)  # that the minimum is outside
    residual = fit.func(constant**3, *fit.eos_parameters) - energy
    return StaticLattice(
        lattice_constant=float(volume ** (1 / 3)),
        bulk_modulus=float(modulus / units.GIGAPASCAL),
        energy=float(minimum),
        residual=float(np.sqrt((residual**2).mean())),
    )
