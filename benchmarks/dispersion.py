"""What dispersion costs: energy, forces and strain of 1001 atoms of LiF.

python benchmarks/dispersion.py [RECORD.json] [--cutoff 25] [--tiny]

DFT-D3(BJ) of pairs in both precisions, compiled once, and the `dftd3` package beside it
where that is installed. Wall time and processor time of all cores together, the best of
`--repeats` calls: the second says more on a machine that others use as well.
"""

import json
import time
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import typer
from harness import Record, Tiny, provenance, write

from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
from jaxdiff.models.dispersion import dispersion
from jaxdiff.units import BOHR


def best(call, repeats: int) -> dict[str, float]:
    """The least of both times, s."""
    wall, processor = [], []
    for _ in range(repeats):
        begin = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
    return {"wall_s": round(min(wall), 4), "processor_s": round(min(processor), 4)}


def ours(number, position, cell, cutoff: float, dtype: str, repeats: int) -> dict:
    """The term that runs add to a model."""
    term = dispersion(number, cell, "pbe", cutoff=cutoff, dtype=dtype)
    given = term, jnp.asarray(position), jnp.asarray(cell)
    begin = time.process_time()
    program = jax.jit(lambda term, *where: term.energy_force_strain(*where))
    compiled = program.lower(*given).compile()
    compile_s = time.process_time() - begin
    times = best(lambda: jax.block_until_ready(compiled(*given)), repeats)
    return times | {"compile_processor_s": round(compile_s, 1)}


def theirs(number, position, cell, cutoff: float, repeats: int) -> dict | None:
    """The dftd3 package; None where it is not installed."""
    try:
        from dftd3.interface import DispersionModel, RationalDampingParam
    except ImportError:
        return None
    lattice = {"lattice": cell / BOHR, "periodic": np.ones(3, bool)}
    model = DispersionModel(number, position / BOHR, **lattice)
    far, near = cutoff / BOHR, min(cutoff / BOHR, 40.0)
    model.set_realspace_cutoff(disp2=far, disp3=1.0, cn=near)
    damping = RationalDampingParam(method="pbe", atm=False)
    return best(lambda: model.get_dispersion(damping, grad=True), repeats)


def main(
    record: Record = None,
    cutoff: Annotated[float, typer.Option(help="Of pairs, Å.")] = 25.0,
    repeats: Annotated[int, typer.Option(help="Calls, of which the best counts.")] = 5,
    tiny: Tiny = False,
) -> None:
    """Time dispersion of a crystal, in both precisions."""
    jax.config.update("jax_enable_x64", True)
    cells, cutoff, repeats = (2, 5.0, 1) if tiny else (5, cutoff, repeats)
    system = rock_salt_interstitial(cells)
    noise = np.random.default_rng(0).normal(0, 0.1, (system.n_atoms, 3))
    number, cell = np.asarray(system.atomic_number), np.asarray(system.cell)
    given = number, np.asarray(system.position) + noise, cell, cutoff
    found = {
        "atoms": system.n_atoms,
        "cutoff_angstrom": cutoff,
        "float32": ours(*given, "float32", repeats),
        "float64": ours(*given, "float64", repeats),
        "dftd3": theirs(*given, repeats),
        "device": jax.devices()[0].device_kind,
        **provenance("jax"),
    }
    print(json.dumps(found, indent=1))
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
