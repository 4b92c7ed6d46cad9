"""The figures of a training run, from the files in its folder alone."""

import json
from pathlib import Path

import numpy as np

from jaxdiff.report.figures.training import draw_learning, draw_parity


def write_figures(directory: Path) -> list[Path]:
    """Write learning.png and parity.png from metrics.jsonl and predictions.npz."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    written = []
    if lines:
        learning = directory / "learning.png"
        learning.write_bytes(draw_learning([json.loads(line) for line in lines]))
        written.append(learning)
    with np.load(directory / "predictions.npz") as predictions:
        parity = directory / "parity.png"
        parity.write_bytes(draw_parity(dict(predictions)))
    return [*written, parity]
