"""Every script says what it takes, and runs at its smallest size."""

import dataclasses
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jaxdiff.checkpoints import save_native

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "performance.md"
ENTRY = 'if __name__ == "__main__":\n    typer.run(main)\n'
SCRIPTS = sorted(
    f"{folder}/{path.name}"
    for folder in ("benchmarks", "simulate", "training")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)


@dataclasses.dataclass(frozen=True)
class Tiny:
    """How a script runs at its smallest, in a process of its own where that takes long.

    - `arguments`: {record} is a file to write to, {out} a folder; the other words in
      braces are fixtures. `needs`: modules to be installed.
    - `prints`: a part of what it says. `is_long`: more than 10 s.
    """

    arguments: str
    prints: str
    is_long: bool = False
    needs: tuple[str, ...] = ()


TINY = {
    "benchmarks/analyze_dump.py": Tiny(
        "{record} --frames 600", '"hops_found": 1', is_long=True
    ),
    "benchmarks/compare_lammps.py": Tiny(
        "{record} --frames 13 --equilibration 10",
        "| temperature, K |",
        is_long=True,
        needs=("lammps",),
    ),
    "benchmarks/coverage.py": Tiny("{record} --repetitions 4", "| Haven ratio |"),
    "benchmarks/deepmd_kit.py": Tiny(
        "{record} --tiny",
        "65 atoms, float64, deepmd-kit, JAX: ",
        is_long=True,
        needs=("deepmd",),
    ),
    "benchmarks/detector_cost.py": Tiny(
        "{record} --tiny", '"with_over_without"', is_long=True
    ),
    "benchmarks/device.py": Tiny(
        "{record} --tiny", "| resume | killed_after_ps ", is_long=True
    ),
    "benchmarks/dispersion.py": Tiny("{record} --tiny", '"float64"', is_long=True),
    "benchmarks/ensembles.py": Tiny(
        "{record} --tiny --only embedded", "embedded: time ~ atoms^", is_long=True
    ),
    "benchmarks/evaluator_parts.py": Tiny(
        "{record} --tiny", "ms  everything", is_long=True
    ),
    "benchmarks/evaluators.py": Tiny(
        "{record} --atoms 65 --dtype float32",
        "65 atoms, float32, mace-torch: one alone",
        is_long=True,
        needs=("mace",),
    ),
    "benchmarks/foundation_cost.py": Tiny(
        "{record} lif-compact", "lif-compact: ", is_long=True
    ),
    "benchmarks/lammps_engines.py": Tiny(
        "{record} --atoms 65",
        "jaxdiff {'us_per_atom_and_step'",
        is_long=True,
        needs=("lammps", "mace"),
    ),
    "benchmarks/objectives_cost.py": Tiny("{record} --tiny", "'barrier'", is_long=True),
    "benchmarks/peers_msd.py": Tiny(
        "{record} --walks 2", '"kinisi"', is_long=True, needs=("kinisi",)
    ),
    "benchmarks/peers_run.py": Tiny(
        "{run[small]} {record}", "'d_def_hop_count'", is_long=True
    ),
    "benchmarks/power.py": Tiny(
        "{record} --repetitions 2", "| jumps without memory |", is_long=True
    ),
    "benchmarks/read_trajectory.py": Tiny("{record} --frames 2", '"frames_per_s"'),
    "benchmarks/same_bits.py": Tiny("HEAD --case finetune", "finetune: ", is_long=True),
    "benchmarks/scale.py": Tiny("{record} --tiny", "| 65 | ", is_long=True),
    "benchmarks/training_seeds.py": Tiny(
        "{shared}/data/lif_dft {record} --tiny",
        "| mace_torch |",
        is_long=True,
        needs=("mace",),
    ),
    "benchmarks/training_step.py": Tiny(
        "{record} --tiny", '"frames_per_s"', is_long=True, needs=("mace",)
    ),
    "benchmarks/transport_coverage.py": Tiny(
        "{record} --repetitions 2", "| one vacancy | 1000 |"
    ),
    "benchmarks/validate_detector.py": Tiny(
        "{frames} {record} --quench 1", "cations_elsewhere", is_long=True
    ),
    "benchmarks/write_tables.py": Tiny("--document {document}", ""),
    "simulate/ensemble_length.py": Tiny("--half-width-ev 0.02", "ns in all"),
    "simulate/evidence.py": Tiny(
        "--logs {out}/logs --tiny", "| 800K | 0 | 0.000 | 0 | 0 to ", is_long=True
    ),
    "simulate/rate_change.py": Tiny(
        "{run[small]} {small}", "1500 K: ln(k'/k) = 0.000", is_long=True
    ),
    "simulate/rate_direction.py": Tiny(
        "{run[embedded]} {out}", "1500 K: d ln k / d barrier", is_long=True
    ),
    "simulate/reweight_statics.py": Tiny(
        "{run[small]} {small} --check {run[small]}",
        "1500 K, other model, its own run",
        is_long=True,
    ),
    "simulate/study_from_states.py": Tiny(
        "--shared {shared} --dry --set output.directory={out}/study", "20 replicas"
    ),
    "simulate/trajectory_gradient.py": Tiny(
        "{run[embedded]} --copies 2 --steps 50", "the spread grows", is_long=True
    ),
    "simulate/transmission.py": Tiny(
        "{barriers} {run[small]}", "| 1500 | 0.938 | 0.000 [0.000, "
    ),
    "training/data_efficiency.py": Tiny(
        "{shared}/data {out} --tiny", "| 4 | fine-tuned |", is_long=True
    ),
    "training/forgetting.py": Tiny("{shared}/data {out} --tiny", "| lora |", is_long=True),
    "training/li2o.py": Tiny(
        "{out} --tiny", "valid: 2 frames", is_long=True, needs=("lammps",)
    ),
    "training/three_images.py": Tiny(
        "{shared}/data {small} {out} --tiny", "| with them |", is_long=True
    ),
    "training/validate_li2o.py": Tiny(
        "{root}/simulate/li2o/li2o.safetensors --tiny",
        "model: barrier ",
        is_long=True,
        needs=("lammps",),
    ),
    "training/validate_lif.py": Tiny(
        "lif-compact --relaxation-steps 1", "lattice constant   4.0", is_long=True
    ),
}
SHORT, LONG = (
    [name for name in SCRIPTS if name in TINY and TINY[name].is_long == is_long]
    for is_long in (False, True)
)


