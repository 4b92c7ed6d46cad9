"""The restricted reader: numbers come out as stored, and nothing is executed."""

import collections
import struct
import zipfile

import numpy as np
import pytest

from jaxdiff.checkpoints import CheckpointError, load_mace_torch
from jaxdiff.checkpoints.unpickle import LEGACY_MAGIC, Inert, read

SIX = np.arange(6, dtype="<f4")


def test_tensor_is_the_stored_numbers(archive, opcodes):
    path = archive(opcodes.tensor(opcodes.storage()), {"data/0": SIX.tobytes()})
    np.testing.assert_array_equal(read(path), SIX.reshape(2, 3))


def test_stride_and_offset_are_honoured(archive, opcodes):
    view = opcodes.tensor(opcodes.storage(), offset=1, size=(2, 2), stride=(1, 2))
    found = read(archive(view, {"data/0": SIX.tobytes()}))
    np.testing.assert_array_equal(found, [[1, 3], [2, 4]])
    assert found.flags.c_contiguous
    assert found.flags.owndata


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("DoubleStorage", "f8"),
        ("FloatStorage", "f4"),
        ("HalfStorage", "f2"),
        ("LongStorage", "i8"),
        ("IntStorage", "i4"),
        ("ShortStorage", "i2"),
        ("CharStorage", "i1"),
        ("ByteStorage", "u1"),
        ("BoolStorage", "?"),
    ],
)
@pytest.mark.parametrize("order", ["little", "big"])
def test_every_number_format_in_both_byte_orders(archive, opcodes, kind, code, order):
    values = np.array([0, 1, 1, 0, 1, 1]).astype(code)
    raw = values.astype(values.dtype.newbyteorder("<" if order == "little" else ">"))
    found = read(
        archive(
            opcodes.tensor(opcodes.storage(kind)),
            {"data/0": raw.tobytes(), "byteorder": order},
        )
    )
    np.testing.assert_array_equal(found, values.reshape(2, 3))
    assert found.dtype == np.dtype(code)


def test_bfloat16_is_widened_exactly(archive, opcodes):
    raw = struct.pack("<2H", 0x3FC0, 0xC080)  # 1.5 and -4 by the format's definition
    source = opcodes.storage("BFloat16Storage", numbers=2)
    found = read(archive(opcodes.tensor(source, size=(2,), stride=(1,)), {"data/0": raw}))
    np.testing.assert_array_equal(found, np.array([1.5, -4.0], np.float32))


def test_parameter_is_its_tensor(archive, opcodes):
    rebuild = opcodes.reference("torch._utils", "_rebuild_parameter")
    data = opcodes.tensor(opcodes.storage())
    parameter = opcodes.call(rebuild, data, opcodes.constant(True), opcodes.constant(None))
    found = read(archive(parameter, {"data/0": SIX.tobytes()}))
    np.testing.assert_array_equal(found, SIX.reshape(2, 3))


def test_tensor_with_attributes_is_its_tensor(archive, opcodes):
    rebuild = opcodes.reference("torch._tensor", "_rebuild_from_type_v2")
    builder = opcodes.reference("torch._utils", "_rebuild_tensor_v2")
    arguments = (opcodes.constant(v) for v in (0, (6,), (1,), False, None))
    arguments = b"(" + opcodes.storage() + b"".join(arguments) + b"t"
    kind = opcodes.reference("torch.nn.parameter", "Parameter")
    thing = opcodes.call(rebuild, builder, kind, arguments, opcodes.constant({}))
    np.testing.assert_array_equal(read(archive(thing, {"data/0": SIX.tobytes()})), SIX)


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_numpy_scalars_and_arrays_under_old_and_new_names(archive, opcodes, package):
    dtype = opcodes.call(
        opcodes.reference("numpy", "dtype"),
        *(opcodes.constant(v) for v in ("i8", False, True)),
    )
    dtype += opcodes.constant((3, ">", None, None, None, -1, -1, 0)) + b"b"
    encode = opcodes.reference("_codecs", "encode")
    raw = opcodes.call(
        encode, opcodes.constant("\0" * 7 + "\x09"), opcodes.constant("latin1")
    )
    scalar = opcodes.call(opcodes.reference(f"{package}.multiarray", "scalar"), dtype, raw)
    assert read(archive(scalar)) == 9

    empty = opcodes.call(
        opcodes.reference(f"{package}.multiarray", "_reconstruct"),
        opcodes.reference("numpy", "ndarray"),
        opcodes.constant((0,)),
        opcodes.constant("b"),
    )
    state = b"(" + opcodes.constant(1) + opcodes.constant((1,)) + dtype
    state += opcodes.constant(False) + raw + b"t"
    np.testing.assert_array_equal(read(archive(empty + state + b"b")), [9])


