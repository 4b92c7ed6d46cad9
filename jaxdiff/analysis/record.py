"""Results, which are frozen dataclasses, as JSON types and back."""

import dataclasses
import math
import types
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np


def plain(value: Any) -> Any:
    """JSON types only; NaN and infinities become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def parse(kind: Any, value: Any, name: str) -> Any:
    """What `plain` made of a `kind`: a dataclass of numbers, texts, tuples and its like.

    A null where a number belongs is NaN. `name`: of the entry, for messages.
    """
    options = get_args(kind)
    if get_origin(kind) is types.UnionType:
        if value is None and types.NoneType in options:
            return None
        return parse(options[0], value, name)
    if dataclasses.is_dataclass(kind):
        return _parse_fields(kind, value, name)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{name} is {value!r}, not a list.")
        each = [options[0]] * len(value) if options[-1] is Ellipsis else options
        if len(each) != len(value):
            raise ValueError(f"{name} has {len(value)} entries, not {len(each)}.")
        return tuple(parse(k, v, name) for k, v in zip(each, value, strict=True))
    return _parse_leaf(kind, value, name)


def _parse_fields(kind: Any, value: Any, name: str) -> Any:
    hints = get_type_hints(kind)
    given = set(value) if isinstance(value, dict) else set()
    if given != set(hints):
        raise ValueError(
            f"{name} lacks {sorted(set(hints) - given)} and has "
            f"{sorted(given - set(hints))} too much."
        )
    return kind(**{k: parse(hints[k], v, f"{name}.{k}") for k, v in value.items()})


def _parse_leaf(kind: Any, value: Any, name: str) -> Any:
    if kind is float and value is None:
        return math.nan
    allowed = (float, int) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} is {value!r}; it must be a {kind.__name__}.")
    return value
