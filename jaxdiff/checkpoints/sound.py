"""What the arrays of a model file must be to be believed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.io.shown import shown


def require_floats(arrays: Mapping[str, Any], file: str) -> None:
    """An error for an array that is not of float16, float32 or float64, or not finite."""
    for name, array in arrays.items():
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise CheckpointError(
                f"{file}: {shown(name)} has the type {array.dtype}; a model file holds "
                "float16, float32 or float64. Convert it before saving."
            )
        if not np.all(np.isfinite(array)):
            raise CheckpointError(
                f"{file} has {shown(name)} with numbers that are not finite. The file is "
                "damaged: fetch or write it again."
            )
