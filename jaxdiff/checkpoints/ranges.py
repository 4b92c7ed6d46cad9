"""Ranges that the numbers of an architecture must be in to be believed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxdiff.io.shown import shown

_MOST_LAYERS = 16
Rule = tuple[Callable[[Any], bool], str]
"""Whether a value will do, and what is allowed, in words."""


def whole(low: int, high: int) -> Rule:
    """A whole number in a range."""
    return (
        lambda n: type(n) is int and low <= n <= high,
        f"a whole number from {low} to {high}",
    )


def number(high: float) -> Rule:
    """A number above 0."""
    return (
        lambda x: isinstance(x, int | float) and x is not True and 0 < x <= high,
        f"a number above 0 and up to {high:g}",
    )


def several(rule: Rule, what: str, least: int = 1, most: int = _MOST_LAYERS) -> Rule:
    """A tuple of entries that each follow a rule."""

    def holds(values: Any) -> bool:
        return (
            isinstance(values, tuple)
            and least <= len(values) <= most
            and all(map(rule[0], values))
        )

    return holds, what


def distinct(rule: Rule) -> Rule:
    """The same, each entry once."""
    return lambda values: rule[0](values) and len(set(values)) == len(values), rule[1]


DEGREE = whole(0, 8)
SWITCH: Rule = (lambda value: type(value) is bool, "true or false")
NAME: Rule = (lambda name: isinstance(name, str) and 0 < len(name) <= 1000, "a name")


def fault(architecture: Any, rules: Mapping[str, Rule], layered: Sequence[str]) -> str:
    """What no model has, and what is allowed in its place; empty where all is well.

    - `layered`: fields with an entry for each layer.
    """
    for name, (holds, allowed) in rules.items():
        value = getattr(architecture, name)
        if not holds(value):
            return f"its {name} is {shown(_short(value), quote='')}, not {allowed}"
    layers = {n: len(getattr(architecture, n)) for n in layered}
    if len(set(layers.values())) == 1:
        return ""
    given = ", ".join(f"{name} for {n}" for name, n in layers.items())
    return f"its numbers of layers differ: {given}"


def _short(value: Any, depth: int = 2) -> str:
    """A value in words that cost little: of a container, its first entries."""
    if isinstance(value, tuple) and depth:
        more = ", …" if len(value) > 4 else ""
        return f"({', '.join(_short(entry, depth - 1) for entry in value[:4])}{more})"
    if isinstance(value, str):
        return value[:50]
    plain = value is None or isinstance(value, bool | int | float)
    return str(value) if plain else f"a {type(value).__name__}"
