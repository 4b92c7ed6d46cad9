"""The project's own model file: safetensors, with a JSON header in its metadata."""

import contextlib
import dataclasses
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxdiff.checkpoints import families, sound
from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.io import digest, durable
from jaxdiff.io.shown import shown
from jaxdiff.models.contract import Model

FORMAT_VERSION = 1
UNITS = {"energy": "eV", "length": "angstrom"}
_KEYS = {"format", "format_version", "architecture", "units", "provenance", "seal"}
_MOST_AXES = 8


@dataclasses.dataclass(frozen=True)
class Header:
    """What a native file says about itself.

    - `format_version`: of the file.
    - `family`, `architecture`: of the model.
    - `units`: of its constants.
    - `provenance`: where the model comes from: source file, sha256, licence, …
    """

    format_version: int
    family: families.Family
    architecture: Any
    units: dict[str, str]
    provenance: dict[str, Any]


def save_native(
    path: str | Path, model: Model, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a model, all at once or not at all; every array keeps its type.

    `provenance` is any JSON-able mapping; the version of this library is added to it.
    """
    family = families.of_model(model)
    given, fields = family.describe(model)
    arrays = {name: np.asarray(value, order="C") for name, value in given.items()}
    sound.require_floats(arrays, "the model to be saved")
    version = importlib.metadata.version("jaxdiff")
    metadata = {
        "format": family.format,
        "format_version": str(FORMAT_VERSION),
        "architecture": json.dumps(fields),
        "units": json.dumps(UNITS),
        "provenance": json.dumps({**(provenance or {}), "jaxdiff_version": version}),
        "seal": digest.OPEN,
    }
    durable.write_bytes(path, digest.sealed(safetensors.numpy.save(arrays, metadata)))


def load_native(path: str | Path) -> Model:
    """The model in a native file, as NumPy arrays of the types that were saved."""
    with _open(Path(path)) as file:
        header = _header(file, path)
        arrays = {name: _array(file, name, path) for name in file.keys()}  # noqa: SIM118
    sound.require_floats(arrays, str(path))
    return header.family.assemble(arrays, header.architecture, str(path))


def read_header(path: str | Path) -> Header:
    """What a native file says about itself, without reading its arrays."""
    with _open(Path(path)) as file:
        return _header(file, path)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}.")
    try:
        digest.verify(path)
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except digest.DigestError as error:
        raise CheckpointError(str(error)) from None
    except (safetensors.SafetensorError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}). Fetch or write it again."
        ) from None


def _array(file: Any, name: str, path: str | Path) -> np.ndarray:
    entry = file.get_slice(name)
    kind, shape = entry.get_dtype(), entry.get_shape()
    if kind not in ("F16", "F32", "F64") or len(shape) > _MOST_AXES:
        raise CheckpointError(
            f"{path}: {shown(name)} has the type {kind} and {len(shape)} axes; a model "
            f"file holds float16, float32 or float64 of up to {_MOST_AXES} axes. Write it "
            "again with jaxdiff."
        )
    return file.get_tensor(name)


def _header(file: Any, path: str | Path) -> Header:
    metadata = file.metadata() or {}
    family = families.of_format(metadata.get("format"), str(path))
    version = metadata.get("format_version", "none")
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path} has format version {shown(version, quote='')}, and this jaxdiff reads "
            f"version {FORMAT_VERSION}. Use the jaxdiff that wrote it, or update."
        )
    if unknown := sorted(metadata.keys() - _KEYS):
        raise CheckpointError(
            f"{path} has {shown(unknown[0])} in its header, which this version does not "
            "know. Use the jaxdiff that wrote it, or write it again."
        )
    try:
        architecture = family.architecture(json.loads(metadata["architecture"]))
        units, provenance = (json.loads(metadata[k]) for k in ("units", "provenance"))
        if not isinstance(provenance, dict):
            raise ValueError("its provenance is no table")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has a damaged header ({shown(str(error), quote='')}). Fetch or write "
            "it again."
        ) from None
    if units != UNITS:
        raise CheckpointError(
            f"{path} has the units {shown(str(units), quote='')}; version "
            f"{FORMAT_VERSION} files have {UNITS}. Write it again with jaxdiff."
        )
    return Header(int(version), family, architecture, units, provenance)
