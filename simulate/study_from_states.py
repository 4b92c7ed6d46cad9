"""Run `lif_study.toml` from states that dynamics has equilibrated already.

    JAXDIFF_SHARED=FOLDER python simulate/study_from_states.py
    ... --set production.duration_ps=0.06 --set output.directory=runs/try   # shorter

Every replica begins in a state of the nearest temperature (of two as near, the hotter), the
replicas of a temperature in all of its states by turns; with velocities of its own and
20 ps to forget the others. The cost is estimated before the dynamics begins, and said;
`--dry` writes the run file alone. The same command again goes on.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from jaxdiff.io import runfile

STATES = {
    300: ["mpa_300K_300ps_out.data"],
    400: ["mpa_400K_0_300ps.data", "mpa_400K_1_300ps.data"],
    450: ["mpa_450K_0_300ps.data", "mpa_450K_1_300ps.data"],
}


def states_of(run: runfile.RunFile, folder: Path) -> list[str]:
    """One file per replica, in the order of the replicas."""
    files = []
    for kelvin in run.ensemble.temperatures_kelvin:
        nearest = min(STATES, key=lambda known: (abs(known - kelvin), -known))
        names = STATES[nearest]
        files += [
            str(folder / names[i % len(names)])
            for i in range(run.ensemble.replicas_per_temperature)
        ]
    return files


def main(
    shared: Annotated[
        Path,
        typer.Option(envvar="JAXDIFF_SHARED", help="Has data/lif_dft/states."),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the run file."),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Only write the run file.")] = False,
) -> None:
    """Run lif_study.toml from states that dynamics has equilibrated already."""
    folder = (shared / "data" / "lif_dft" / "states").absolute()
    changes = ["equilibration.duration_ps=20", *(changes or [])]
    run = runfile.load(Path(__file__).with_name("lif_study.toml"), changes)
    table = run.model_dump(mode="json")
    table["system"]["structure_files"] = states_of(run, folder)
    run = runfile.parse(table)
    path = Path(run.output.directory).with_suffix(".toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(runfile.to_toml(run), encoding="utf-8")
    print(f"{path}: {run.n_replicas} replicas; jaxdiff simulate or campaign plan runs it")
    if not dry:
        command = [sys.executable, "-m", "jaxdiff", "simulate", path]
        raise typer.Exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    typer.run(main)
