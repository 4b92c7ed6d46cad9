"""The figures of a training run, from the files in its folder alone."""

import json
from pathlib import Path

import numpy as np

from jaxdiff.report.figures import save
from jaxdiff.report.figures.training import learning, parity_sheet


def write_figures(directory: Path) -> list[Path]:
    """Write learning and parity from metrics.jsonl and predictions.npz; their PNG files.

    PDF, SVG and CSV are beside them.
    """
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    written = []
    if lines:
        records = [json.loads(line) for line in lines]
        written.append(save(learning(records), directory / "learning")[0])
    with np.load(directory / "predictions.npz") as predictions:
        sheet = parity_sheet(dict(predictions))
        written.append(save(sheet, directory / "parity")[0])
    return written
