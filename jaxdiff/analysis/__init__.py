"""Raw series to values with uncertainties, on the host in double precision."""

from jaxdiff.analysis.arrhenius import ArrheniusFit, NotIdentifiableError, fit_arrhenius
from jaxdiff.analysis.diffusion import (
    defect_diffusivity,
    tracer_diffusivity,
)
from jaxdiff.analysis.equation_of_state import StaticLattice, equation_of_state
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.lattice import LatticeStudy, study_lattice
from jaxdiff.analysis.rates import dispersion_index, garwood, hop_rate
from jaxdiff.analysis.series import HopTotals, Series, load_series, pool
from jaxdiff.analysis.study import Study, summarize

__all__ = [
    "ArrheniusFit",
    "Estimate",
    "HopTotals",
    "LatticeStudy",
    "NotIdentifiableError",
    "Series",
    "StaticLattice",
    "Study",
    "defect_diffusivity",
    "dispersion_index",
    "equation_of_state",
    "fit_arrhenius",
    "garwood",
    "hop_rate",
    "load_series",
    "pool",
    "study_lattice",
    "summarize",
    "tracer_diffusivity",
]
