"""What a file says, put into a message: cut, and without what a terminal would obey."""

import json
import unicodedata
from typing import Any

_LONGEST = 100


def shown(text: str, quote: str = "'") -> str:
    """Text of a file as people can read it; control characters are spelt out."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{quote}{visible(cut)}{quote}"


def visible(text: str) -> str:
    """The same without a limit: nothing in it moves a cursor or changes a colour."""
    return "".join(ascii(c)[1:-1] if _acts(c) else c for c in text)


def counted(number: int, noun: str) -> str:
    """1 unit, 2 units."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _acts(character: str) -> bool:
    """Whether it is a control, a direction of writing, half a character, or a line end."""
    category = unicodedata.category(character)
    return character != "\t" and (category[0] == "C" or category in ("Zl", "Zp"))


def value(given: Any) -> str:
    """A value of a run file as TOML writes it, or its beginning."""
    if isinstance(given, list | tuple | dict) and len(given) > _LONGEST:
        given = list(given)[:_LONGEST]
    try:
        return shown(json.dumps(given, default=str, ensure_ascii=False), quote="")
    except (RecursionError, ValueError):
        return "…"
