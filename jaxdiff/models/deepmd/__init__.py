"""DeepPot-SE (doi:10.48550/arXiv.1805.09003), the smooth edition of DeePMD's descriptor."""

from jaxdiff.models.deepmd.architecture import Architecture, Layer
from jaxdiff.models.deepmd.model import DeepPot

__all__ = ["Architecture", "DeepPot", "Layer"]
