"""Energy and forces of a DeepPot-SE model: our evaluators, and deepmd-kit's on its own JAX.

python benchmarks/deepmd_kit.py [RECORDS.jsonl] [--atoms N] [--dtype float32|float64]

The settings of DeePMD's publications (cutoff 6 Å, embedding 25-50-100, fitting 240-240-240,
one network for each species), random weights, thermal LiF with one interstitial lithium.
The same file goes to all. Ours is timed as dynamics calls it, with neighbours given, and
as the ASE calculator, which lists them. deepmd-kit lists them itself, in its program for
JAX, and in C++ through TensorFlow where that is installed
(`pip install 'deepmd-kit[cpu]'`); both as its ASE calculator calls them. Each engine has a
process of its own, on all cores. All are ready before any is timed; then they are timed in
turn, and of each the least counts, which other work on the machine lengthens least. Needs
the `[deepmd-oracle]` extra.
"""

import contextlib
import enum
import importlib.util
import itertools
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Records, Tiny, alone, append, one_of, provenance

SIZES = {65: 2, 217: 3, 1001: 5}
"""Atoms -> conventional cells along an edge."""

Dtype = enum.StrEnum("Dtype", ["float32", "float64"])

SETTINGS = {"family": "deepmd", "cutoff_angstrom": 6.0}
SMALL = {"neuron": [4, 8], "axis_neuron": 2, "fitting_neuron": [8], "cutoff_angstrom": 4.0}
ROUNDS, REPEATS = 8, 5


def crystal(edge: int):
    """Atoms of ASE about their sites."""
    from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial
    from jaxdiff.system import to_ase

    atoms = to_ase(rock_salt_interstitial(edge))
    atoms.rattle(0.08, seed=0)
    return atoms


def write(path: Path, edge: int, dtype: str, tiny: bool) -> None:
    """The model as a .dp file, with statistics and places of these structures."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxdiff import checkpoints
    from jaxdiff.checkpoints import families
    from jaxdiff.io.frame import Frame

    atoms = crystal(edge)
    frame = Frame(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, None, None, None
    )
    scratch = families.scratch("deepmd")
    model = scratch.make(
        scratch.section.model_validate(SETTINGS | (SMALL if tiny else {})),
        jax.random.key(0),
        [frame],
        atomic_numbers=(3, 9),
        head="default",
        atomic_energies=np.zeros((1, 2)),
        scale=1.0,
        shift=0.0,
        dtype=dtype,
    )
    checkpoints.save(path, model)


def dynamics(path: Path, edge: int, dtype: str, kind: str, tolerance: float | None):
    """Ours, as a step of dynamics calls it."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxdiff import checkpoints, neighbors, potential

    atoms = crystal(edge)
    ready = potential.evaluator(
        checkpoints.load(path), atoms.numbers, kind, tolerance=tolerance, dtype=dtype
    )
    cell = atoms.cell.array
    lists = neighbors.allocate(atoms.positions, cell, ready.cutoff, 0.0, headroom=1.0)
    function = jax.jit(ready.energy_and_force)
    given = ready.params, atoms.positions, cell, lists
    return lambda: jax.block_until_ready(function(*given))[1]


def calculator(path: Path, edge: int, dtype: str):
    """Ours, as ASE calls it."""
    from jaxdiff.calculator import MaceCalculator

    return _forces(crystal(edge), MaceCalculator(path, precision=dtype))


def kit(path: Path, edge: int, dtype: str, suffix: str):
    """deepmd-kit's program, as ASE calls it; its precision is that of the file."""
    program = path.with_suffix(suffix)
    command = [sys.executable, "-m", "deepmd", "convert-backend", str(path), str(program)]
    subprocess.run(command, check=True, capture_output=True)
    from deepmd.calculator import DP

    return _forces(crystal(edge), DP(str(program)))


def _forces(atoms, calculator):
    """A function that evaluates anew what does not change."""
    atoms.calc = calculator

    def evaluate():
        calculator.reset()
        return atoms.get_forces()

    return evaluate


