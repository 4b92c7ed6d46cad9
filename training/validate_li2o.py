"""A Li2O model beside the rigid ions that it was trained on (training/li2o.py).

python training/validate_li2o.py MODEL [--tiny]

Prints, of both: the edge at rest, the barrier of a vacancy's jump at that of the ions (95
atoms, nudged elastic band with a climbing image), and what Langevin dynamics of these atoms
at 1500 K does: temperature, shortest distance, mean squared displacements and jumps.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Annotated

import jax
import numpy as np
import typer
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic, get_distances
from ase.mep import NEB
from ase.optimize import FIRE
from li2o import EDGE, Ions, antifluorite, fitted_amplitude

from jaxdiff.calculator import MaceCalculator
from jaxdiff.lammps import drive

KELVIN = 1500.0


@dataclasses.dataclass(frozen=True)
class Size:
    """`images` and largest `force`, eV/Å, of the band; `steps` of 1 fs, `stride` between
    frames of dynamics.
    """

    images: int = 5
    force: float = 0.02
    steps: int = 20000
    stride: int = 20


WHOLE, TINY = Size(), Size(images=1, force=1.0, steps=4, stride=2)


class IonCalculator(Calculator):
    """ASE calculator of the rigid ions."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, amplitude: float):
        super().__init__()
        self.amplitude, self.ions = amplitude, None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Fill `results`; LAMMPS starts anew with another cell or other elements."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None  # set by ASE just above
        if self.ions is None or {"cell", "numbers"} & set(system_changes):
            self.ions = Ions(self.atoms, self.amplitude)
        found = self.ions.labelled(self.atoms.positions)
        stress = found.info["REF_stress"]
        energy = found.info["REF_energy"]
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": found.arrays["REF_forces"],
            "stress": stress[[0, 4, 8, 5, 2, 1]],
        }


def edge_at_rest(calculator: Calculator) -> float:
    """Å: where a line through the stress of three edges is zero."""
    edges, stress = np.array([-0.01, 0.0, 0.01]) + EDGE, []
    for edge in edges:
        atoms = antifluorite(edge)
        atoms.calc = calculator
        stress.append(atoms.get_stress()[0])
    return float(np.polyval(np.polyfit(stress, edges, 1), 0.0))


def barrier(calculator: Calculator, size: Size) -> float:
    """eV, of the jump of a lithium along x into the vacancy."""
    start = antifluorite(EDGE, vacancy=True)
    empty = antifluorite(EDGE).positions[0]
    vector, apart = get_distances(empty, start.positions, cell=start.cell, pbc=True)
    jumping = int(np.argmin(np.where(start.numbers == 3, apart[0], np.inf)))
    end = start.copy()
    end.positions[jumping] -= vector[0, jumping]
    for atoms in (start, end):
        atoms.calc = calculator
        FIRE(atoms, logfile=None).run(fmax=size.force / 2, steps=300)
    images = [start, *(start.copy() for _ in range(size.images)), end]
    for atoms in images[1:-1]:
        atoms.calc = calculator
    method = "improvedtangent"
    band = NEB(images, climb=True, method=method, allow_shared_calculator=True)
    band.interpolate(mic=True)
    if not FIRE(band, logfile=None).run(fmax=size.force, steps=300):
        raise SystemExit("the band has not converged in 300 steps; look at its images.")
    energy = [atoms.get_potential_energy() for atoms in images]
    return max(energy) - energy[0]


def dynamics(
    amplitude: float, size: Size, model: str | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Temperature, K, and positions, Å, of frames by LAMMPS, with ions or a model."""
    ions = Ions(antifluorite(EDGE, vacancy=True), amplitude)
    if model is not None:
        ions.lmp.commands_string("""
            kspace_style none
            pair_style zero 8.0
            pair_coeff * *
        """)
        drive(ions.lmp, model, ["Li", "O"])
    ions.thermalise(KELVIN, seed=1)
    for _ in range(size.steps // size.stride):
        ions.run(size.stride)
        yield ions.lmp.get_thermo("temp"), ions.position()


def motion(frames: Iterable[tuple[float, np.ndarray]]) -> str:
    """What 95 atoms do, in a sentence."""
    atoms = antifluorite(EDGE, vacancy=True)
    start, before = atoms.positions.copy(), atoms.positions.copy()
    kelvin, place, shortest = [], [], np.inf
    for now, position in frames:
        _, apart = get_distances(position, cell=atoms.cell, pbc=True)
        np.fill_diagonal(apart, np.inf)
        shortest = min(shortest, apart.min())
        before = before + find_mic(position - before, atoms.cell)[0]
        kelvin.append(now)
        place.append(before)
    oxygen, lithium = atoms.numbers == 8, atoms.numbers == 3
    moved = np.array(place) - start
    moved -= moved[:, oxygen].mean(axis=1, keepdims=True)
    square = (moved[-1] ** 2).sum(axis=-1)
    return (
        f"{np.mean(kelvin):.0f} K, shortest distance {shortest:.2f} Å, "
        f"{jumps(moved[:, lithium])} jumps of Li, mean squared displacements of Li "
        f"{square[lithium].mean():.2f} and O {square[oxygen].mean():.2f} Å^2"
    )


def jumps(moved: np.ndarray) -> int:
    """Arrivals at another site, within a quarter of the distance of sites."""
    count, apart = 0, EDGE / 2
    now = np.zeros(moved.shape[1:])
    for frame in moved:
        site = np.rint(frame / apart)
        near = np.linalg.norm(frame - site * apart, axis=-1) < apart / 4
        arrived = near & (site != now).any(axis=-1)
        count += int(arrived.sum())
        now[arrived] = site[arrived]
    return count


def main(
    model: Annotated[str, typer.Argument(help="A file or a name.")],
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A few steps: no numbers to use.")
    ] = False,
) -> None:
    """Print properties of a Li2O model next to those of the rigid ions."""
    jax.config.update("jax_enable_x64", True)  # as positions need
    size = TINY if tiny else WHOLE
    amplitude, ours = fitted_amplitude(), MaceCalculator(model)
    ions = IonCalculator(amplitude)
    for name, calculator in {"ions": ions, "model": ours}.items():
        print(f"{name}: edge at rest {edge_at_rest(calculator):.4f} Å", flush=True)
        print(f"{name}: barrier {barrier(calculator, size):.3f} eV", flush=True)
    print(f"ions: {motion(dynamics(amplitude, size))}", flush=True)
    print(f"model: {motion(dynamics(amplitude, size, model))}")


if __name__ == "__main__":
    typer.run(main)
