"""What a native file holds of a MACE model."""

from jaxdiff.checkpoints.form import Form
from jaxdiff.checkpoints.mace import sound
from jaxdiff.models.mace.architecture import Architecture
from jaxdiff.models.mace.layout import layout
from jaxdiff.models.mace.model import Mace

FORM = Form(Mace, Architecture, layout, sound.fault)
