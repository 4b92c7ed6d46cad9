"""What is said of a training at its end."""

import math

from jaxdiff.finetune.errors import ErrorRow
from jaxdiff.finetune.verdict import verdict


def row(name, energy, forces, stress=math.nan):
    return ErrorRow(name, 10, energy, energy, forces, forces, 1.0, stress)


def test_what_is_worse_is_said_first():
    before = [row("train", 9, 90), row("valid", 5, 30, 2), row("other", 4, 20)]
    after = [row("train", 1, 10), row("valid", 2, 40, 2.01), row("other", 6, 9)]
    assert verdict(before, after, {"valid", "other"}) == [
        "Worse: forces of valid 30.00 → 40.00 meV/Å, energy of other 4.00 → 6.00 meV/atom.",
        "Better: energy of valid 5.00 → 2.00 meV/atom, forces of other 20.00 → 9.00 meV/Å.",
        "Unchanged: stress of valid 2.00 → 2.01 meV/Å^3.",
    ]


def test_training_frames_and_missing_labels_say_nothing():
    rows = [row("train", 9, 90), row("valid", math.nan, 30)]
    assert verdict(rows, rows, {"valid"}) == [
        "Unchanged: forces of valid 30.00 → 30.00 meV/Å."
    ]
