"""Figures of a report: no global state, Agg, colours that survive colour blindness."""

from jaxdiff.report.figures.activation import draw_arrhenius
from jaxdiff.report.figures.comparison import draw_comparison
from jaxdiff.report.figures.counts import draw_convergence, draw_dispersion
from jaxdiff.report.figures.hops import draw_classes, draw_hops
from jaxdiff.report.figures.lattice import draw_lattice
from jaxdiff.report.figures.motion import draw_displacements, draw_survival
from jaxdiff.report.figures.thermo import draw_thermo

__all__ = [
    "draw_arrhenius",
    "draw_classes",
    "draw_comparison",
    "draw_convergence",
    "draw_dispersion",
    "draw_displacements",
    "draw_hops",
    "draw_lattice",
    "draw_survival",
    "draw_thermo",
]
