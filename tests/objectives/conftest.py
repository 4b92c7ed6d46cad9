"""The embedded model's collinear jump in 65 atoms, kept in a file."""

import jax
import jax.numpy as jnp
import kept_jump
import pytest

from jaxdiff.checkpoints import load_default
from jaxdiff.objectives.paths import lithium_path
from jaxdiff.objectives.surface import make_surface
from jaxdiff.potential import cast


@pytest.fixture(scope="package")
def compact():
    """The embedded model in float64, and precision as the command sets it: one program."""
    jax.config.update("jax_default_matmul_precision", "highest")
    return cast(load_default(), jnp.float64)


@pytest.fixture(scope="package")
def collinear(compact):
    """The surface of the cell, and the barrier as it was found once."""
    surface = make_surface(compact, lithium_path("collinear", (2, 2, 2)).system)
    return surface, kept_jump.load()
