"""What cannot be exported, and what the command then says."""

import dataclasses
import sys

import pytest
from typer.testing import CliRunner

from jaxdiff.checkpoints import (
    CheckpointError,
    load_default,
    load_mace_torch,
    require_like,
    restrict,
    save_mace_torch,
)
from jaxdiff.cli import app
from jaxdiff.models.mace import Mace


def export(*arguments):
    return CliRunner().invoke(app, ["model", "export", *(str(a) for a in arguments)])


def test_base_that_differs(tiny_model):
    base = load_mace_torch(tiny_model)
    require_like(restrict(base, [3, 9]), base, "BASE")

    def changed(**fields):
        return dataclasses.replace(
            base, architecture=dataclasses.replace(base.architecture, **fields)
        )

    require_like(changed(heads=("other",)), base, "BASE")
    for fields, problem in (
        ({"channels": 3, "cutoff": 5.0}, "has cutoff = 5.0, and BASE has 4.69"),
        ({"atomic_numbers": (3, 11)}, r"has atomic_numbers = \(3, 11\), and BASE has"),
        ({"mlp_channels": 9}, "has mlp_channels = 9, and BASE has"),
    ):
        with pytest.raises(CheckpointError, match=problem):
            require_like(changed(**fields), base, "BASE")


@pytest.mark.oracle
def test_architecture_that_upstream_cannot_build(upstream, tmp_path):
    module = upstream.build(num_interactions=3, hidden="2x0e+2x1o")
    model = load_mace_torch(upstream.save(module, tmp_path / "m.model"))
    odd = dataclasses.replace(model.architecture, hidden=((0, 1), (0,), (0,)))
    with pytest.raises(
        CheckpointError, match=r"hidden = \(\(0, 1\), \(0,\), \(0,\)\), and"
    ):
        save_mace_torch(tmp_path / "out.model", Mace(model.weights, model.constants, odd))
    assert not (tmp_path / "out.model").exists()


@pytest.mark.oracle
def test_basis_that_upstream_has_not(upstream, tmp_path):
    model = load_default()
    u_matrix = model.constants["products"]["0"]["0"]["2"]
    u_matrix[0, 1, 2] += 0.1  # x y alone is not invariant
    with pytest.raises(CheckpointError, match=r"products\.0\.0\.2 .* tensors"):
        save_mace_torch(tmp_path / "out.model", model)
    assert list(tmp_path.iterdir()) == []


def test_without_mace_torch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mace", None)
    monkeypatch.delitem(sys.modules, "mace.modules", raising=False)
    result = export("lif-compact", tmp_path / "out.model")
    assert result.exit_code == 2
    assert "needs mace-torch, which is absent" in result.stderr
    assert "pip install 'jaxdiff[oracle]'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_line(tiny_model, tmp_path):
    out = tmp_path / "out.model"
    for arguments, problem in (
        (("--head", "mp"), "no head is named mp; the model has the heads pbe, r2scan"),
        (
            ("--like", "lif-compact"),
            "the model has atomic_numbers = (3, 8, 9), and lif-comp",
        ),
    ):
        result = export(tiny_model, out, *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert problem in result.stderr
        assert result.stderr.count("\n") == 1
    assert not out.exists()