def test_pythons_own_containers_are_kept(archive, opcodes):
    ordered = opcodes.call(opcodes.reference("collections", "OrderedDict"))
    pair = opcodes.call(opcodes.reference("torch", "Size"), opcodes.constant([2, 3]))
    members = opcodes.call(opcodes.reference("__builtin__", "set"), opcodes.constant([1]))
    found = read(archive(b"(" + ordered + pair + members + b"t"))
    assert found == (collections.OrderedDict(), (2, 3), {1})


def test_classes_become_inert_records(archive, opcodes):
    thing = opcodes.call(opcodes.reference("e3nn.o3._irreps", "Irrep"), opcodes.constant(1))
    found = read(archive(thing + opcodes.constant({"p": -1}) + b"b"))
    assert isinstance(found, Inert)
    assert found.name == "e3nn.o3._irreps.Irrep"
    assert found.arguments == (1,)
    assert found.get("p") == -1
    assert found.get("absent", 5) == 5


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("functools", "partial"),
        ("types", "MethodType"),
        ("torch", "load"),
        ("torch.jit", "load"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy"),
        ("macef", "MACE"),
        ("torch.nnx", "Module"),
    ],
)
def test_global_outside_the_list_is_refused(archive, opcodes, tmp_path, module, name):
    module_name = module.replace("__builtin__", "builtins")
    victim = tmp_path / "victim"
    command = opcodes.constant(f"touch {victim}")
    path = archive(opcodes.call(opcodes.reference(module, name), command))
    with pytest.raises(
        CheckpointError, match=f"refers to {module_name}.{name}, .* refused"
    ):
        read(path)
    with pytest.raises(CheckpointError, match="nothing in the file was executed"):
        load_mace_torch(path)
    assert not victim.exists()


def test_code_as_an_argument_is_never_called(archive, opcodes, tmp_path):
    """A trusted name that PyTorch would call stays a record."""
    victim = tmp_path / "victim"
    source = opcodes.constant({"_code": f"open({str(victim)!r}, 'w')"})
    function = opcodes.reference("torch.fx.graph_module", "reduce_graph_module")
    found = read(archive(opcodes.call(function, source, opcodes.constant("import os"))))
    assert isinstance(found, Inert)
    assert not victim.exists()


def test_rebuild_with_a_foreign_function_is_refused(archive, opcodes):
    rebuild = opcodes.reference("torch._tensor", "_rebuild_from_type_v2")
    function = opcodes.reference("torch.nn", "Module")
    empty = opcodes.constant(())
    path = archive(opcodes.call(rebuild, function, function, empty, empty))
    with pytest.raises(CheckpointError, match="tensor that is built in an unknown way"):
        read(path)


def test_a_file_cannot_change_the_reader(archive, opcodes):
    """Setting attributes on what the reader hands out is an error."""
    tensor = opcodes.reference("torch._utils", "_rebuild_tensor_v2")
    model = opcodes.reference("mace.modules", "MACE")
    for target in (tensor, model):
        for state in ({"name": "x"}, (None, {"__call__": 1})):
            with pytest.raises(CheckpointError, match="damaged object description"):
                read(archive(target + opcodes.constant(state) + b"b"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"size": (3, 3)}, "does not fit its record of 6 numbers"),
        ({"offset": 1}, "does not fit its record of 6 numbers"),
        ({"size": (2, -3)}, r"has size \(2, -3\)"),
        ({"stride": (1,)}, "not storage, size, stride"),
        ({"size": (10**9, 10**9), "stride": (0, 0)}, "does not fit its record"),
    ],
)
def test_tensor_outside_its_record_is_refused(archive, opcodes, options, problem):
    path = archive(opcodes.tensor(opcodes.storage(), **options), {"data/0": SIX.tobytes()})
    with pytest.raises(CheckpointError, match=problem):
        read(path)


def test_missing_record(archive, opcodes):
    path = archive(opcodes.tensor(opcodes.storage(key="7")))
    with pytest.raises(CheckpointError, match="lacks the record 'data/7'"):
        read(path)


def test_short_record(archive, opcodes):
    path = archive(opcodes.tensor(opcodes.storage()), {"data/0": SIX.tobytes()[:-4]})
    with pytest.raises(CheckpointError, match="'data/0' has 20 bytes.* expects 24"):
        read(path)


