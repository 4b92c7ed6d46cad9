"""Run files of every command: TOML to checked sections, and sentences for what is wrong."""

import copy
import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic

from jaxdiff.io.shown import shown, value

UNITS = {
    "fs": "fs", "ps": "ps", "ns": "ns", "per_ps": "1/ps", "kelvin": "K", "angstrom": "Å",
    "ev": "eV", "ev_per_angstrom": "eV/Å", "cm2_per_s": "cm²/s", "strides": "strides",
    "frames": "frames", "gpa": "GPa", "per_gpa": "1/GPa", "minutes": "min",
}  # fmt: skip
"""Unit of a key by its suffix."""

_MOST_BYTES = 1 << 24  # of a run file, which may name many structures
_MOST_FAULTS = 20  # that are told at once


class RunFileError(ValueError):
    """A run file that cannot be run; one line per fault."""


class Section(pydantic.BaseModel):
    """What every table of a run file is: frozen, and nothing in it unknown."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @pydantic.field_validator("*")
    @classmethod
    def _can_be_meant(cls, value: Any) -> Any:
        for text in value if isinstance(value, list | tuple) else (value,):
            require_name(text)
        return value


def require_name(given: Any) -> None:
    """An error for text that no file system takes as a name, so that no key can mean it."""
    if not isinstance(given, str | Path):
        return
    text = str(given)
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(
            "the name holds the character NUL or one that is not UTF-8, which cannot be "
            "kept in a run file; rename it"
        )
    if len(text) > 4000 or any(len(part.encode()) > 255 for part in text.split("/")):
        raise ValueError("the name is longer than a file's can be (255 bytes); shorten it")


File = TypeVar("File", bound=Section)


def read_table(
    path: str | Path, overrides: list[str] | tuple[str, ...] = ()
) -> dict[str, Any]:
    """The table of a TOML file with its overrides, not yet checked."""
    path = Path(path)
    if not path.is_file():
        raise RunFileError(f"{path} does not exist; give the path of a run file (TOML).")
    return overridden(parse_toml(path), overrides)


def parse_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file; a sentence where it is none."""
    if path.stat().st_size > _MOST_BYTES:
        raise RunFileError(
            f"{path} has {path.stat().st_size} bytes, more than any run file "
            f"({_MOST_BYTES}); give a run file (TOML)."
        )
    content = path.read_bytes()
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RunFileError(
            f"{path} is not UTF-8 text in line {line}; save it as UTF-8."
        ) from None
    except RecursionError:
        raise RunFileError(f"{path} is not a run file: its lists are too deep.") from None
    except ValueError as error:  # also a number of thousands of digits
        reason = shown(str(error), quote="")
        raise RunFileError(f"{path} is not valid TOML: {reason}.") from None


def checked(kind: type[File], table: dict[str, Any]) -> File:
    """Check a table against a kind of run file; all faults are told at once."""
    try:
        return kind.model_validate(table)
    except pydantic.ValidationError as error:
        faults = [fault for fault in error.errors() if not _is_echo(fault)]
        lines = [_sentence(fault, kind) for fault in faults[:_MOST_FAULTS]]
        if len(faults) > _MOST_FAULTS:
            lines.append(f"And {len(faults) - _MOST_FAULTS} more.")
        raise RunFileError("\n".join(lines)) from None
    except (OverflowError, RecursionError) as error:
        raise RunFileError(
            f"the run file has a value out of all bounds ({error})."
        ) from None


