"""Does this tree compute what another revision computes, to the last bit?

python benchmarks/same_bits.py REVISION [--case NAME ...] [--folder FOLDER]

Both trees run the same commands with the interpreter and the packages of this process: an
ensemble with each thermostat and with the barostat, the report of an exported dump, a
barrier, two epochs of training. Every array and number that both wrote is compared by its
bytes. Not compared: times, versions, paths, digests, and what only one of them wrote, which
is counted. Exit status 1 where something differs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
import typer
from safetensors.numpy import load_file

RUN = """
[model]
name_or_path = "lif-compact"
[system]
supercell = 2
lattice_constant_angstrom = 4.083428
interstitials = {interstitials}
[ensemble]
temperatures_kelvin = {kelvin}
replicas_per_temperature = {replicas}
timestep_fs = 2.5
seed = 3
[equilibration]
duration_ps = 0.05
[production]
duration_ps = {duration_ps}
{thermostat}
[hops]
crossings_per_chunk = {crossings}
[output]
directory = "{name}"
"""
FRAMES = """
import numpy as np
from ase.build import bulk
from ase.io import write
from jaxdiff.calculator import MaceCalculator

frames, calculator = [], MaceCalculator("lif-compact", precision="float64")
for seed in range(6):
    atoms = bulk("LiF", "rocksalt", a=4.08, cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = calculator
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
    atoms.arrays["REF_forces"] = atoms.get_forces()
    atoms.calc = None
    frames.append(atoms)
write("train.extxyz", frames[:4])
write("valid.extxyz", frames[4:])
"""
TRAINING = """
seed = 1
directory = "training"
[model]
name_or_path = "lif-compact"
[data]
train = ["train.extxyz"]
valid = ["valid.extxyz"]
isolated_atom_ev = "estimated"
[optimizer]
epochs = 2
batch_size = 2
learning_rate = 0.001
"""
BARRIER = """
[model]
name_or_path = "lif-compact"
[system]
supercell = 2
lattice_constant_angstrom = 4.083428
paths = ["collinear"]
[search]
images = 3
[output]
directory = "barrier"
"""
THERMOSTATS = ("csvr", "nose-hoover", "langevin", "nve")
CASES = (*THERMOSTATS, "lattice", "analyze", "barrier", "finetune")
IGNORED = {
    "provenance", "versions", "version", "format_version", "sha256", "model_sha256", "date",
    "wall_s", "seconds", "memory", "device", "commit", "path", "file", "title", "run_file",
}  # fmt: skip


def run_file(name: str, thermostat: str, **changes: Any) -> str:
    """A short run of two replicas of 65 atoms."""
    defaults = {
        "interstitials": 1,
        "kelvin": [700],
        "replicas": 2,
        "duration_ps": 0.2,
        "crossings": 0,
    }
    return RUN.format(name=name, thermostat=thermostat, **(defaults | changes))


def commands(case: str) -> tuple[dict[str, str], list[list[str]]]:
    """Run files of a case, and what is called: arguments of `jaxdiff`, or a program."""
    if case in THERMOSTATS:
        text = run_file(case, f'thermostat = "{case}"')
        return {"run.toml": text}, [["simulate", "run.toml"]]
    if case == "lattice":
        text = run_file(
            case,
            "[barostat]\npressure_time_ps = 0.1",
            interstitials=0,
            kelvin=[200, 400],
            replicas=4,
            duration_ps=0.5,
        )
        return {"run.toml": text}, [["lattice", "run.toml"]]
    if case == "analyze":
        text = run_file(case, "", kelvin=[1100], duration_ps=3, crossings=4)
        text += "positions_every_ps = 0.02\n"
        lines = [["simulate", "run.toml"], ["export", case, "run.dump", "--replica", "0"]]
        options = ["--temperature-kelvin", "1100", "--timestep-fs", "2.5"]
        lines.append(["analyze", "run.dump", *options, "--out", "analyzed"])
        return {"run.toml": text}, lines
    if case == "barrier":
        return {"run.toml": BARRIER}, [["barrier", "run.toml"]]
    return {"run.toml": TRAINING}, [["-c", FRAMES], ["finetune", "run.toml"]]


def compute(tree: Path, case: str, folder: Path) -> None:
    """What a tree writes in a case, in a folder of its own."""
    folder.mkdir(parents=True)
    files, calls = commands(case)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for arguments in calls:
        program = arguments if arguments[0] == "-c" else ["-m", "jaxdiff", *arguments]
        done = subprocess.run(
            [sys.executable, *program],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{tree}, {case}: {' '.join(arguments[:2])}\n{done.stderr}")


def numbers(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every array and number that a case wrote, by its place."""
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.name in ("series.h5", "lattice.h5"):
            with h5py.File(path) as file:
                yield from ((f"{place}:{k}", v) for k, v in _datasets(file))
        elif path.suffix == ".safetensors":
            yield from ((f"{place}:{k}", v.tobytes()) for k, v in load_file(path).items())
        elif path.suffix == ".json" and path.name != "progress.json":
            yield from _leaves(place, json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix in (".csv", ".dump"):
            yield place, path.read_bytes()


def _datasets(group: h5py.Group) -> Iterator[tuple[str, bytes]]:
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            yield from ((f"{name}/{k}", v) for k, v in _datasets(item))
        elif isinstance(item, h5py.Dataset):
            yield name, np.asarray(item[()]).tobytes()


def _leaves(place: str, tree: Any) -> Iterator[tuple[str, bytes]]:
    if isinstance(tree, dict):
        for key in tree.keys() - IGNORED:
            yield from _leaves(f"{place}/{key}", tree[key])
    elif isinstance(tree, list):
        for k, item in enumerate(tree):
            yield from _leaves(f"{place}/{k}", item)
    elif isinstance(tree, (bool, int, float)):
        yield place, repr(tree).encode()


def compare(case: str, before: Path, after: Path) -> int:
    """Print what differs in a case; how many places do."""
    old, new = dict(numbers(before)), dict(numbers(after))
    both = sorted(old.keys() & new.keys())
    differ = [place for place in both if old[place] != new[place]]
    lonely = sorted(old.keys() ^ new.keys())
    typer.echo(
        f"{case}: {len(both) - len(differ)} places equal, {len(differ)} differ, "
        f"{len(lonely)} in one of them only"
    )
    for place in differ[:20]:
        typer.echo(f"  differs: {place}")
    for place in lonely[:20]:
        typer.echo(f"  only {'before' if place in old else 'after'}: {place}")
    return len(differ) + (not both)


def main(
    revision: Annotated[str, typer.Argument(help="What is compared with, for git.")],
    case: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(CASES)}; else all.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Keep what is written here; what is there is not made again."),
    ] = None,
) -> None:
    """Compare this tree with another revision, bit by bit."""
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as temporary:
        base = (folder or Path(temporary)).resolve()
        tree = base / "tree"
        if not tree.exists():
            archive = subprocess.run(
                ["git", "-C", here, "archive", revision], stdout=subprocess.PIPE, check=True
            )
            tree.mkdir(parents=True)
            subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
        n_different = 0
        for name in case or CASES:
            for side, source in (("before", tree), ("after", here)):
                if not (base / side / name).exists():
                    compute(source, name, base / side / name)
            n_different += compare(name, base / "before" / name, base / "after" / name)
    raise typer.Exit(1 if n_different else 0)


if __name__ == "__main__":
    typer.run(main)
