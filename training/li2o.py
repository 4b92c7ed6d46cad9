"""Labelled frames of Li2O from rigid ions, for training/li2o.toml.

python training/li2o.py OUT [--tiny]
jaxdiff finetune training/li2o.toml --data OUT
python training/validate_li2o.py runs/li2o/model.safetensors

A stand-in for methods, no description of the material: ions with charges of +1 and -2, the
O-O repulsion of Catlow's oxides, A exp(-r/0.149 Å) - C/r^6 with A = 22764.3 eV and
C = 27.88 eV Å^6, and between Li and O A exp(-r/0.28 Å), whose A is fitted here so that the
static crystal has no pressure at a = 4.62 Å. The decay length was chosen for a barrier of
the vacancy between 0.2 and 0.5 eV.

LAMMPS moves 2x2x2 cells, whole (96 ions) and with one lithium missing (95), by Langevin
dynamics at 300 to 1800 K and three edges; frames of validation are from runs of their own
at two other edges. A cell without one ion is charged: its energy, forces and stress are
those with a uniform background. Writes train.extxyz, valid.extxyz and li2o.json to OUT.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import ase.io
import numpy as np
import typer
from ase.geometry import get_distances
from ase.spacegroup import crystal

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "md"))
from ionic import COULOMB, NKTV2P, load_lammps  # noqa: E402, I001

EDGE = 4.62  # Å, of the conventional cell at rest
RHO_LI_O = 0.28  # Å
OXYGEN = (22764.3, 0.149, 27.88)  # eV, Å, eV Å^6
CHARGE = {"Li": 1.0, "O": -2.0}
CUTOFF, SPLITTING, ACCURACY = 8.0, 0.5, 1e-5  # Å, 1/Å, of Ewald's sum
SHORTEST = 1.2  # Å


@dataclasses.dataclass(frozen=True)
class Plan:
    """Runs at each temperature and edge, of the whole cell and of that with a vacancy.

    - `settle`, `stride`: steps of 1 fs before the first frame and between frames.
    """

    kelvin: tuple[int, ...]
    edges: dict[str, tuple[float, ...]]
    frames: dict[str, int]
    settle: int
    stride: int


WHOLE = Plan(
    kelvin=(300, 600, 900, 1200, 1500, 1800),
    edges={"train": (4.58, 4.66, 4.74), "valid": (4.62, 4.70)},
    frames={"train": 8, "valid": 2},
    settle=1000,
    stride=300,
)
TINY = Plan(
    kelvin=(900,),
    edges={"train": (4.62,), "valid": (4.66,)},
    frames={"train": 2, "valid": 1},
    settle=10,
    stride=5,
)


def antifluorite(edge: float, repeat: int = 2, *, vacancy: bool = False) -> ase.Atoms:
    """Li2O, whole or without its first lithium."""
    sites = [(0.25, 0.25, 0.25), (0.0, 0.0, 0.0)]
    cell = [edge, edge, edge, 90, 90, 90]
    atoms = crystal(["Li", "O"], sites, spacegroup=225, cellpar=cell)
    atoms = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    atoms *= (repeat,) * 3
    if vacancy:
        del atoms[int(np.argmax(atoms.numbers == 3))]
    return atoms


class Ions:
    """LAMMPS with the ions of a cubic cell; `amplitude` of the Li-O repulsion, eV."""

    def __init__(self, atoms: ase.Atoms, amplitude: float):
        self.atoms, self.charge = atoms, sum(CHARGE[s] for s in atoms.symbols)
        kind = np.where(atoms.numbers == 3, 1, 2)
        edge = float(atoms.cell[0, 0])
        oxygen = " ".join(map(str, OXYGEN))
        self.lmp = load_lammps().lammps(
            cmdargs=["-log", "none", "-screen", "none", "-nocite"]
        )
        self.lmp.commands_string(f"""
            units metal
            atom_style charge
            atom_modify map array sort 0 0.0
            region box block 0 {edge!r} 0 {edge!r} 0 {edge!r} units box
            create_box 2 box
            mass 1 6.94
            mass 2 15.999
        """)
        start = atoms.get_positions(wrap=True).ravel().tolist()
        tags = list(range(1, len(kind) + 1))
        self.lmp.create_atoms(len(kind), tags, kind.tolist(), start)
        self.lmp.commands_string(f"""
            set type 1 charge {CHARGE["Li"]}
            set type 2 charge {CHARGE["O"]}
            pair_style buck/coul/long {CUTOFF}
            pair_coeff * * 0.0 1.0 0.0
            pair_coeff 1 2 {amplitude!r} {RHO_LI_O} 0.0
            pair_coeff 2 2 {oxygen}
            pair_modify shift yes table 0
            kspace_style ewald {ACCURACY}
            kspace_modify gewald {SPLITTING}
            neighbor 1.0 bin
            thermo_modify norm no
            compute virial all pressure NULL virial
            timestep 0.001
        """)

    def run(self, steps: int) -> None:
        """So many steps."""
        self.lmp.command(f"run {steps}")

    def position(self) -> np.ndarray:
        """Å, [N, 3], in the cell."""
        return np.array(self.lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)

    def thermalise(self, kelvin: float, seed: int) -> None:
        """Langevin dynamics from now on."""
        self.lmp.commands_string(f"""
            velocity all create {2 * kelvin} {seed} mom yes dist gaussian
            fix bath all langevin {kelvin} {kelvin} 0.1 {seed} zero yes
            fix move all nve
        """)

    def labelled(self, position: np.ndarray) -> ase.Atoms:
        """REF_energy, REF_forces and REF_stress at these positions, without a thermostat.

        A thermostat's forces would be among those of the ions. LAMMPS adds the energy of
        the background, -π k q² / (2 g² V), to that of a charged cell, and not its
        pressure, which is that energy over the volume.
        """
        if self.lmp.has_id("fix", "bath"):
            raise ValueError("the thermostat's forces are on; label with other Ions.")
        atoms = self.atoms.copy()
        atoms.positions = position
        inside = atoms.get_positions(wrap=True).ravel().copy()
        self.lmp.scatter_atoms("x", 1, 3, np.ctypeslib.as_ctypes(inside))
        self.run(0)
        require_apart(atoms)
        force = np.array(self.lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
        pressure = np.array(self.lmp.numpy.extract_compute("virial", 0, 1)) / NKTV2P
        background = -np.pi * COULOMB * self.charge**2 / (2 * SPLITTING**2)
        pressure[:3] += background / atoms.get_volume() ** 2
        atoms.info["REF_energy"] = self.lmp.get_thermo("pe")
        atoms.info["REF_stress"] = -pressure[[0, 3, 4, 3, 1, 5, 4, 5, 2]]
        atoms.arrays["REF_forces"] = force
        return atoms


def require_apart(atoms: ase.Atoms) -> None:
    """No two ions have fallen into each other.

    -C/r^6 and opposite charges win over every exponential at short distance; ions that are
    once so near stay there, so that frames show it.
    """
    _, apart = get_distances(atoms.positions, cell=atoms.cell, pbc=True)
    np.fill_diagonal(apart, np.inf)
    if not apart.min() > SHORTEST:
        raise ValueError(
            f"two ions are {apart.min():.2f} Å apart, nearer than {SHORTEST} Å: the "
            "potential has collapsed; use a lower temperature or a larger cell."
        )


def label(atoms: ase.Atoms, amplitude: float) -> ase.Atoms:
    """Energy, forces and stress of a structure as it is."""
    return Ions(atoms, amplitude).labelled(atoms.positions)


def fitted_amplitude() -> float:
    """A of Li-O, eV, without pressure at rest: the pressure is linear in it."""
    trace = [label(antifluorite(EDGE), a).info["REF_stress"][0] for a in (0.0, 1000.0)]
    return float(1000.0 * trace[0] / (trace[0] - trace[1]))


def frames_of(plan: Plan, part: str, amplitude: float) -> list[ase.Atoms]:
    """Frames of all runs of a part, "train" or "valid"."""
    found = []
    for kelvin in plan.kelvin:
        for edge in plan.edges[part]:
            for vacancy in (False, True):
                name = "vacancy" if vacancy else "bulk"
                start = antifluorite(edge, vacancy=vacancy)
                still, ions = Ions(start, amplitude), Ions(start, amplitude)
                ions.thermalise(kelvin, seed=1 + round(1000 * edge) + kelvin)
                ions.run(plan.settle - plan.stride)
                for _ in range(plan.frames[part]):
                    ions.run(plan.stride)
                    atoms = still.labelled(ions.position())
                    atoms.info |= {"config_type": name, "kelvin": kelvin}
                    found.append(atoms)
                ions.lmp.close()
                still.lmp.close()
    return found


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the frames.")],
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Six frames of a few steps.")
    ] = False,
) -> None:
    """Write frames of Li2O for training and validation."""
    plan = TINY if tiny else WHOLE
    out.mkdir(parents=True, exist_ok=True)
    amplitude = fitted_amplitude()
    record: dict = {"amplitude_li_o_ev": amplitude, "rho_li_o_angstrom": RHO_LI_O}
    print(f"A of Li-O: {amplitude:.2f} eV, no pressure at a = {EDGE} Å")
    for part in ("train", "valid"):
        frames = frames_of(plan, part, amplitude)
        ase.io.write(out / f"{part}.extxyz", frames, format="extxyz")
        force = np.concatenate([f.arrays["REF_forces"].ravel() for f in frames])
        record[part] = {"frames": len(frames), "force_rms_ev_per_angstrom": force.std()}
        print(f"{part}: {len(frames)} frames, forces {force.std():.2f} eV/Å r.m.s.")
    (out / "li2o.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