def table_to_toml(table: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Sections of plain values and lists of them; what is None is left out."""
    lines = []
    for name, section in table.items():
        if section is None:
            continue
        known = {key: given for key, given in section.items() if given is not None}
        pairs = [f"{key} = {_as_toml(given)}" for key, given in known.items()]
        lines += [f"[{name}]", *pairs, ""]
    return "\n".join(lines)


def _as_toml(given: Any) -> str:
    """As JSON, which writes strings, numbers, booleans and lists alike but for DEL."""
    return json.dumps(given, ensure_ascii=False).replace("\x7f", "\\u007f")


def table_of(text: str) -> dict[str, Any]:
    """What the run file kept in a series says, unchecked.

    `jaxdiff analyze` once wrote its options as JSON; they come as its section `analyze`.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {"analyze": json.loads(text)}


def overridden(
    table: dict[str, Any], overrides: list[str] | tuple[str, ...]
) -> dict[str, Any]:
    """The table of a TOML file with changes of the form section.key=value."""
    table = copy.deepcopy(table)
    for override in overrides:
        name, equals, text = override.partition("=")
        *sections, key = name.strip().split(".")
        if not (equals and sections and key and all(sections)):
            raise RunFileError(
                f"--set {shown(override, quote='')} is not of the form section.key=value, "
                "such as --set production.duration_ps=10."
            )
        place = table
        for number, section in enumerate(sections, 1):
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                where = ".".join(sections[:number])
                raise RunFileError(
                    f"--set {shown(override, quote='')}: {where} is a value, not a section."
                )
        place[key] = _value(text.strip())
    return table


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):
        return text  # a bare word is a string


def _is_echo(fault: Any) -> bool:
    """A list that is too short only without its items that have faults of their own."""
    of_list = fault["type"] == "too_short"
    return of_list and len(fault["input"]) >= fault["ctx"]["min_length"]


def _sentence(fault: Any, kind: type[Section]) -> str:
    *within, last = fault["loc"] or ("",)
    # of a union the alternatives stand in the path
    location = [part for part in within if "[" not in str(part)]
    if fault["type"] == "extra_forbidden" or "[" not in str(last):
        location.append(last)
    where = _dotted(location)
    if fault["type"] == "extra_forbidden":
        return _unknown(location, kind)
    if fault["type"] == "missing":
        return f"{where} is missing; {_purpose(where, kind)}."
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "tuple_type":  # Python's word, not TOML's
        message = "Input should be a list in square brackets"
    if fault["type"] == "too_short":
        message = f"Give at least {fault['ctx']['min_length']}"
    message = message[0].lower() + message[1:] if where else message
    if not where:
        return f"{message}."
    if isinstance(fault["input"], dict):  # a section as a whole
        return f"{where}: {message}."
    return f"{where} = {value(fault['input'])}: {message}."


def _dotted(location: Any) -> str:
    """The name of a key from its path."""
    return shown(".".join(str(part) for part in location), quote="")


def _unknown(location: Any, kind: type[Section]) -> str:
    for part in location[:-1]:
        field = kind.model_fields.get(str(part))
        kind = (_section(field.annotation) if field else None) or kind
    known = list(kind.model_fields)
    key, where = str(location[-1])[:100], _dotted(location)
    same = [name for name in known if _stem(name) == _stem(key) and name != key]
    if same:
        return f"{where} is not known: the unit is part of the key, write {same[0]}."
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}."
    return f"{where} is not known; {hint}"


def _section(annotation: Any) -> type[Section] | None:
    """The section X in X, X | None, dict[str, X] or tuple[X, ...]."""
    kinds = (annotation, *get_args(annotation))
    return next((k for k in kinds if hasattr(k, "model_fields")), None)


def unit_of(key: str) -> str:
    """The suffix of a key that is a unit; empty where it has none."""
    return max((s for s in UNITS if key.endswith(f"_{s}")), key=len, default="")


def _stem(key: str) -> str:
    return key.removesuffix(f"_{unit_of(key)}")


def _purpose(where: str, kind: type[Section]) -> str:
    if where in ("ensemble.seed", "seed"):
        return "give a whole number, so that the run can be repeated"
    field = kind.model_fields.get(where)
    is_section = field is not None and _section(field.annotation) is not None
    return "add the section to the run file" if is_section else "it has no default"
