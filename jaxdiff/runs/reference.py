"""Every key of every run file: as JSON schema for programs, as tables for people."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

from jaxdiff.checkpoints.families import FAMILIES
from jaxdiff.io.barrierfile import BarrierFile
from jaxdiff.io.config import UNITS, Section, unit_of
from jaxdiff.io.labelfile import LabelFile
from jaxdiff.io.loopfile import LoopFile
from jaxdiff.io.runfile import RunFile
from jaxdiff.io.trainfile import ScratchSection, TrainFile

RUN_FILES: dict[str, type[Section]] = {
    "simulate": RunFile,
    "finetune": TrainFile,
    "barrier": BarrierFile,
    "label": LabelFile,
    "loop": LoopFile,
}
"""What a command reads."""

READERS = {**RUN_FILES, "lattice": RunFile, "campaign": RunFile}
"""Every command with a run file; these two read that of `jaxdiff simulate`."""

_HEAD = """# Keys of the run files

Written by `jaxdiff schema --keys`; do not edit. The same as JSON schema, for editors that
check while you type: `jaxdiff schema simulate`. A key without a default must be given.
"""


@dataclass(frozen=True)
class Key:
    """A key of a run file; `name` is dotted, `default` and `example` are in TOML."""

    name: str
    unit: str
    default: str
    meaning: str
    example: str


def schema(command: str) -> dict[str, Any]:
    """JSON schema of the run file of a command."""
    return READERS[command].model_json_schema()


def keys(kind: type[Section], within: str = "") -> Iterator[Key]:
    """Those of a kind of run file, section by section."""
    for name, field in kind.model_fields.items():
        place = f"{within}{name}"
        if (found := _section(field.annotation)) is None:
            yield _key(place, name, field)
        else:
            inner, many = found
            yield from keys(inner, f"{place}.NAME." if many else f"{place}.")


def tables() -> str:
    """The keys of all run files in Markdown."""
    parts = [_HEAD]
    for command, kind in RUN_FILES.items():
        parts += [f"## `jaxdiff {command}`\n", _table(keys(kind))]
    for family, found in scratch_keys().items():
        parts += [f"## `[scratch]` of the family {family}\n", _table(found)]
    return "\n".join(parts)


def scratch_keys() -> dict[str, list[Key]]:
    """Keys of [scratch] beside those of every family, by family."""
    common = ScratchSection.model_fields
    return {
        made.family: [
            key
            for key in keys(made.section, "scratch.")
            if key.name.split(".")[1] not in common
        ]
        for made in (family.scratch for family in FAMILIES)
        if made is not None
    }


def _table(found: Iterable[Key]) -> str:
    rows = [_row("key", "unit", "default", "meaning", "example"), _row(*["---"] * 5)]
    for key in found:
        default = key.default and f"`{key.default}`"
        rows.append(
            _row(f"`{key.name}`", key.unit, default, key.meaning, f"`{key.example}`")
        )
    return "\n".join(rows) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _section(annotation: Any) -> tuple[type[Section], bool] | None:
    """The section of X, X | None, dict[str, X], tuple[X, ...]; whether it has a name."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    for part in get_args(annotation):
        if (found := _section(part)) is not None:
            return found[0], getattr(annotation, "__origin__", None) is dict
    return None


def _key(place: str, name: str, field: FieldInfo) -> Key:
    if field.is_required() or field.get_default(call_default_factory=True) is None:
        default, shown = "", None
    else:
        shown = field.get_default(call_default_factory=True)
        default = toml(shown)
    examples = field.examples or ([] if shown is None else [shown])
    return Key(
        place,
        UNITS.get(unit_of(name), ""),
        default,
        " ".join((field.description or "").split()),
        toml(examples[0]) if examples else "",
    )


def toml(value: Any) -> str:
    """A value as a run file has it."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{key} = {toml(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False, default=str)