def test_flipped_byte_is_found_by_the_checksum(archive, opcodes):
    path = archive(opcodes.tensor(opcodes.storage()), {"data/0": SIX.tobytes()})
    raw = path.read_bytes()
    assert raw.count(SIX.tobytes()) == 1
    path.write_bytes(raw.replace(SIX.tobytes(), SIX[::-1].tobytes()))
    with pytest.raises(CheckpointError, match="corrupt in the record 'data/0'"):
        read(path)


def test_compressed_archive(archive, opcodes):
    path = archive(opcodes.constant(1), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="re-packed: its record 'data.pkl'"):
        read(path)


def test_damaged_pickle(archive, opcodes):
    with pytest.raises(CheckpointError, match="damaged object description, data.pkl"):
        read(archive(b"R"))


def test_memory_bomb_is_refused(archive, opcodes):
    bomb = opcodes.constant(1) + b"r" + struct.pack("<I", 2**31)  # LONG_BINPUT
    with pytest.raises(CheckpointError, match=r"the memo index 2147483648\). Fetch"):
        read(archive(bomb))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"}" + b")" + b"\x85" * 20_000 + b"Ns", "a tuple as a key"),
        (b"}N" + b"2\x86" * 60 + b"Ns", "a tuple as a key"),
        (b"]" * 2000 + b"a" * 1999, "objects within each other, more than 500 deep"),
        (b")" + b"\x85" * 2000, "objects within each other, more than 500 deep"),
        (b"N" + b"2\x86" * 60 + b"Q", "unknown persistent reference"),
        (b"N0" * 300_000 + b"N", "more than 500000 objects"),
        (b"\x8a\x20" + b"\x7f" * 32, "a number of 255 bits"),
        (b"](]K", "exhausted before seeing STOP"),
        (b"N}b", "a state for a NoneType"),
        (b"(", "an object is missing"),
    ],
)
def test_a_small_file_that_asks_for_much_is_refused(archive, body, problem):
    """Depth, width and length have bounds, and nothing of the file is printed whole."""
    with pytest.raises(CheckpointError, match=problem) as caught:
        read(archive(body))
    assert len(str(caught.value)) < 1000


def test_tensors_cannot_take_more_than_the_file_means(archive, opcodes):
    source = opcodes.storage("DoubleStorage", numbers=1)
    large = opcodes.tensor(source, size=(2**24,), stride=(0,))
    path = archive(b"](" + 5 * large + b"e", {"data/0": bytes(8)})
    with pytest.raises(CheckpointError, match=r"tensors of \d+ bytes or more in a file of"):
        read(path)


@pytest.mark.parametrize("kind", ["str", "int", "float", "bool"])
def test_types_are_names_and_nothing_is_made_of_them(archive, opcodes, kind):
    given = opcodes.call(opcodes.reference("builtins", kind), opcodes.constant("9" * 5000))
    assert isinstance(read(archive(given)), Inert)


def test_object_array_is_refused(archive, opcodes):
    dtype = opcodes.call(opcodes.reference("numpy", "dtype"), opcodes.constant("O8"))
    scalar = opcodes.reference("numpy.core.multiarray", "scalar")
    path = archive(opcodes.call(scalar, dtype, opcodes.constant("x")))
    with pytest.raises(CheckpointError, match="NumPy data of type 'O8'"):
        read(path)


def test_truncated_file(tiny_model, tmp_path):
    path = tmp_path / "short.model"
    path.write_bytes(tiny_model.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is truncated or damaged .* Fetch it again"):
        read(path)


def test_damaged_list_of_members(tiny_model, tmp_path):
    raw = bytearray(tiny_model.read_bytes())
    raw[raw.rindex(b"tiny/data.pkl")] = 0xFF  # not UTF-8, which zipfile trips over
    path = tmp_path / "bad.model"
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match="is truncated or damaged .* Fetch it again"):
        read(path)


def test_file_of_old_pytorch(tmp_path):
    path = tmp_path / "old.model"
    path.write_bytes(LEGACY_MAGIC + b"rest")
    with pytest.raises(CheckpointError, match=r"before version 1\.6.* save it with"):
        read(path)


def test_not_an_archive(tmp_path):
    path = tmp_path / "text.model"
    path.write_text("weights")
    with pytest.raises(CheckpointError, match="not a PyTorch model file: it is not a zip"):
        read(path)


def test_some_other_zip(tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "hello")
    with pytest.raises(CheckpointError, match=r"zip archive without data\.pkl"):
        read(path)


def test_torchscript_archive(tmp_path):
    path = tmp_path / "compiled.model"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("data.pkl", "constants.pkl", "code/model.py"):
            file.writestr(f"archive/{name}", b"")
    with pytest.raises(CheckpointError, match="compiled TorchScript archive.* uncompiled"):
        read(path)


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.model"):
        read(tmp_path / "nothing.model")
