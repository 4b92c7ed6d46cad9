"""Float64 for every test, and where the data that do not ship with the project lie."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

SHARED = Path(os.environ.get("JAXDIFF_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the LiF data set and the old checkpoints."""
    if not SHARED.is_dir():
        pytest.skip(f"no data at {SHARED}; set JAXDIFF_SHARED to the folder that has it")
    return SHARED
