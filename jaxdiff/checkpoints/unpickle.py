"""Read a PyTorch whole-module file with the standard library and NumPy; run nothing in it.

Such a file is a zip archive: `data.pkl` describes the objects, `data/<key>` holds the raw
numbers of each tensor. Only the names below are accepted. Tensors become NumPy arrays,
and every object of MACE, e3nn or PyTorch becomes an `Inert` record of its pickled data.
"""

import collections
import io
import math
import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdiff.checkpoints.errors import CheckpointError

INERT_PACKAGES = (
    "mace",
    "e3nn",
    "cuequivariance",
    "cuequivariance_torch",
    "openequivariance",
)
"""Every class of these packages is read as an inert record; nothing is imported."""

INERT_MODULES = ("torch.nn", "torch.fx")
"""The same for these modules and what is below them."""

STORAGES = {
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": "bf2",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}
"""Number formats of tensors; bfloat16 is widened to float32, which is exact."""

INERT_NAMES = frozenset(STORAGES) | {
    "numpy.ndarray",
    "torch.device",
    "torch.float16",
    "torch.float32",
    "torch.float64",
    "torch.int32",
    "torch.int64",
    "torch.bool",
}

PLAIN = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch.Size": tuple,
}
for _kind in (bool, complex, dict, float, frozenset, int, list, set, slice, str, tuple):
    PLAIN[f"builtins.{_kind.__name__}"] = _kind
"""Python's own data types, used as they are."""

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LARGEST_EXPANDED = 2**24  # elements of a tensor that repeats its stored numbers

_ZIP_ERRORS = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError)
_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


class Inert:
    """An object whose class is never imported: `name` of the class, and the pickled data.

    - `arguments`: what the class or function would have been called with.
    - `state`: what would have become its attributes.
    """

    name = ""
    arguments: tuple
    state: dict

    def __new__(cls, *arguments, **_unused):
        """Keep the arguments; nothing is called."""
        self = super().__new__(cls)
        self.arguments = arguments
        self.state = {}
        return self

    def __init__(self, *arguments, **unused):
        """Accept what `__new__` has kept."""

    def __setstate__(self, state):
        """Keep the state; nothing is set on the object."""
        self.state = state if isinstance(state, dict) else {"state": state}

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, parameter, buffer or submodule by name."""
        if attribute in self.state:
            return self.state[attribute]
        for table in ("_parameters", "_buffers", "_modules"):
            members = self.state.get(table)
            if isinstance(members, dict) and attribute in members:
                return members[attribute]
        return default


def read(path: str | Path) -> Any:
    """The root object of a `.model` file: an `Inert` tree with NumPy arrays as leaves."""
    path = Path(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise CheckpointError(_not_a_zip(path, error)) from None
    with archive:
        return _Archive(path, archive).load()


def _not_a_zip(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(len(LEGACY_MAGIC))
    if start == LEGACY_MAGIC:
        return (
            f"{path} is in the PyTorch format from before version 1.6, which is not "
            "supported. Open it with PyTorch and save it with torch.save(model, path)."
        )
    if start.startswith(b"PK\x03\x04"):
        return f"{path} is truncated or damaged as a zip archive ({error}). Fetch it again."
    return (
        f"{path} is not a PyTorch model file: it is not a zip archive. "
        "Give a file written by torch.save(model, path)."
    )


class _Storage(NamedTuple):
    """Where the numbers of a tensor are: format, member of the archive, how many."""

    code: str
    key: str
    numbers: int


class _Archive:
    """The members of one PyTorch zip file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self.path = path
        self.archive = archive
        names = archive.namelist()
        pickles = [n for n in names if re.fullmatch(r"[^/]*/data\.pkl", n)]
        if any(n.endswith("/constants.pkl") for n in names):
            raise CheckpointError(
                f"{path} is a compiled TorchScript archive, which holds no readable model "
                "tree. Give the uncompiled .model file it was made from."
            )
        if not pickles:
            raise CheckpointError(
                f"{path} is a zip archive without data.pkl, so it is not a PyTorch model. "
                "Give a file written by torch.save(model, path)."
            )
        self.root = pickles[0].removesuffix("data.pkl")
        order = f"{self.root}byteorder"
        big = order in names and self.member("byteorder").strip() == b"big"
        self.byteorder = ">" if big else "<"

    def member(self, name: str) -> bytes:
        """The bytes of one member, its checksum verified."""
        try:
            info = self.archive.getinfo(self.root + name)
        except KeyError:
            raise CheckpointError(
                f"{self.path} lacks the record {name!r} that its model refers to. "
                "The file is incomplete: fetch or save it again."
            ) from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{self.path} was re-packed: its record {name!r} is compressed, which "
                "PyTorch never does. Give the original file."
            )
        try:
            return self.archive.read(info)
        except _ZIP_ERRORS as error:
            raise CheckpointError(
                f"{self.path} is corrupt in the record {name!r} ({error}). "
                "Fetch or save it again."
            ) from None

    def load(self) -> Any:
        """The object tree of data.pkl."""
        description = self.member("data.pkl")
        try:
            _require_modest_memo(description)
            return _Unpickler(self, description).load()
        except _PICKLE_ERRORS as error:
            raise CheckpointError(
                f"{self.path} has a damaged object description, data.pkl "
                f"({type(error).__name__}: {error}). Fetch or save it again."
            ) from None

    def numbers(self, storage: _Storage) -> np.ndarray:
        """The flat numbers of one storage, in native byte order."""
        raw = self.member(f"data/{storage.key}")
        width = 2 if storage.code == "bf2" else np.dtype(storage.code).itemsize
        if len(raw) != width * storage.numbers:
            raise CheckpointError(
                f"{self.path} is damaged: its record 'data/{storage.key}' has {len(raw)} "
                f"bytes, and its model expects {width * storage.numbers}. Fetch it again."
            )
        if storage.code == "bf2":
            halves = np.frombuffer(raw, f"{self.byteorder}u2").astype(np.uint32)
            return (halves << 16).view(np.float32)
        return np.frombuffer(raw, f"{self.byteorder}{storage.code}").astype(storage.code)


