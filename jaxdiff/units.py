"""Units: eV, Å, u, K inside; conversion factors for the way in and the way out.

The unit of time follows from the other three: Å·sqrt(u/eV) = 10.1805 fs, the same as
ASE's. Values are CODATA 2018, as LAMMPS's metal units and ASE use them to all digits
that matter here (doi:10.1103/RevModPhys.93.025010).
"""

KB = 8.617333262e-5
"""Boltzmann constant, eV/K."""

_ELEMENTARY_CHARGE = 1.602176634e-19  # C
_ATOMIC_MASS = 1.66053906660e-27  # kg

FEMTOSECOND = 1e-5 / (_ATOMIC_MASS / _ELEMENTARY_CHARGE) ** 0.5
"""One femtosecond in internal time units, Å·sqrt(u/eV)."""

PICOSECOND = 1e3 * FEMTOSECOND
"""One picosecond in internal time units."""

GIGAPASCAL = 1e9 * 1e-30 / _ELEMENTARY_CHARGE
"""One gigapascal in eV/Å^3."""

CM2_PER_S = 1e-4
"""One Å^2/ps in cm^2/s: diffusivities are reported in cm^2/s."""

BOHR = 0.529177210903
"""One bohr in Å."""

HARTREE = 27.211386245988
"""One hartree in eV."""
