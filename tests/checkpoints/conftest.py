"""Models of mace-torch, made on the spot; PyTorch archives, written by hand."""

import os
import pickle
import warnings
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)

DATA = Path(__file__).parents[1] / "data"
SHARED = Path(os.environ.get("JAXDIFF_SHARED", Path(__file__).parents[3] / "shared"))


class Upstream:
    """mace-torch, imported without its warnings."""

    def __init__(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch

            torch.serialization.add_safe_globals([slice])  # for e3nn's own constants
            import e3nn.o3
            import mace.modules
        self.torch, self.o3, self.modules = torch, e3nn.o3, mace.modules
        torch.set_num_threads(1)

    def build(
        self,
        *,
        kind="ScaleShiftMACE",
        first="RealAgnosticInteractionBlock",
        other="RealAgnosticResidualInteractionBlock",
        elements=(3, 9),
        hidden="4x0e+4x1o",
        mlp="8x0e",
        heads=None,
        dtype="float64",
        **options,
    ):
        """A model with random weights; `options` go to upstream's constructor."""
        classes, irreps = self.modules.interaction_classes, self.o3.Irreps
        n_heads, n_species = len(heads or [None]), len(elements)
        rng = np.random.default_rng(0)
        energies = rng.normal(size=(n_heads, n_species) if heads else n_species)
        settings = dict(
            r_max=4.7,
            num_bessel=6,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=classes[other],
            interaction_cls_first=classes[first],
            num_interactions=2,
            num_elements=n_species,
            hidden_irreps=irreps(hidden),
            MLP_irreps=irreps(mlp),
            atomic_energies=energies,
            avg_num_neighbors=7.3,
            atomic_numbers=list(elements),
            correlation=2,
            gate=self.torch.nn.functional.silu,
            radial_MLP=[16, 12],
            heads=heads,
        )
        if kind == "ScaleShiftMACE":
            settings["atomic_inter_scale"] = [1.3, 0.7] if n_heads == 2 else 1.3
            settings["atomic_inter_shift"] = [0.1, -0.2] if n_heads == 2 else 0.1
        settings |= options
        self.torch.manual_seed(0)
        self.torch.set_default_dtype(getattr(self.torch, dtype))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return getattr(self.modules, kind)(**settings)
        finally:
            self.torch.set_default_dtype(self.torch.float32)

    def save(self, thing, path):
        """torch.save, its warnings aside."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.torch.save(thing, path)
        return path


@pytest.fixture(scope="session")
def upstream():
    """mace-torch; the test is skipped where it is not installed."""
    warnings.simplefilter("ignore")
    pytest.importorskip("mace")
    return Upstream()


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
