"""The model's own error of a run's rates, beside what hops tell; into the run's folder."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdiff import checkpoints
from jaxdiff.analysis.crossings import load_ensembles
from jaxdiff.analysis.series import Series, load_series
from jaxdiff.io import durable
from jaxdiff.io.ase_frames import read_atoms
from jaxdiff.io.frames import read_frames
from jaxdiff.io.provenance import sha256
from jaxdiff.models.contract import Model
from jaxdiff.objectives.calibration import fit_calibrated
from jaxdiff.objectives.last_layer import energy_feature
from jaxdiff.objectives.rate_error import rate_error
from jaxdiff.potential import cast
from jaxdiff.report.model_error import FILE
from jaxdiff.runs.folder import FINAL

MOST_FRAMES = 400
"""Of each ensemble at a temperature; more are thinned out."""


def write_model_error(
    folder: Path, train: Sequence[str], valid: Sequence[str]
) -> dict[str, Any]:
    """Errors of ln D and of Ea from the model, and how far they hold; also into `FILE`.

    - `train`: frames with energies that the model was trained on. `valid`: others, of which
      every second makes the posterior, and the rest calibrates it on differences along a
      jump (`objectives.calibration`).

    Raises ValueError where the run kept no crossings, has another model, or frames lack
    energies.
    """
    series = load_series(folder)
    model = _model(series)
    known, others = (read_frames(list(files)) for files in (train, valid))
    number = read_atoms(folder / FINAL)[0].numbers
    moves = int(number[series.is_mobile][0])
    posterior, calibration = fit_calibrated(model, known, others, series.network, moves)
    found = load_ensembles(folder)
    features = []
    for one in found:
        cell = series.cell[series.temperature == one.temperature][0]
        like = ase.Atoms(number, one.reactant[0], cell=cell, pbc=True)
        both = one.transition, one.reactant
        features.append([_features(model, like, position) for position in both])
    first, second = zip(*features, strict=True)
    kelvin = [one.temperature for one in found]
    error = rate_error(posterior, kelvin, first, second)
    record = {
        "temperature_kelvin": kelvin,
        "log_diffusivity_standard_error": [_or_none(x) for x in error.log_rate],
        "log_diffusivity_at_most": error.log_rate_with_noise.tolist(),
        "activation_energy_standard_error_ev": _or_none(error.activation_ev),
        "activation_energy_at_most_ev": _or_none(error.activation_with_noise_ev),
        "crossings": [len(x) for x in first],
        "frames": [len(x) for x in second],
        "calibration": calibration and calibration.record(),
    }
    durable.write_json(folder / FILE, record)
    return record


def _model(series: Series) -> Model:
    """That of the run, which must be the same file still."""
    name = tomllib.loads(series.run_file)["model"]["name_or_path"]
    with checkpoints.locate(name) as file:
        if sha256(file) != json.loads(series.provenance).get("model_sha256"):
            raise ValueError(
                f"{name} is not the model of this run (another SHA-256); put that file in "
                "its place."
            )
        return cast(checkpoints.load(file), jnp.float64)


def _features(
    model: Model, like: ase.Atoms, position: Float[np.ndarray, "frames atoms 3"]
) -> Float[np.ndarray, "kept features"]:
    chosen = np.linspace(0, len(position) - 1, min(len(position), MOST_FRAMES)).astype(int)
    found = []
    for k in chosen.tolist():
        like.positions = position[k]
        found.append(energy_feature(model, like))
    return np.stack(found)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
