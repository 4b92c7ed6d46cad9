"""The figures of a training run, from the files in its folder alone."""

import json
from pathlib import Path

import numpy as np

from jaxdiff.io import durable
from jaxdiff.report.figures.training import draw_learning, draw_parity


def write_figures(directory: Path) -> list[Path]:
    """Write learning.png and parity.png from metrics.jsonl and predictions.npz."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    written = []
    if lines:
        learning = directory / "learning.png"
        durable.write_bytes(learning, draw_learning([json.loads(x) for x in lines]))
        written.append(learning)
    with np.load(directory / "predictions.npz") as predictions:
        parity = directory / "parity.png"
        durable.write_bytes(parity, draw_parity(dict(predictions)))
    return [*written, parity]
