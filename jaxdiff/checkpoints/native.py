"""The project's own model file: safetensors, with a JSON header in its metadata."""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxdiff.checkpoints import layout
from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.models.architecture import Architecture, Mace

FORMAT = "jaxdiff-mace"
FORMAT_VERSION = 1
UNITS = {"energy": "eV", "length": "angstrom"}


@dataclasses.dataclass(frozen=True)
class Header:
    """What a native file says about itself.

    - `format_version`: of the file.
    - `architecture`: of the model.
    - `units`: of its constants.
    - `provenance`: where the model comes from: source file, sha256, licence, …
    """

    format_version: int
    architecture: Architecture
    units: dict[str, str]
    provenance: dict[str, Any]


def save_native(
    path: str | Path, model: Mace, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a model, all at once or not at all; every array keeps its type.

    `provenance` is any JSON-able mapping; the version of this library is added to it.
    """
    path = Path(path)
    flat = layout.flatten(model.weights, "weights")
    flat |= layout.flatten(model.constants, "constants")
    arrays = {name: np.asarray(value, order="C") for name, value in flat.items()}
    layout.check(arrays, model.architecture, "the model to be saved")
    for name, value in arrays.items():
        if value.dtype not in (np.float16, np.float32, np.float64):
            raise CheckpointError(
                f"the array {name!r} has the type {value.dtype}; a model file holds "
                "float16, float32 or float64. Convert it before saving."
            )
    version = importlib.metadata.version("jaxdiff")
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "architecture": json.dumps(_fields(model.architecture)),
        "units": json.dumps(UNITS),
        "provenance": json.dumps({**(provenance or {}), "jaxdiff_version": version}),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(safetensors.numpy.save(arrays, metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_native(path: str | Path) -> Mace:
    """The model in a native file, as NumPy arrays of the types that were saved."""
    with _open(Path(path)) as file:
        header = _header(file, path)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    layout.check(arrays, header.architecture, str(path))
    tree = layout.nest(arrays)
    return Mace(tree["weights"], tree["constants"], header.architecture)


def read_header(path: str | Path) -> Header:
    """What a native file says about itself, without reading its arrays."""
    with _open(Path(path)) as file:
        return _header(file, path)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}). Fetch or write it again."
        ) from None


def _header(file: Any, path: str | Path) -> Header:
    metadata = file.metadata() or {}
    kind = metadata.get("format")
    if kind != FORMAT:
        raise CheckpointError(
            f"{path} is a safetensors file of format {kind!r}, not {FORMAT!r}. "
            "Give a file written by `jaxdiff model convert` or by training."
        )
    version = metadata.get("format_version", "none")
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path} has format version {version}, and this jaxdiff reads version "
            f"{FORMAT_VERSION}. Use the jaxdiff that wrote it, or update."
        )
    try:
        architecture = _architecture(json.loads(metadata["architecture"]))
        units, provenance = (json.loads(metadata[k]) for k in ("units", "provenance"))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has a damaged header ({error}). Fetch or write it again."
        ) from None
    if units != UNITS:
        raise CheckpointError(
            f"{path} has the units {units}; version {FORMAT_VERSION} files have {UNITS}. "
            "Write it again with jaxdiff."
        )
    return Header(int(version), architecture, units, provenance)


def _fields(architecture: Architecture) -> dict[str, Any]:
    return {f.name: getattr(architecture, f.name) for f in dataclasses.fields(Architecture)}


def _architecture(fields: dict[str, Any]) -> Architecture:
    """The inverse of `_fields` after JSON, where tuples have become lists."""
    expected = {f.name for f in dataclasses.fields(Architecture)}
    if fields.keys() != expected:
        wrong = ", ".join(sorted(fields.keys() ^ expected))
        raise ValueError(f"unknown or missing fields of the architecture: {wrong}")
    return Architecture(**{name: _tuples(value) for name, value in fields.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
