"""A pickle played back on a stack, within bounds; nothing in it is imported or called.

The opcodes are read by `pickletools` of the standard library. What they push is Python's
own data, a `Global` for the name of a class or function, and an `Inert` record for
everything made of one. What a `Global` is called for is decided by the caller of `replay`.
"""

import collections
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

MOST_BYTES = 1 << 24
"""Of one pickle; that of the largest published model has 0.65 MB."""
MOST_WORK = 500_000
"""Opcodes and elements copied; a published model has 10,000."""
MOST_NESTED = 500
"""Containers within each other; a published model has about 30."""
_MOST_KEY_PARTS = 16  # of a tuple that is a key
_MOST_TUPLE_KEYS = 10_000  # those of tuples can be made to collide
_MARK = object()
_SCALAR = (str, bytes, bool, int, float, type(None))

Build = Callable[..., Any]


class Global:
    """The name of a class or function in the pickle, such as `torch.nn.functional.silu`."""

    def __init__(self, name: str):
        self.name = name


class Inert:
    """An object whose class is never imported: `name` of the class, and the pickled data.

    - `arguments`: what the class or function would have been called with.
    - `state`: what would have become its attributes.
    """

    def __init__(self, name: str = "", arguments: tuple = ()):
        self.name, self.arguments = name, arguments
        self.state: dict = {}

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, parameter, buffer or submodule by name."""
        if attribute in self.state:
            return self.state[attribute]
        for table in ("_parameters", "_buffers", "_modules"):
            members = self.state.get(table)
            if isinstance(members, dict) and attribute in members:
                return members[attribute]
        return default


def replay(
    description: bytes,
    resolve: Callable[[str], Build | None],
    persistent: Callable[[Any], Any],
) -> Any:
    """The root object of a pickle.

    - `resolve`: what makes an object of a name, or None for an `Inert` record; it raises
      for a name that is not allowed.
    - `persistent`: what stands behind a reference to something outside.

    Raises `pickle.UnpicklingError`, or `ValueError` and its like from `pickletools`.
    """
    if len(description) > MOST_BYTES:
        raise pickle.UnpicklingError(f"{len(description)} bytes, more than {MOST_BYTES}")
    root = _Stack(resolve, persistent).run(description)
    _require_shallow(root)
    return root


class _Stack:
    """The machine: a stack with marks, a memo, and how much work has been done."""

    def __init__(self, resolve, persistent):
        self._resolve, self._persistent = resolve, persistent
        self._stack: list = []
        self._memo: dict[int, Any] = {}
        self._builders: dict[str, Build | None] = {}
        self._work = self._tuple_keys = 0

    def run(self, description: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(description):
            self.spend(1)
            if opcode.name == "STOP":
                return self._pop()
            step = _STEPS.get(opcode.name)
            if step is None:
                raise pickle.UnpicklingError(f"the opcode {opcode.name}")
            step(self, argument)
        raise pickle.UnpicklingError("no end")

    def spend(self, amount: int) -> None:
        """Count work; an error beyond what a model can need."""
        self._work += amount
        if self._work > MOST_WORK:
            raise pickle.UnpicklingError(f"more than {MOST_WORK} objects")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise pickle.UnpicklingError("an object is missing")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _to_mark(self) -> list:
        values = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                return values[::-1]
            values.append(value)
        raise pickle.UnpicklingError("a mark is missing")

    def number(self, argument: int | bool) -> None:
        """A number of the pickle, of 64 bits: none that is made of text is longer."""
        if argument.bit_length() > 64:
            raise pickle.UnpicklingError(f"a number of {argument.bit_length()} bits")
        self._push(argument)

    def mark(self, _) -> None:
        self._push(_MARK)

    def pop(self, _) -> None:
        if not self._stack:
            raise pickle.UnpicklingError("an object is missing")
        self._stack.pop()

    def duplicate(self, _) -> None:
        self._push(self._top())

    def put(self, index: int | None) -> None:
        place = len(self._memo) if index is None else index
        if place > MOST_BYTES:
            raise pickle.UnpicklingError(f"the memo index {place}")
        self._memo[place] = self._top()

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise pickle.UnpicklingError("a memo entry is missing")
        self._push(self._memo[index])

    def tuple_of(self, length: int) -> None:
        self._push(tuple(self._pop() for _ in range(length))[::-1])

    def append(self, values: list) -> None:
        target = self._top()
        if type(target) is list:
            target.extend(values)
        elif type(target) is set:
            target.update(map(self._key, values))
        else:
            raise pickle.UnpicklingError(f"members for a {type(target).__name__}")

    def set_items(self, values: list) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(values) % 2:
            raise pickle.UnpicklingError(f"entries for a {type(target).__name__}")
        target.update(zip(map(self._key, values[::2]), values[1::2], strict=True))

    def _key(self, value: Any) -> Any:
        """A key or member: a scalar, a record, or a short tuple of these."""
        if type(value) is tuple and len(value) <= _MOST_KEY_PARTS:
            self._tuple_keys += 1
            plain = all(isinstance(part, _SCALAR) for part in value)
            if plain and self._tuple_keys <= _MOST_TUPLE_KEYS:
                return value
        elif isinstance(value, (*_SCALAR, Global, Inert)):
            return value
        raise pickle.UnpicklingError(f"a {type(value).__name__} as a key")

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._refer(module, name)

    def name_from_stack(self, _) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise pickle.UnpicklingError("a name that is no text")
        self._refer(module, name)

    def _refer(self, module: str, name: str) -> None:
        module = {"__builtin__": "builtins"}.get(module, module)
        full = f"{module}.{name}"
        if full not in self._builders:
            self._builders[full] = self._resolve(full)
        self._push(Global(full))

    def call(self, _) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(self.build(function, arguments))

    def build(self, function: Any, arguments: Any) -> Any:
        """What a call stands for: of an allowed builder, or a record."""
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise pickle.UnpicklingError("a call of what is no function")
        builder = self._builders.get(function.name) or PLAIN.get(function.name)
        if builder is None:
            return Inert(function.name, arguments)
        return builder(self, arguments)

    def call_with_names(self, _) -> None:
        self._pop()  # keywords, which no class of a model has
        self.call(None)

    def set_state(self, _) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Inert):
            target.state = state if isinstance(state, dict) else {"state": state}
        elif hasattr(target, "set_pickled_state"):
            target.set_pickled_state(state)
        elif isinstance(target, dict) and isinstance(state, dict):
            pass  # attributes of an OrderedDict, as state_dict() has
        else:
            raise pickle.UnpicklingError(f"a state for a {type(target).__name__}")

    def refer_outside(self, _) -> None:
        self._push(self._persistent(self._pop()))

    def copied(self, arguments: tuple) -> list:
        """The elements of the one argument of a container's constructor, paid for."""
        if len(arguments) > 1 or not all(
            isinstance(a, list | tuple | set | frozenset) for a in arguments
        ):
            raise pickle.UnpicklingError("a container of what is no list")
        values = list(arguments[0]) if arguments else []
        self.spend(len(values))
        return values

    def members(self, arguments: tuple) -> list:
        """The same for a set, of which members are keys."""
        return [self._key(value) for value in self.copied(arguments)]

    def ordered(self, arguments: tuple) -> dict:
        """An OrderedDict, empty or of pairs."""
        pairs = self.copied(arguments)
        if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
            raise pickle.UnpicklingError("an OrderedDict of what are no pairs")
        return collections.OrderedDict((self._key(key), value) for key, value in pairs)


