"""MACE (doi:10.48550/arXiv.2206.07697): one family of models."""

from jaxdiff.models.mace.architecture import Architecture
from jaxdiff.models.mace.model import Mace

__all__ = ["Architecture", "Mace"]
