"""Whether the arrays of a file are those that its architecture needs."""

from collections.abc import Mapping
from typing import Any

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.models.contract import Shape


def check(arrays: Mapping[str, Any], expected: Mapping[str, Shape], file: str) -> None:
    """An error unless the arrays are the expected ones, by dotted name and shape."""
    for name in sorted(expected.keys() - arrays.keys()):
        raise CheckpointError(
            f"{file} lacks the array {name!r} that its architecture needs. "
            "The file is incomplete: fetch or write it again."
        )
    for name in sorted(arrays.keys() - expected.keys()):
        raise CheckpointError(
            f"{file} has the array {name!r}, which its architecture does not know. "
            "Write the file again with the version of jaxdiff that made it."
        )
    for name, shape in expected.items():
        given = tuple(arrays[name].shape)
        agrees = len(given) == len(shape) and all(
            want in (None, length) for want, length in zip(shape, given, strict=True)
        )
        if not agrees:
            raise CheckpointError(
                f"{file} has {name!r} of shape {given}, and its architecture needs "
                f"{tuple('any' if n is None else n for n in shape)}. "
                "The file is damaged or of another kind of model."
            )
