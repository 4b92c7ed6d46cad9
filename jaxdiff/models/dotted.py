"""Dotted names of the arrays in nested dictionaries."""

from collections.abc import Mapping
from typing import Any


def flatten(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Nested dictionaries to one dictionary with dotted names."""
    flat = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        flat |= flatten(value, name) if isinstance(value, Mapping) else {name: value}
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`: dotted names to nested dictionaries."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree
