"""MACE with gated blocks, as MACE-MH-1 and MACE-OMOL-0 have them: a family of models."""

from jaxdiff.models.mace.gated.architecture import Architecture
from jaxdiff.models.mace.gated.model import GatedMace

__all__ = ["Architecture", "GatedMace"]
