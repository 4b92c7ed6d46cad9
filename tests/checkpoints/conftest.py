"""Models of mace-torch, made on the spot; PyTorch archives, written by hand."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"
SHARED = Path(os.environ.get("JAXDIFF_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture(scope="session")
def tiny_model():
    """A stored upstream file; tests/data/make_references.py made it."""
    return DATA / "tiny.model"


@pytest.fixture(scope="session")
def native_v1():
    """The frozen native file of format version 1, of the same model."""
    return DATA / "native-v1.safetensors"


@pytest.fixture(scope="session")
def old_model():
    """Path of a published file from another year; skipped where there is none."""

    def find(name):
        path = SHARED / "models" / name
        if not path.is_file():
            pytest.skip(f"{path} is absent; set JAXDIFF_SHARED to the folder above models/")
        return path

    return find


def reference(module, name):
    """Opcodes that push a global."""
    return f"c{module}\n{name}\n".encode()


def constant(value):
    """Opcodes that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def call(function, *arguments):
    """Opcodes that call what `function` pushes."""
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(kind="FloatStorage", key="0", numbers=6):
    """Opcodes that refer to a record of raw numbers."""
    parts = (constant("storage"), reference("torch", kind), constant(key))
    return b"(" + b"".join(parts) + constant("cpu") + constant(numbers) + b"tQ"


def tensor(source, offset=0, size=(2, 3), stride=(3, 1)):
    """Opcodes that rebuild a tensor."""
    rebuild = reference("torch._utils", "_rebuild_tensor_v2")
    parts = (constant(v) for v in (offset, size, stride, False, None))
    return call(rebuild, source, *parts)


class Opcodes:
    """The functions above, for tests that write archives by hand."""

    reference = staticmethod(reference)
    constant = staticmethod(constant)
    call = staticmethod(call)
    storage = staticmethod(storage)
    tensor = staticmethod(tensor)


@pytest.fixture(scope="session")
def opcodes():
    return Opcodes


@pytest.fixture
def archive(tmp_path):
    """Writes a file as torch.save does: opcodes of data.pkl, and records by name."""

    def write(opcodes, records=None, *, compression=zipfile.ZIP_STORED):
        path = tmp_path / "written.model"
        with zipfile.ZipFile(path, "w", compression) as file:
            file.writestr("archive/data.pkl", b"\x80\x02" + opcodes + b".")
            for name, raw in (records or {}).items():
                file.writestr(f"archive/{name}", raw)
        return path

    return write