class Engine:
    """A function for forces, made and called in a process of its own."""

    def __init__(self, program, *arguments):
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, program, arguments), daemon=True
        )
        self._process.start()
        other.close()
        self.first_call, self.forces = self._connection.recv()
        self.seconds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.send(False)
        self._process.join()

    def time(self) -> None:
        """One round of calls."""
        self._connection.send(True)
        self.seconds.append(self._connection.recv())


def _serve(connection, program, arguments) -> None:
    evaluate = program(*arguments)
    begin = time.perf_counter()
    forces = np.asarray(evaluate())
    connection.send((time.perf_counter() - begin, forces))
    while connection.recv():
        connection.send(min(_seconds(evaluate) for _ in range(REPEATS)))


def _seconds(evaluate) -> float:
    begin = time.perf_counter()
    evaluate()
    return time.perf_counter() - begin


ENGINES = {
    "compiled, tabulated to 1e-6": (dynamics, "compiled", 1e-6),
    "compiled, exact": (dynamics, "compiled", None),
    "plain": (dynamics, "plain", None),
    "ASE calculator": (calculator,),
    "deepmd-kit, JAX": (kit, ".hlo"),
    "deepmd-kit, TensorFlow": (kit, ".pb"),
}


def _known(given: list[str]) -> list[str]:
    for name in given:
        if name not in ENGINES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(ENGINES)}.")
    return given


def main(
    records: Records = None,
    atoms: Annotated[
        list[int],
        typer.Option(help="65, 217 or 1001; again for another.", callback=one_of(SIZES)),
    ] = (217, 1001),
    dtype: Annotated[
        list[Dtype], typer.Option(help="Precision; again for the other.")
    ] = tuple(Dtype),
    engine: Annotated[
        list[str],
        typer.Option(help="One of them; again for another.", callback=_known),
    ] = tuple(ENGINES),
    tiny: Tiny = False,
) -> None:
    """Time energy and forces by each engine; all sizes and precisions, or those given."""
    tensorflow = ["tensorflow-cpu"] if _has_tensorflow() else []
    common = provenance("jax", "jaxlib", "deepmd-kit", *tensorflow)
    if tiny:
        atoms, dtype = [65], [Dtype.float64]
    with tempfile.TemporaryDirectory() as folder:
        for n_atoms, kind in itertools.product(atoms, dtype):
            path = Path(folder) / f"{n_atoms}-{kind}.dp"
            alone(write, path, SIZES[n_atoms], kind.value, tiny)
            for record in timed(engine, path, n_atoms, kind.value):
                report(record)
                if records is not None:
                    append(records, record | common)


def timed(names: list[str], path: Path, n_atoms: int, dtype: str) -> list[dict]:
    """A record of each engine."""
    load, found = os.getloadavg()[0], {}
    with contextlib.ExitStack() as stack:
        for name in names:
            program, *settings = ENGINES[name]
            if settings == [".pb"] and not _has_tensorflow():
                print("deepmd-kit's C++ is left out: TensorFlow is not installed.")
                continue
            engine = Engine(program, path, SIZES[n_atoms], dtype, *settings)
            found[name] = stack.enter_context(engine)
        for _ in range(ROUNDS):
            for engine in found.values():
                engine.time()
    reference = next(iter(found.values())).forces
    return [
        {
            "benchmark": "deepmd",
            "engine": name,
            "atoms": n_atoms,
            "dtype": dtype,
            "us_per_atom_and_step": round(min(engine.seconds) / n_atoms * 1e6, 1),
            "largest_difference_of_forces": float(
                f"{np.abs(engine.forces - reference).max():.1e}"
            ),
            "load_before": round(load, 1),
            "first_call_s": round(engine.first_call, 2),
            "least_of_rounds_s": [round(x, 5) for x in engine.seconds],
        }
        for name, engine in found.items()
    ]


def _has_tensorflow() -> bool:
    return importlib.util.find_spec("tensorflow") is not None


def report(record: dict) -> None:
    """A line of what is found."""
    print(
        f"{record['atoms']} atoms, {record['dtype']}, {record['engine']}: "
        f"{record['us_per_atom_and_step']:.1f} µs/atom/step, forces differ by "
        f"{record['largest_difference_of_forces']:.1e} eV/Å",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
