"""The embedded model's collinear jump in 65 atoms, as the search found it.

Write it again after a change of the search or of the model, in some minutes:
python tests/objectives/kept_jump.py
"""

from pathlib import Path

import jax
import numpy as np

from jaxdiff.objectives.band import Band
from jaxdiff.objectives.barrier import Barrier, Settings, find_barrier
from jaxdiff.objectives.paths import lithium_path
from jaxdiff.objectives.relax import Relaxed
from jaxdiff.objectives.saddle import Modes

FILE = Path(__file__).parents[1] / "data/collinear_jump.npz"
PARTS = {"band": Band, "start": Relaxed, "end": Relaxed, "saddle": Relaxed, "modes": Modes}


def search(model, surface) -> Barrier:
    """What is kept, found anew."""
    path = lithium_path("collinear", (2, 2, 2))
    return find_barrier(model, surface, path, Settings(n_images=3))


def save(found: Barrier) -> None:
    """Every array by part and name."""
    arrays = {
        f"{part}.{name}": np.asarray(value)
        for part in PARTS
        for name, value in vars(getattr(found, part)).items()
    }
    np.savez_compressed(FILE, **arrays)


def load() -> Barrier:
    """As the search returned it."""
    with np.load(FILE) as arrays:
        fields = {name: arrays[name] for name in arrays.files}
    parts = {}
    for part, kind in PARTS.items():
        given = {n.split(".")[1]: v for n, v in fields.items() if n.startswith(f"{part}.")}
        is_host = kind is Modes
        parts[part] = kind(**(given if is_host else jax.tree.map(jax.numpy.asarray, given)))
    return Barrier(**parts)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    from jaxdiff.checkpoints import load_default
    from jaxdiff.objectives.surface import make_surface
    from jaxdiff.potential import cast

    embedded = cast(load_default(), "float64")
    system = lithium_path("collinear", (2, 2, 2)).system
    save(search(embedded, make_surface(embedded, system)))
