"""Raw series to values with uncertainties, on the host in double precision."""

from jaxdiff.analysis.arrhenius import ArrheniusFit, NotIdentifiableError, fit_arrhenius
from jaxdiff.analysis.diffusion import (
    correlation_factor,
    defect_diffusivity,
    tracer_diffusivity,
)
from jaxdiff.analysis.estimate import Estimate
from jaxdiff.analysis.rates import dispersion_index, garwood, hop_rate
from jaxdiff.analysis.series import HopTotals, Series, load_series, pool
from jaxdiff.analysis.study import Study, summarize

__all__ = [
    "ArrheniusFit",
    "Estimate",
    "HopTotals",
    "NotIdentifiableError",
    "Series",
    "Study",
    "correlation_factor",
    "defect_diffusivity",
    "dispersion_index",
    "fit_arrhenius",
    "garwood",
    "hop_rate",
    "load_series",
    "pool",
    "summarize",
    "tracer_diffusivity",
]
