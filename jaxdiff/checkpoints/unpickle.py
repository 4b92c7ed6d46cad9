"""Read a PyTorch whole-module file with the standard library and NumPy; run nothing in it.

Such a file is a zip archive: `data.pkl` describes the objects, `data/<key>` holds the raw
numbers of each tensor. Only the names below are accepted. Tensors become NumPy arrays,
and every object of MACE, e3nn or PyTorch becomes an `Inert` record of its pickled data.
"""

import errno
import functools
import math
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdiff.checkpoints.errors import CheckpointError
from jaxdiff.checkpoints.pickle_stack import MOST_BYTES, PLAIN, Global, Inert, replay
from jaxdiff.io.shown import shown

__all__ = ["Inert", "read"]

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
    *(f"builtins.{kind}" for kind in ("bool", "float", "int", "str")),
}

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
MOST_EXPANDED = 1 << 26
"""Bytes that tensors may take beyond a multiple of the file's."""
_MOST_COPIES = 4  # of the file's numbers in its tensors
_MOST_READ = 16  # times that its bytes are read

_DATA_TYPES = re.compile("b1|[iu][1248]|f[248]|c8|c16")
_ZIP_ERRORS = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError)
_PICKLE_ERRORS = (pickle.UnpicklingError, OverflowError, RecursionError, ValueError)


def read(path: str | Path) -> Any:
    """The root object of a `.model` file: an `Inert` tree with NumPy arrays as leaves."""
    path = Path(path)
    try:
        archive = zipfile.ZipFile(path)
    except (*_ZIP_ERRORS, OverflowError) as error:
        raise CheckpointError(_not_a_zip(path, error)) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # an offset before the start of the file
            raise
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
        self._size = path.stat().st_size
        self._read = self._expanded = 0  # bytes
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
                f"{self.path} lacks the record {shown(name)} that its model refers to. "
                "The file is incomplete: fetch or save it again."
            ) from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{self.path} was re-packed: its record {shown(name)} is compressed, which "
                "PyTorch never does. Give the original file."
            )
        self._read += info.file_size
        if info.file_size > self._size or self._read > _MOST_READ * self._size:
            raise CheckpointError(
                f"{self.path} refers to its record {shown(name)} of {info.file_size} bytes "
                "more often than a model does; it is damaged. Fetch or save it again."
            )
        try:
            return self.archive.read(info)
        except (*_ZIP_ERRORS, OSError) as error:
            raise CheckpointError(
                f"{self.path} is corrupt in the record {shown(name)} ({error}). "
                "Fetch or save it again."
            ) from None

    def load(self) -> Any:
        """The object tree of data.pkl."""
        description = self.member("data.pkl")
        try:
            return replay(description, self._resolve, self._storage)
        except _PICKLE_ERRORS as error:
            raise CheckpointError(
                f"{self.path} has a damaged object description, data.pkl "
                f"({type(error).__name__}: {error}). Fetch or save it again."
            ) from None

    def _resolve(self, name: str) -> Callable[..., Any] | None:
        """What makes an object of that name; None for a record; an error if refused."""
        if name in _BUILDERS:
            return functools.partial(_BUILDERS[name], self)
        package = name.split(".")[0]
        inert = package in INERT_PACKAGES or name in INERT_NAMES or name in PLAIN
        module = name.rpartition(".")[0]
        if inert or any(
            f"{module}.".startswith(f"{allowed}.") for allowed in INERT_MODULES
        ):
            return None
        raise CheckpointError(
            f"{self.path} refers to {shown(name, quote='')}, which no MACE model needs, so "
            "it was refused; nothing in the file was executed. Give a plain MACE model "
            "saved by torch.save(model, path)."
        )

    def _storage(self, reference: Any) -> "_Storage":
        """What a reference ('storage', type, key, location, count) to raw numbers means."""
        if not (isinstance(reference, tuple) and len(reference) == 5):
            raise pickle.UnpicklingError("an unknown persistent reference")
        kind, storage_type, key, _, count = reference
        known = isinstance(storage_type, Global) and storage_type.name in STORAGES
        plain = isinstance(key, str | int) and isinstance(count, int) and count >= 0
        if kind != "storage" or not known or not plain:
            raise pickle.UnpicklingError("an unknown persistent reference")
        return _Storage(STORAGES[storage_type.name], str(key), count)

    def expand(self, n_bytes: int) -> None:
        """An error for tensors that take more memory than the file can mean."""
        self._expanded += n_bytes
        if self._expanded > MOST_EXPANDED + _MOST_COPIES * self._size:
            raise pickle.UnpicklingError(
                f"tensors of {self._expanded} bytes or more in a file of {self._size}"
            )

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


