"""Kernels of a program compiled for a GPU, from XLA's text: how many, what they move.

A kernel reads its operands and writes its result, each once: of what it slices or updates
in place, the slice alone. Loops count by their known turns, others once; caches are left
out.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

SIZE = {
    "f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2,
    "s16": 2, "u16": 2, "s8": 1, "u8": 1, "pred": 1,
}  # fmt: skip
SHAPE = re.compile(rf"\b({'|'.join(SIZE)})\[([\d,]*)\]")
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota",
    "opt-barrier", "partition-id", "bitcast-convert",
}  # fmt: skip
SLICES = {"dynamic-slice", "slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line: name, result, operation, names of operands, and what follows them."""

    name: str
    result: str
    op: str
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Of the result."""
        return sum(SIZE[t] * math.prod(dims) for t, dims in shapes(self.result))

    def called(self, attribute: str) -> str | None:
        """The name of a computation that it runs."""
        found = re.search(rf"{attribute}=%?([\w.\-]+)", self.rest)
        return found and found[1]


Program = dict[str, list[Instruction]]


def shapes(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Types and lengths of all arrays in a text."""
    return [
        (t, tuple(map(int, filter(None, d.split(","))))) for t, d in SHAPE.findall(text)
    ]


def parse(text: str) -> tuple[Program, str]:
    """Computations by name, and the name of the one that is run."""
    program: Program = {}
    name = entry = ""
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if head and not line.startswith(" "):
            name = head[2]
            program[name] = []
            entry = name if head[1] else entry
        elif name and (found := _instruction(line.strip())):
            program[name].append(found)
    return program, entry


def _instruction(line: str) -> Instruction | None:
    head = re.match(r"(ROOT )?%?([\w.\-]+) = ", line)
    if not head:
        return None
    rest = line[head.end() :]
    end = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    result, rest = rest[:end], rest[end:].strip()
    begin = rest.index("(")
    end = begin + _closing(rest[begin:])
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[begin:end]))
    return Instruction(
        head[2], result, rest[:begin], operands, rest[end + 1 :], bool(head[1])
    )


def _closing(text: str) -> int:
    """Where the first bracket is closed."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place
    raise ValueError(f"an open bracket: {text[:80]}")


def kernels(text: str) -> Iterator[tuple[Instruction, int, int]]:
    """Each kernel, how often it is launched, and bytes that one launch moves."""
    program, entry = parse(text)
    yield from _kernels(program, entry, 1)


def _kernels(program: Program, name: str, times: int):
    own = {i.name: i for i in program[name]}
    for i in program[name]:
        if i.op == "while":
            turns = re.search(r'known_trip_count":\{"n":"(\d+)"', i.rest)
            many = times * int(turns[1]) if turns else times
            yield from _kernels(program, i.called("body") or "", many)
        elif i.op == "conditional":
            for branch in re.findall(r"%([\w.\-]+)", i.rest.split("metadata")[0]):
                yield from _kernels(program, branch, times)
        elif i.op in ("call", "async-start"):
            yield from _kernels(program, i.called("to_apply|calls") or "", times)
        elif i.op not in FREE and not i.op.endswith("-done"):
            yield i, times, _moved(program, i, own)


def _moved(program: Program, i: Instruction, own: dict[str, Instruction]) -> int:
    body = program.get(i.called("calls") or "", [])
    if body:
        return _read(body) + _written(body)
    read = [own[name].bytes for name in i.operands if name in own]
    if i.op in SLICES:
        read[:1] = [i.bytes]
    if i.op == "dynamic-update-slice":
        return sum(read[1:]) + read[1]
    return sum(read) + i.bytes


def _read(body: list[Instruction]) -> int:
    """What a fusion reads of its parameters."""
    users = collections.defaultdict(list)
    for i in body:
        for name in i.operands:
            users[name].append(i)

    def of(name: str, whole: int) -> int:
        total = 0
        for user in users[name]:
            first = user.operands[0] == name
            if user.op == "bitcast":
                total += of(user.name, whole)
            elif first and user.op in SLICES:
                total += user.bytes
            elif not (first and user.op in ("dynamic-update-slice", "scatter")):
                return whole
        return min(total, whole)

    return sum(of(i.name, i.bytes) for i in body if i.op == "parameter")


def _written(body: list[Instruction]) -> int:
    """What a fusion writes: of an update in place, the update."""
    own = {i.name: i for i in body}
    root = next(i for i in body if i.is_root)
    total = 0
    for i in [own[n] for n in root.operands] if root.op == "tuple" else [root]:
        while i.op == "bitcast":
            i = own[i.operands[0]]
        if i.op == "dynamic-update-slice":
            total += own[i.operands[1]].bytes
        elif i.op == "scatter":
            total += 2 * own[i.operands[-1]].bytes
        else:
            total += i.bytes
    return total
