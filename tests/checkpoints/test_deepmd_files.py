"""DeePMD-kit's files: what is read of them, what is refused, what is written."""

import json
import shutil
import zipfile
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from jaxdiff import checkpoints
from jaxdiff.checkpoints import CheckpointError
from jaxdiff.checkpoints.deepmd.tree import read_tree, write_dp
from jaxdiff.cli import app

DATA = Path(__file__).parents[1] / "data" / "deepmd"
FILES = sorted(path.name for path in DATA.glob("*.[dy]*"))


def flat(model) -> dict:
    from jaxdiff.checkpoints.deepmd.native import describe

    return describe(model)[0]


@pytest.mark.parametrize("file", FILES)
def test_native_and_dp_files_hold_the_same_model(file, tmp_path):
    model = checkpoints.load(DATA / file)
    checkpoints.save_native(tmp_path / "m.safetensors", model)
    checkpoints.save(tmp_path / "m.dp", model)
    for path in ("m.safetensors", "m.dp"):
        again = checkpoints.load(tmp_path / path)
        assert again.architecture == model.architecture
        for name, array in flat(model).items():
            np.testing.assert_array_equal(flat(again)[name], array)
            assert flat(again)[name].dtype == array.dtype


def test_a_restricted_model_is_written_where_the_file_can_say_so(tmp_path):
    model = checkpoints.load(DATA / "third_species.dp").restrict([3, 9])
    with pytest.raises(CheckpointError, match="species were left out"):
        checkpoints.save(tmp_path / "m.dp", model)
    zero = {k: 0 * model.constants[k] for k in ("mean", "absent")}
    model = model.replace(constants=model.constants | zero)
    checkpoints.save(tmp_path / "m.dp", model)
    again = checkpoints.load(tmp_path / "m.dp")
    assert again.architecture.places == model.architecture.places == 39
    assert again.species == (9, 3)


def test_info_says_what_a_file_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["model", "info", str(DATA / "silent.dp")])
    assert result.exit_code == 0, result.output
    for text in (
        "DeepPot-SE (se_e2_a)",
        "2: Li F",
        "3.2 Å, smooth from 1.5 Å",
        "at most 16 Li, 14 F",
        "4-8-8, tanh, a network for each species, axis 3",
        "6-6-5-1, tanh, time steps",
        "Li-Li",
        "without energy",
        "float64",
    ):
        assert text in result.output


def test_what_other_back_ends_leave_out_or_spell_otherwise(tmp_path):
    tree = read_tree(DATA / "one_sided.dp")
    expected = flat(checkpoints.load(DATA / "one_sided.dp"))
    model = tree["model"]
    del model["pair_exclude_types"], model["atom_exclude_types"], model["@variables"]
    del model["descriptor"]["type_one_side"], model["descriptor"]["exclude_types"]
    model["fitting"]["atom_ener"] = [None, None]
    model["fitting"]["use_aparam_as_mask"] = True  # of no atomic parameters
    write_dp(tmp_path / "m.dp", tree)
    for name, array in flat(checkpoints.load(tmp_path / "m.dp")).items():
        np.testing.assert_array_equal(array, expected[name])


def test_numbers_of_two_bytes(tmp_path):
    """HDF5 has a name for float16, and none for bfloat16, which stays bytes."""
    for dtype in (np.float16, jnp.bfloat16):
        tree = read_tree(DATA / "one_sided.dp")
        variables = tree["model"]["fitting"]["nets"]["networks"][0]["layers"][0][
            "@variables"
        ]
        given = variables["w"] = variables["w"].astype(dtype)
        write_dp(tmp_path / "m.dp", tree)
        found = read_tree(tmp_path / "m.dp")["model"]["fitting"]["nets"]["networks"][0]
        assert found["layers"][0]["@variables"]["w"].dtype == given.dtype
        matrix = checkpoints.load(tmp_path / "m.dp").weights["fitting"]["0"]["matrix"][0]
        np.testing.assert_array_equal(matrix, given.astype(float))


def test_the_script_says_what_the_model_is(tmp_path):
    """DeePMD-kit's TensorFlow asks for it where it reads its own files again."""
    checkpoints.save(tmp_path / "m.dp", checkpoints.load(DATA / "excluded.dp"))
    script = read_tree(tmp_path / "m.dp")["model_def_script"]
    assert script["descriptor"]["sel"] == [16, 14]
    assert script["descriptor"]["exclude_types"] == [[0, 1]]
    assert script["descriptor"]["neuron"] == [4, 8, 8]
    assert not script["descriptor"]["type_one_side"]
    assert script["fitting_net"]["neuron"] == [6, 6, 5]


