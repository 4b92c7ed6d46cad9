"""Training on labelled frames: data, losses, optimiser, strategies, loop, error tables."""

from jaxdiff.finetune.errors import ErrorRow, error_table, predictions
from jaxdiff.finetune.loop import Reports, Trained, train
from jaxdiff.finetune.prepare import Problem, prepare
from jaxdiff.finetune.results import train_to_folder
from jaxdiff.io.frame import Frame
from jaxdiff.io.frames import Keys, read_frames

__all__ = [
    "ErrorRow",
    "Frame",
    "Keys",
    "Problem",
    "Reports",
    "Trained",
    "error_table",
    "predictions",
    "prepare",
    "read_frames",
    "train",
    "train_to_folder",
]
