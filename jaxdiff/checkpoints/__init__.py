"""Every file that holds weights is read or written here."""

import contextlib
import importlib.resources
from collections.abc import Iterator
from pathlib import Path

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.mace_torch import load_mace_torch
from jaxdiff.checkpoints.native import Header, load_native, read_header, save_native
from jaxdiff.checkpoints.registry import FOUNDATIONS, cached, fetch
from jaxdiff.checkpoints.restrict import count_parameters, restrict, restrict_heads
from jaxdiff.checkpoints.to_mace_torch import require_like, save_mace_torch
from jaxdiff.models.architecture import Mace

__all__ = [
    "DEFAULT",
    "FOUNDATIONS",
    "CheckpointError",
    "Header",
    "cached",
    "count_parameters",
    "fetch",
    "is_mace_torch",
    "load",
    "load_default",
    "load_mace_torch",
    "load_native",
    "locate",
    "read_header",
    "require_like",
    "restrict",
    "restrict_heads",
    "save_mace_torch",
    "save_native",
]

DEFAULT = "lif-compact"
"""Name of the model that is part of the package."""


def load(path_or_name: str | Path) -> Mace:
    """A model from a native file, an upstream `.model` file, or a name.

    Names are `DEFAULT` and those of `FOUNDATIONS`, which must have been fetched.
    """
    with locate(path_or_name) as path:
        return load_mace_torch(path) if is_mace_torch(path) else load_native(path)


def load_default() -> Mace:
    """The model that is part of the package: LiF, `DEFAULT`."""
    return load(DEFAULT)


def is_mace_torch(path: Path) -> bool:
    """Whether a file is PyTorch's rather than native, by its first bytes or its name."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] in (b"PK", b"\x80\x02") or path.suffix in (".model", ".pt", ".pth")


@contextlib.contextmanager
def locate(path_or_name: str | Path) -> Iterator[Path]:
    """The file behind a path or a name, for the time of the `with` block."""
    name = str(path_or_name)
    path = Path(path_or_name)
    if path.is_file():
        yield path
    elif name == DEFAULT:
        resource = importlib.resources.files("jaxdiff") / "data" / f"{DEFAULT}.safetensors"
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
