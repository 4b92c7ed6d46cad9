"""Every file that holds weights is read or written here."""

import contextlib
import importlib.resources
from collections.abc import Iterable, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

import jax
import numpy as np

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.families import foreign, of_model
from jaxdiff.checkpoints.mace.from_torch import load_mace_torch
from jaxdiff.checkpoints.mace.to_torch import require_like, save_mace_torch
from jaxdiff.checkpoints.native import Header, load_native, read_header, save_native
from jaxdiff.checkpoints.registry import FOUNDATIONS, cached, fetch
from jaxdiff.io import digest
from jaxdiff.models.contract import Model
from jaxdiff.published import DEFAULT

__all__ = [
    "DEFAULT",
    "FOUNDATIONS",
    "CheckpointError",
    "Header",
    "cached",
    "count_parameters",
    "fetch",
    "is_native",
    "load",
    "load_default",
    "load_mace_torch",
    "load_native",
    "locate",
    "read_header",
    "require_like",
    "restrict",
    "restrict_heads",
    "save",
    "save_mace_torch",
    "save_native",
]


def load(path_or_name: str | Path) -> Model:
    """A model from a native file, one of the program of its family, or a name.

    Names are `DEFAULT` and those of `FOUNDATIONS`, which must have been fetched.
    """
    with locate(path_or_name) as path:
        kind = foreign(path)
        if kind is not None:
            return kind.read(path)
        model = load_native(path)
        if str(path) != str(_packaged()):  # which the package vouches for
            digest.verify_or_tell(path)
        return model


def save(path: str | Path, model: Model) -> str:
    """Write a model for the program that its family comes from; its precision.

    Raises `CheckpointError` where the family comes from none, or that has no such model.
    """
    export = of_model(model).export
    if export is None:
        raise CheckpointError(
            f"no other program has a {type(model).__name__}; `jaxdiff model convert` "
            "writes the native format."
        )
    return export(Path(path), model)


def load_default() -> Model:
    """The model that is part of the package: LiF, `DEFAULT`."""
    return load(DEFAULT)


def restrict(model: Model, atomic_numbers: Iterable[int]) -> Model:
    """The same model for fewer species; energies and forces of these do not change."""
    return model.restrict(atomic_numbers)


def restrict_heads(model: Model, names: Iterable[str]) -> Model:
    """The same model with fewer heads; energies and forces of these do not change."""
    return model.restrict_heads(names)


def count_parameters(model: Model) -> int:
    """How many numbers the weights hold, all species included."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(model.weights))


def is_native(path: Path) -> bool:
    """Whether a file is the library's own rather than one of another program."""
    return foreign(path) is None


def _packaged() -> Traversable:
    return importlib.resources.files("jaxdiff") / "data" / f"{DEFAULT}.safetensors"


@contextlib.contextmanager
def locate(path_or_name: str | Path) -> Iterator[Path]:
    """The file behind a path or a name, for the time of the `with` block."""
    name = str(path_or_name)
    path = Path(path_or_name)
    if path.is_file():
        yield path
    elif name == DEFAULT:
        resource = _packaged()
        if not resource.is_file():
            raise CheckpointError(
                f"this installation of jaxdiff lacks its model {DEFAULT}. "
                "Install it again, or give the path of a model file."
            )
        with importlib.resources.as_file(resource) as packaged:
            yield packaged
    elif name in FOUNDATIONS:
        found = cached(name)
        if found is None:
            raise CheckpointError(
                f"{name} has not been fetched yet. Run `jaxdiff model fetch {name}` first."
            )
        yield found
    else:
        raise FileNotFoundError(
            f"{name} is neither a file nor the name of a model; the names are "
            f"{', '.join((DEFAULT, *FOUNDATIONS))}."
        )