def _tensor(archive: _Archive, _, arguments: tuple) -> np.ndarray:
    given: list[Any] = [*arguments[:4], None, None, None, None]
    storage, offset, size, stride = given[:4]
    tuples = isinstance(size, tuple) and isinstance(stride, tuple)
    if not isinstance(storage, _Storage) or not tuples or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor that is not storage, size, stride")
    if any(type(n) is not int for n in (offset, *size, *stride)) or len(size) > 32:
        raise pickle.UnpicklingError("a tensor of which size and stride are no numbers")
    if min((offset, *size, *stride)) < 0:
        raise pickle.UnpicklingError(f"a tensor has size {size} and stride {stride}")
    values = archive.numbers(storage)
    elements = math.prod(size)
    if elements == 0:
        if sum(size) > MOST_BYTES:
            raise pickle.UnpicklingError(f"a tensor has size {size} and stride {stride}")
        return np.zeros(size, values.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= values.size or elements > MOST_EXPANDED + values.size:
        raise pickle.UnpicklingError(
            f"a tensor of size {size} does not fit its record of {values.size} numbers"
        )
    width = values.itemsize
    archive.expand(elements * width)
    steps = tuple(
        step * width if n > 1 else 0 for n, step in zip(size, stride, strict=True)
    )
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps).copy()


def _parameter(_archive, _, arguments: tuple) -> np.ndarray:
    if not arguments or not isinstance(arguments[0], np.ndarray):
        raise pickle.UnpicklingError("a parameter without a tensor")
    return arguments[0]


def _tensor_subclass(archive: _Archive, stack, arguments: tuple) -> np.ndarray:
    given: list[Any] = [*arguments[:4], None, None, None, None]
    builder, _kind, inner, _state = given[:4]
    known = isinstance(builder, Global) and _BUILDERS.get(builder.name) is _tensor
    if not known or not isinstance(inner, tuple):
        raise pickle.UnpicklingError("a tensor that is built in an unknown way")
    return _tensor(archive, stack, inner)


def _bytes(_archive, _, arguments: tuple) -> bytes:
    if arguments:
        raise pickle.UnpicklingError("bytes that are not literal")
    return b""


def _encode(_archive, stack, arguments: tuple) -> bytes:
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] != "latin1":
        raise pickle.UnpicklingError("bytes in an encoding other than 'latin1'")
    stack.spend(len(arguments[0]) >> 6)
    return arguments[0].encode("latin1")


class _DataType:
    """A pickled NumPy dtype, numbers only."""

    def __init__(self, code: Any):
        if not isinstance(code, str) or not _DATA_TYPES.fullmatch(code):
            raise pickle.UnpicklingError(f"NumPy data of type {shown(str(code))}")
        self.code, self.byteorder = code, "="

    def set_pickled_state(self, state: Any) -> None:
        """Keep the byte order, the only part of the state that numbers need."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if not isinstance(order, str) or order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError("a NumPy type without its byte order")
        self.byteorder = "=" if order == "|" else order

    def numbers(self, raw: Any) -> np.ndarray:
        """The numbers that bytes stand for."""
        dtype = np.dtype(f"{self.byteorder}{self.code}")
        if not isinstance(raw, bytes) or len(raw) % dtype.itemsize:
            raise pickle.UnpicklingError("NumPy data that are not whole numbers")
        return np.frombuffer(raw, dtype)


def _data_type(_archive, _, arguments: tuple) -> _DataType:
    return _DataType(arguments[0] if arguments and isinstance(arguments[0], str) else None)


def _scalar(_archive, _, arguments: tuple) -> Any:
    data_type, raw = (*arguments, None, None)[:2]
    values = data_type.numbers(raw) if isinstance(data_type, _DataType) else np.zeros(0)
    if len(values) != 1:
        raise pickle.UnpicklingError("a NumPy number that is not one number")
    return values[0]


class _PickledArray(np.ndarray):
    """A NumPy array while its state is still to come."""

    def set_pickled_state(self, state: Any) -> None:
        """Fill in shape and numbers, once."""
        if not isinstance(state, tuple) or len(state) != 5 or self.size:
            raise pickle.UnpicklingError("a NumPy array without its state")
        _, shape, data_type, fortran, raw = state
        if not isinstance(data_type, _DataType) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("a NumPy array of objects")
        values = data_type.numbers(raw)
        whole = isinstance(shape, tuple) and len(shape) <= 32
        if not whole or any(type(n) is not int or n < 0 for n in shape):
            raise pickle.UnpicklingError("a NumPy array of which the shape is no numbers")
        if math.prod(shape) != values.size or type(fortran) is not bool:
            raise pickle.UnpicklingError(f"a NumPy array of shape {shape} with other data")
        whole_state: Any = (1, shape, values.dtype, fortran, raw)
        super().__setstate__(whole_state)


def _empty_array(_archive, _, _arguments) -> _PickledArray:
    return np.ndarray.__new__(_PickledArray, (0,))


def _default_dict(_archive, _, _arguments) -> dict:
    return {}


_BUILDERS: dict[str, Callable[..., Any]] = {
    "builtins.bytes": _bytes,
    "_codecs.encode": _encode,
    "collections.defaultdict": _default_dict,
    "numpy.dtype": _data_type,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _tensor_subclass,
    **{
        f"{package}.multiarray.{name}": build
        for package in ("numpy.core", "numpy._core")
        for name, build in (("scalar", _scalar), ("_reconstruct", _empty_array))
    },
}
"""What the file may have made: each takes the archive, the stack and the arguments."""