def _require_modest_memo(description: bytes) -> None:
    """An error for a memo index that no honest file has: each costs memory up to it."""
    for opcode, argument, _ in pickletools.genops(description):
        if "PUT" in opcode.name and int(argument or 0) > len(description):
            raise pickle.UnpicklingError(f"the memo index {argument}")


class _Unpickler(pickle.Unpickler):
    """Unpickles into Python's own types, arrays and `Inert` records; refuses the rest.

    What `find_class` hands out belongs to this one load: types of Python itself, fresh
    `Inert` subclasses, and a `_Builder` of each method below, which only build data.
    """

    def __init__(self, archive: _Archive, description: bytes):
        super().__init__(io.BytesIO(description), encoding="utf-8")
        self._archive = archive
        self._inert: dict[str, type[Inert]] = {}
        builders = {
            "builtins.bytes": self._bytes,
            "_codecs.encode": self._encode,
            "collections.defaultdict": self._default_dict,
            "numpy.dtype": self._data_type,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_parameter_with_state": self._parameter,
            "torch._tensor._rebuild_from_type_v2": self._tensor_subclass,
        }
        for package in ("numpy.core", "numpy._core"):
            builders[f"{package}.multiarray.scalar"] = self._scalar
            builders[f"{package}.multiarray._reconstruct"] = self._empty_array
        self._builders = {name: _Builder(method) for name, method in builders.items()}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The harmless stand-in for a global; an error for one outside the list."""
        module_name = {"__builtin__": "builtins"}.get(module_name, module_name)
        name = f"{module_name}.{global_name}"
        if name in PLAIN:
            return PLAIN[name]
        if name in self._builders:
            return self._builders[name]
        if (
            name in INERT_NAMES
            or module_name.split(".")[0] in INERT_PACKAGES
            or any(f"{module_name}.".startswith(f"{allowed}.") for allowed in INERT_MODULES)
        ):
            return self._inert.setdefault(name, type(global_name, (Inert,), {"name": name}))
        raise CheckpointError(
            f"{self._archive.path} refers to {name}, which no MACE model needs, so it was "
            "refused; nothing in the file was executed. Give a plain MACE model saved by "
            "torch.save(model, path)."
        )

    def persistent_load(self, pid: Any, /) -> _Storage:
        """A reference ('storage', type, key, location, count) to raw numbers."""
        kind, storage_type, key, _, count = pid
        if kind != "storage" or storage_type.name not in STORAGES:
            raise pickle.UnpicklingError(f"unknown persistent reference {kind!r}")
        return _Storage(STORAGES[storage_type.name], str(key), int(count))

    def _tensor(self, storage, offset, size, stride, *_unused) -> np.ndarray:
        if not isinstance(storage, _Storage) or len(size) != len(stride):
            raise pickle.UnpicklingError("a tensor that is not storage, size, stride")
        if any(not isinstance(n, int) or n < 0 for n in (offset, *size, *stride)):
            raise pickle.UnpicklingError(f"a tensor has size {size} and stride {stride}")
        values = self._archive.numbers(storage)
        elements = math.prod(size)
        if elements == 0:
            return np.zeros(size, values.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if last >= values.size or elements > max(values.size, LARGEST_EXPANDED):
            raise pickle.UnpicklingError(
                f"a tensor of size {size} does not fit its record of {values.size} numbers"
            )
        width = values.itemsize
        window = np.lib.stride_tricks.as_strided(
            values[offset:], tuple(size), tuple(step * width for step in stride)
        )
        return window.copy()

    def _parameter(self, data, *_unused) -> np.ndarray:
        if not isinstance(data, np.ndarray):
            raise pickle.UnpicklingError("a parameter without a tensor")
        return data

    def _tensor_subclass(self, builder, _kind, arguments, _state) -> np.ndarray:
        if not isinstance(builder, _Builder):
            raise pickle.UnpicklingError("a tensor that is built in an unknown way")
        return builder(*arguments)

    def _data_type(self, code, *_unused) -> "_DataType":
        return _DataType(code)

    def _scalar(self, data_type, raw) -> Any:
        return np.frombuffer(raw, data_type.resolve())[0]

    def _empty_array(self, _kind, _shape, _code) -> "_PickledArray":
        return np.ndarray.__new__(_PickledArray, (0,))

    def _bytes(self, *arguments) -> bytes:
        if arguments:
            raise pickle.UnpicklingError("bytes that are not literal")
        return b""

    def _encode(self, text, encoding) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
        return text.encode("latin1")

    def _default_dict(self, *_unused) -> dict:
        return {}


class _Builder:
    """Calls one method of the unpickler; has no attributes that a file could set."""

    __slots__ = ("_build",)

    def __init__(self, build):
        self._build = build

    def __call__(self, *arguments):
        return self._build(*arguments)


class _DataType:
    """A pickled NumPy dtype, numbers only."""

    def __init__(self, code):
        self.code = code
        self.byteorder = "="

    def __setstate__(self, state):
        """Keep the byte order, the only part of the state that numbers need."""
        self.byteorder = state[1]

    def resolve(self) -> np.dtype:
        """The NumPy dtype."""
        if not re.fullmatch(r"[biufc]\d{1,2}", str(self.code)):
            raise pickle.UnpicklingError(f"NumPy data of type {self.code!r}")
        order = self.byteorder if self.byteorder in ("<", ">") else "="
        return np.dtype(f"{order}{self.code}")


class _PickledArray(np.ndarray):
    """A NumPy array while its state is still to come."""

    def __setstate__(self, state):
        """Fill in shape and numbers."""
        _, shape, data_type, fortran, raw = state
        if not isinstance(raw, bytes):
            raise pickle.UnpicklingError("a NumPy array of objects")
        super().__setstate__((1, shape, data_type.resolve(), fortran, raw))
