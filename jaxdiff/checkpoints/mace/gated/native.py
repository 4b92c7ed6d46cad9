"""What a native file holds of a MACE of gated blocks."""

from jaxdiff.checkpoints.form import Form
from jaxdiff.checkpoints.mace.gated import sound
from jaxdiff.models.mace.gated.architecture import Architecture
from jaxdiff.models.mace.gated.layout import layout
from jaxdiff.models.mace.gated.model import GatedMace

FORM = Form(GatedMace, Architecture, layout, sound.fault)
