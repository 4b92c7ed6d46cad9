"""Training on labelled frames: data, losses, optimiser, loop, error tables."""

from jaxdiff.finetune.data import Frame, Keys, read_frames
from jaxdiff.finetune.errors import ErrorRow, error_table
from jaxdiff.finetune.loop import train

__all__ = ["ErrorRow", "Frame", "Keys", "error_table", "read_frames", "train"]
