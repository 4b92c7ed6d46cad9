"""Figures: functions that draw on axes of matplotlib and return them.

Without axes each makes a figure of one column of a journal (3.37 in); `save` writes it as
PNG, PDF and SVG with its numbers as CSV. No global state, no window.
"""

from jaxdiff.report.figures.activation import arrhenius, joint_region
from jaxdiff.report.figures.band import barriers
from jaxdiff.report.figures.comparison import compared_arrhenius, energy_differences
from jaxdiff.report.figures.counts import convergence, dispersion
from jaxdiff.report.figures.files import save
from jaxdiff.report.figures.hops import classes, hops
from jaxdiff.report.figures.lattice import (
    bulk_modulus,
    lattice_constant,
    lattice_residual,
)
from jaxdiff.report.figures.motion import (
    displacement_exponent,
    displacements,
    frame_displacements,
    survival,
    tracer_displacements,
)
from jaxdiff.report.figures.style import sheet
from jaxdiff.report.figures.thermo import (
    conserved_energy,
    kinetic_temperature,
    potential_energy,
)
from jaxdiff.report.figures.training import (
    parity,
    parity_error,
    training_error,
    training_loss,
)
from jaxdiff.report.figures.transport import (
    charge_displacements,
    ion_displacements,
    ion_exponent,
    transport_arrhenius,
)

__all__ = [
    "arrhenius",
    "barriers",
    "bulk_modulus",
    "charge_displacements",
    "classes",
    "compared_arrhenius",
    "conserved_energy",
    "convergence",
    "dispersion",
    "displacement_exponent",
    "displacements",
    "energy_differences",
    "frame_displacements",
    "hops",
    "ion_displacements",
    "ion_exponent",
    "joint_region",
    "kinetic_temperature",
    "lattice_constant",
    "lattice_residual",
    "parity",
    "parity_error",
    "potential_energy",
    "save",
    "sheet",
    "survival",
    "tracer_displacements",
    "training_error",
    "training_loss",
    "transport_arrhenius",
]
