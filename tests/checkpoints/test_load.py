"""One function for every kind of model."""

import shutil

import pytest

import jaxdiff.checkpoints
from jaxdiff.checkpoints import (
    FOUNDATIONS,
    CheckpointError,
    load,
    load_default,
    load_mace_torch,
    locate,
)


def test_native_and_upstream_files_by_content(tiny_model, native_v1, tmp_path):
    expected = load_mace_torch(tiny_model).architecture
    odd = shutil.copy(native_v1, tmp_path / "odd.name")
    for path in (tiny_model, native_v1, str(native_v1), odd):
        assert load(path).architecture == expected


def test_name_of_a_fetched_model(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDIFF_CACHE", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / FOUNDATIONS["mace-mpa-0-medium"].file_name)
    assert load("mace-mpa-0-medium").architecture == load(tiny_model).architecture


def test_name_of_a_model_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDIFF_CACHE", str(tmp_path))
    with pytest.raises(
        CheckpointError, match="Run `jaxdiff model fetch mace-mpa-0-medium`"
    ):
        load("mace-mpa-0-medium")


def test_neither_file_nor_name():
    with pytest.raises(
        FileNotFoundError, match="neither a file nor .*lif-compact, mace-mpa"
    ):
        load("mace-mpa-1")


def test_default_model(native_v1, tmp_path, monkeypatch):
    monkeypatch.setattr(
        jaxdiff.checkpoints.importlib.resources, "files", lambda _: tmp_path
    )
    with pytest.raises(CheckpointError, match="lacks its model lif-compact"):
        load_default()
    (tmp_path / "data").mkdir()
    shutil.copy(native_v1, tmp_path / "data" / "lif-compact.safetensors")
    assert load_default().architecture == load("lif-compact").architecture
    with locate("lif-compact") as path:
        assert path.name == "lif-compact.safetensors"