def _complex(_, arguments: tuple) -> complex:
    if len(arguments) != 2 or not all(type(a) is float for a in arguments):
        raise pickle.UnpicklingError("a complex number of what are no numbers")
    return complex(*arguments)


def _slice(_, arguments: tuple) -> slice:
    if len(arguments) != 3 or not all(a is None or type(a) is int for a in arguments):
        raise pickle.UnpicklingError("a slice of what are no numbers")
    return slice(*arguments)


PLAIN: Mapping[str, Callable[[_Stack, tuple], Any]] = {
    "collections.OrderedDict": _Stack.ordered,
    "torch.Size": lambda stack, arguments: tuple(stack.copied(arguments)),
    "builtins.tuple": lambda stack, arguments: tuple(stack.copied(arguments)),
    "builtins.list": _Stack.copied,
    "builtins.set": lambda stack, arguments: set(stack.members(arguments)),
    "builtins.frozenset": lambda stack, arguments: frozenset(stack.members(arguments)),
    "builtins.dict": _Stack.ordered,
    "builtins.complex": _complex,
    "builtins.slice": _slice,
}
"""Python's own containers; types such as `int` are names that nothing is made of."""


def _nothing(stack: _Stack, _) -> None:
    """For opcodes that say how the pickle is written."""


_PUSHED = (
    "BINFLOAT", "FLOAT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
)  # fmt: skip
_NUMBERS = ("INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_STEPS: dict[str, Callable[[_Stack, Any], Any]] = {
    **dict.fromkeys(_PUSHED, _Stack._push),
    **dict.fromkeys(_NUMBERS, _Stack.number),
    **dict.fromkeys(_PUTS, _Stack.put),
    **dict.fromkeys(_GETS, _Stack.get),
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    "NONE": lambda stack, _: stack._push(None),
    "NEWTRUE": lambda stack, _: stack._push(True),
    "NEWFALSE": lambda stack, _: stack._push(False),
    "MARK": _Stack.mark,
    "POP": _Stack.pop,
    "POP_MARK": lambda stack, _: stack._to_mark(),
    "DUP": _Stack.duplicate,
    "EMPTY_TUPLE": lambda stack, _: stack._push(()),
    "TUPLE1": lambda stack, _: stack.tuple_of(1),
    "TUPLE2": lambda stack, _: stack.tuple_of(2),
    "TUPLE3": lambda stack, _: stack.tuple_of(3),
    "TUPLE": lambda stack, _: stack._push(tuple(stack._to_mark())),
    "EMPTY_LIST": lambda stack, _: stack._push([]),
    "LIST": lambda stack, _: stack._push(stack._to_mark()),
    "APPEND": lambda stack, _: stack.append([stack._pop()]),
    "APPENDS": lambda stack, _: stack.append(stack._to_mark()),
    "EMPTY_SET": lambda stack, _: stack._push(set()),
    "ADDITEMS": lambda stack, _: stack.append(stack._to_mark()),
    "EMPTY_DICT": lambda stack, _: stack._push({}),
    "SETITEM": lambda stack, _: stack.set_items([stack._pop(), stack._pop()][::-1]),
    "SETITEMS": lambda stack, _: stack.set_items(stack._to_mark()),
    "GLOBAL": _Stack.name,
    "STACK_GLOBAL": _Stack.name_from_stack,
    "REDUCE": _Stack.call,
    "NEWOBJ": _Stack.call,
    "NEWOBJ_EX": _Stack.call_with_names,
    "BUILD": _Stack.set_state,
    "BINPERSID": _Stack.refer_outside,
}


def _require_shallow(root: Any) -> None:
    """An error where containers lie too deep; each is looked at once, level by level."""
    level, seen = [root], {id(root)}
    for _ in range(MOST_NESTED):
        deeper = []
        for value in level:
            for inner in _inside(value):
                if id(inner) not in seen:
                    seen.add(id(inner))
                    deeper.append(inner)
        if not deeper:
            return
        level = deeper
    raise pickle.UnpicklingError(f"objects within each other, more than {MOST_NESTED} deep")


def _inside(value: Any) -> list:
    """The containers that a container holds."""
    if isinstance(value, Inert):
        found = [value.arguments, value.state]
    elif isinstance(value, dict):
        found = list(value.values())
    else:
        found = value if isinstance(value, list | tuple) else []
    return [inner for inner in found if isinstance(inner, Inert | dict | list | tuple)]