def changed(tree, path, value):
    *parents, last = path.split(".")
    for key in parents:
        tree = tree[int(key) if key.isdigit() else key]
    tree[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("type", "linear", "the model has type = 'linear'"),
        ("descriptor.type", "dpa1", "se_e2_a"),
        ("descriptor.type", "se_e3", "has type = 'se_e3'"),
        ("descriptor.compress", {"table": 1}, "before `dp compress`"),
        ("descriptor.spin", {"use_spin": [True]}, "spin"),
        ("descriptor.env_mat.use_exp_switch", True, "use_exp_switch"),
        ("descriptor.tebd_dim", 8, "has 'tebd_dim', which is not known"),
        ("fitting.type", "dos", "the fitting net has type = 'dos'"),
        ("fitting.numb_fparam", 2, "numb_fparam = 2"),
        ("fitting.numb_aparam", 1, "numb_aparam = 1"),
        ("fitting.dim_case_embd", 3, "dim_case_embd = 3"),
        ("fitting.atom_ener", [1.0, 2.0], "atom_ener"),
        ("type_map", ["Li", "O_w"], "has the types Li, O_w; each must be an element"),
        ("type_map", ["Li", "Li"], "none twice"),
        ("descriptor.@variables.dstd", np.zeros((2, 30, 4)), "dstd holds zeros"),
        (
            "descriptor.@variables.davg",
            np.ones((2, 3, 4)),
            r"davg has the shape \(2, 3, 4\)",
        ),
        (
            "descriptor.@variables.davg",
            np.arange(240.0).reshape(2, 30, 4),
            "differs from place to place",
        ),
        ("fitting.nets.networks.0.layers.0.activation_function", "swish", "'swish'"),
        ("descriptor.axis_neuron", 9, "axis_neuron = 9; it must be from 1 to 8"),
        ("descriptor.embeddings", None, "does not hold a whole DeePMD model"),
        ("@variables.out_bias", np.full((1, 2, 1), np.nan), "not finite"),
    ],
)
def test_what_is_refused(tmp_path, path, value, message):
    tree = read_tree(DATA / "one_sided.dp")
    changed(tree["model"], path, value)
    if path.startswith("fitting.nets"):
        changed(tree["model"], path.replace("networks.0", "networks.1"), value)
    write_dp(tmp_path / "m.dp", tree)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load(tmp_path / "m.dp")


@pytest.mark.parametrize(("suffix", "backend"), [("pb", "TensorFlow"), ("hlo", "JAX")])
def test_other_back_ends_are_named(tmp_path, suffix, backend):
    path = tmp_path / f"frozen.{suffix}"
    shutil.copy(DATA / "one_sided.dp", path)
    sentence = f"for {backend}.*dp convert-backend frozen.{suffix} frozen.dp"
    with pytest.raises(CheckpointError, match=sentence):
        checkpoints.load(path)


@pytest.mark.parametrize("name", ["frozen.pth", "renamed.model"])
def test_a_program_of_pytorch(tmp_path, name):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("frozen/code/__torch__/deepmd/pt/model.py", "")
        archive.writestr("frozen/data.pkl", b"")
    with pytest.raises(CheckpointError, match="for PyTorch.*dp convert-backend"):
        checkpoints.load(path)
    (tmp_path / "other.pth").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="for PyTorch.*dp convert-backend"):
        checkpoints.load(tmp_path / "other.pth")


def test_files_that_hold_no_model(tmp_path):
    with h5py.File(tmp_path / "series.h5", "w") as file:
        file["temperature"] = 300.0
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "code.yaml").write_text("model: !!python/object/apply:os.getpid []\n")
    for name, message in (
        ("series.h5", "an HDF5 file that holds no model"),
        ("list.yaml", "no file of DeePMD-kit"),
        ("other.yaml", "does not hold a whole DeePMD model"),
        ("broken.yaml", "cannot be read as a file of DeePMD-kit"),
        ("code.yaml", "cannot be read as a file of DeePMD-kit"),
    ):
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load(tmp_path / name)


def test_arrays_of_another_file_are_not_followed(tmp_path):
    path = tmp_path / "m.dp"
    shutil.copy(DATA / "one_sided.dp", path)
    with h5py.File(path, "r+") as file:
        del file["variable_0002"]
        file["variable_0002"] = h5py.ExternalLink(
            str(DATA / "one_sided.dp"), "variable_0002"
        )
    with pytest.raises(CheckpointError, match="is no array of this file"):
        checkpoints.load(path)


def test_a_cut_file(tmp_path):
    content = (DATA / "one_sided.dp").read_bytes()
    (tmp_path / "m.dp").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot be read as a file of DeePMD-kit"):
        checkpoints.load(tmp_path / "m.dp")


@pytest.mark.oracle
def test_deepmd_kit_reads_what_is_written(tmp_path):
    """Energies by its NumPy classes, which compile nothing, of files read and written."""
    pytest.importorskip("deepmd.dpmodel", reason="deepmd-kit is not installed")
    from deepmd.dpmodel.model.base_model import BaseModel
    from deepmd.dpmodel.utils.serialization import load_dp_model

    record = json.loads((DATA / "predictions.json").read_text())
    atoms = {k: np.asarray(v) for k, v in record["structures"]["cell"].items()}
    for file in FILES:
        model = checkpoints.load(DATA / file)
        checkpoints.save(tmp_path / "m.dp", model)
        theirs = BaseModel.deserialize(load_dp_model(str(tmp_path / "m.dp"))["model"])
        kind = [[model.species.index(z) for z in atoms["numbers"]]]
        cell = atoms["cell"].reshape(1, 9)
        found = theirs(atoms["positions"][None], np.array(kind), box=cell)
        expected = record["predictions"][file]["cell"]["energies"]
        np.testing.assert_allclose(found["atom_energy"][0, :, 0], expected, atol=1e-10)