@pytest.fixture
def app(request, monkeypatch) -> typer.Typer:
    """The command line of a script, as `typer.run` makes it, in this process."""
    path = ROOT / request.param
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = typer.Typer(add_completion=False)
    app.command()(module.main)
    return app


@pytest.fixture
def document(tmp_path, monkeypatch) -> Path:
    """A copy of the document that has tables, in the folder where the script runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "figures").mkdir()
    return Path(shutil.copy(DOCUMENT, tmp_path))


@pytest.fixture
def arguments(request, tmp_path, document):
    """Those of a script, with what it reads in place."""

    def arguments(name: str) -> list[str]:
        text = TINY[name].arguments
        given = {"record": tmp_path / "record", "out": tmp_path, "document": document}
        given["root"] = ROOT
        for fixture in ("run", "small", "frames", "barriers", "shared"):
            if re.search(rf"{{{fixture}\b", text):
                given[fixture] = request.getfixturevalue(fixture)
        if name.startswith("training/"):
            start = tmp_path / "runs" / "standin-foundation" / "model.safetensors"
            start.parent.mkdir(parents=True)
            save_native(start, request.getfixturevalue("foundation"))
        return shlex.split(text.format(**given))

    return arguments


def kept() -> dict[str, bytes]:
    """The records of the project."""
    return {
        path.name: path.read_bytes() for path in (ROOT / "benchmarks/results").iterdir()
    }


def test_every_script_has_its_smallest_size():
    assert sorted(TINY) == SCRIPTS


@pytest.mark.parametrize("app", SCRIPTS, indirect=True)
def test_help_names_what_a_script_takes(app, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for parameter in typer.main.get_command(app).params:
        assert parameter.help, f"{parameter.name} is not explained"
        assert parameter.help in " ".join(result.output.split())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_run_by_typer(name):
    """What the other tests do in this process is what the script does in its own."""
    assert (ROOT / name).read_text(encoding="utf-8").endswith(ENTRY)


@pytest.mark.parametrize(("app", "name"), [(s, s) for s in SHORT], indirect=["app"])
def test_a_script_runs(app, name, arguments, document):
    before = kept()
    result = CliRunner().invoke(app, arguments(name), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    check(name, result.output, document, before)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_a_long_script_runs(name, arguments, document):
    for module in TINY[name].needs:
        pytest.importorskip(module)
    before = kept()
    command = [sys.executable, str(ROOT / name), *arguments(name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    check(name, done.stdout, document, before)


def values(text: str):
    """Those of JSON, one after the other, as records are."""
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        yield value
        text = text[end:]


def check(name: str, printed: str, document: Path, before: dict[str, bytes]) -> None:
    """It says what it should, records where it was told and nowhere else."""
    assert TINY[name].prints in printed
    record = document.with_name("record")
    assert record.exists() == ("{record}" in TINY[name].arguments)
    if record.exists():
        assert list(values(record.read_text()))
    assert kept() == before
    assert document.read_bytes() == DOCUMENT.read_bytes()  # written anew: the same tables
