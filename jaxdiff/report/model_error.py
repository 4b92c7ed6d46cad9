"""The error that comes from the model, beside that of the hops, where a run has one."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.analysis.study import Study
from jaxdiff.report.document import Block, Heading, Text

FILE = "model_error.json"
"""Written by `jaxdiff report --error-train ... --error-valid ...`."""


def read_model_error(folder: Path) -> dict[str, Any] | None:
    """What was written before, or None."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if isinstance(record, dict) and "calibration" in record:
            return record
    return None


def model_error(record: dict[str, Any] | None, study: Study) -> list[Block]:
    """Both errors beside each other, and whether the model's own can be believed."""
    if record is None:
        return []
    factors = ", ".join(
        f"{_known(own, bound, np.exp, '.2f')} at {kelvin:.0f} K"
        for kelvin, own, bound in zip(
            record["temperature_kelvin"],
            record["log_diffusivity_standard_error"],
            record["log_diffusivity_at_most"],
            strict=True,
        )
    )
    text = f"One standard error of the model is a factor in D of {factors}"
    own, fit = record["activation_energy_standard_error_ev"], study.activation.headline
    bound = record["activation_energy_at_most_ev"]
    if bound is not None:
        text += f", and {_known(own, bound, float, '.3f')} eV in Ea"
        if fit is not None:
            hops = fit.activation_energy.standard_error
            text += f"; that of the hops is {hops:.3f} eV"
            if own is not None:
                text += f", both together {np.hypot(own, hops):.3f} eV"
    if "at most" in text:
        text += ". *At most* stands where the noise of few frames hides the error"
    text += (
        f". It is that of the model's last layer at {sum(record['crossings'])} crossings "
        f"and {sum(record['frames'])} other frames. "
        f"{_calibration(record['calibration'])}"
    )
    return [Heading("The model's own error"), Text(text)]


def _known(
    own: float | None, bound: float, shown: Callable[[float], float], digits: str
) -> str:
    """An error, or what it is at most."""
    if own is None:
        return f"at most {shown(bound):{digits}}"
    return f"{shown(own):{digits}}"


def _calibration(found: dict[str, Any] | None) -> str:
    if found is None:
        return (
            "**Not to be trusted:** there are not enough held-out frames with one "
            "interstitial to say how far it holds."
        )
    return (
        f"{'' if found['trusted'] else '**Not to be trusted.** '}It is calibrated on "
        f"{found['pairs']} differences of energy along the jump between held-out frames, "
        f"up to {found['furthest']:.2f} of the way (the surface between two sites is at "
        f"0.5): of these {found['within_one']:.0%} are within one and "
        f"{found['within_two']:.0%} within two of the errors as they were, "
        f"{found['scaled_within_one']:.0%} and {found['scaled_within_two']:.0%} once these "
        f"are multiplied by {found['factor']:.2f}, as here (68 % and 95 % if it is right; "
        "each half of the differences with the factor of the other)."
    )
