"""`jaxdiff model`: what is printed, and the exit codes."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from jaxdiff.checkpoints import load, read_header
from jaxdiff.cli import app


@pytest.fixture
def run(monkeypatch):
    """Runs the program in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def failed(result):
    """The one line on stderr of a run that was given bad input."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_version_and_help(run):
    assert run("--version").stdout == f"jaxdiff {version('jaxdiff')}\n"
    assert "convert" in run("model", "--help").stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys, jaxdiff.cli; print([m for m in ('jax', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout == "[]\n"


def test_info_of_both_kinds_of_file(run, tiny_model, native_v1):
    for path in (tiny_model, native_v1):
        result = run("model", "info", path)
        assert result.exit_code == 0
        for text in ("ScaleShiftMACE", "3: Li O F", "4.7 Å", "2x0e + 2x1o", "628"):
            assert text in result.stdout
        for text in ("head pbe", "head r2scan", "E0 ", "float32", "ZBL", "Agnesi"):
            assert text in result.stdout
    assert "MIT" in result.stdout


def test_convert_with_species(run, tiny_model, tmp_path):
    target = tmp_path / "small.safetensors"
    result = run("model", "convert", tiny_model, target, "--species", "F, Li")
    assert result.exit_code == 0
    assert "wrote" in result.stdout
    assert load(target).architecture.atomic_numbers == (3, 9)
    provenance = read_header(target).provenance
    assert provenance["source"] == "tiny.model"
    assert len(provenance["sha256"]) == 64


def test_convert_keeps_all_species_and_earlier_provenance(run, native_v1, tmp_path):
    target = tmp_path / "copy.safetensors"
    assert run("model", "convert", native_v1, target).exit_code == 0
    assert load(target).architecture == load(native_v1).architecture
    assert read_header(target).provenance["license"] == "MIT"


def test_list_names_the_models(run, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDIFF_CACHE", str(tmp_path))
    result = run("model", "list")
    for text in ("lif-compact", "mace-mpa-0-medium", "MPtrj + sAlex", "ASL"):
        assert text in result.stdout


def test_fetch_prints_where_the_file_is(run, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDIFF_CACHE", str(tmp_path))
    path = tmp_path / "mace-mpa-0-medium.model"
    path.write_bytes(tiny_model.read_bytes())
    result = run("model", "fetch", "mace-mpa-0-medium")
    assert result.stdout.replace("\n", "") == str(path)
    assert "MPtrj + sAlex" in run("model", "info", "mace-mpa-0-medium").stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("info", "nothing"), "nothing is neither a file nor the name"),
        (("info", __file__), "is not a whole safetensors file"),
        (("fetch", "mace"), "no model is named 'mace'"),
        (("fetch", "mace-omat-0-medium"), "--accept-asl"),
        (("convert", "MODEL", "x", "--species", "Li,Xx"), "'Xx' is no chemical symbol"),
        (("convert", "MODEL", "x", "--species", "Na"), "species [11] are not in the model"),
        (("convert", "MODEL", "no/such/folder/x"), "No such file or directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    run, tiny_model, tmp_path, monkeypatch, arguments, problem
):
    monkeypatch.setenv("JAXDIFF_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    given = (tiny_model if a == "MODEL" else a for a in arguments)
    assert problem in failed(run("model", *given))
    assert list(tmp_path.iterdir()) == []
