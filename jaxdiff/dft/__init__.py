"""Density functional theory by other programs: input, command, result."""

from jaxdiff.dft.codes import code
from jaxdiff.dft.contract import Code, CutOff, Failed, Label, Settings

__all__ = ["Code", "CutOff", "Failed", "Label", "Settings", "code"]
