"""The embedded model's collinear jump in 65 atoms, found once."""

import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from filelock import FileLock

from jaxdiff.checkpoints import load_default
from jaxdiff.objectives.barrier import Settings, find_barrier
from jaxdiff.objectives.paths import lithium_path
from jaxdiff.objectives.surface import make_surface
from jaxdiff.potential import cast


def pytest_collection_modifyitems(items):
    """The file that finds the jump comes first of all: no other process waits for it."""
    items.sort(key=lambda item: item.path.name != "test_barrier.py")


@pytest.fixture(scope="package")
def compact():
    """The embedded model in float64, and precision as the command sets it: one program."""
    jax.config.update("jax_default_matmul_precision", "highest")
    return cast(load_default(), jnp.float64)


@pytest.fixture(scope="package")
def collinear(compact, programs):
    """The surface of the cell, and the barrier: one process finds it for all."""
    path = lithium_path("collinear", (2, 2, 2))
    surface = make_surface(compact.architecture, path.system)
    kept = Path(programs).with_name("collinear.pickle")
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            found = find_barrier(compact, surface, path, Settings(n_images=3))
            kept.write_bytes(pickle.dumps(found))
    return surface, pickle.loads(kept.read_bytes())
