"""Time and memory of energy and forces: the plain and the compiled evaluator, and peers.

python benchmarks/evaluators.py [RECORDS.jsonl] [--atoms N] [--dtype float32|float64]
    [--model FILE:HEAD] [--engine NAME ...]

The architecture of MACE-MPA-0 (medium) for Li and F, the same random weights in all
engines, or a file of mace-torch; thermal LiF with one interstitial lithium. Neighbours are
listed beforehand, to the cutoff, in all. One configuration alone, and as many as there are
cores at once, one each: mace-torch uses all threads for one, or a GPU where there is one.
Processor time is that of all threads for one configuration: where others use the machine,
too, it says more than the clock. Each case has a process of its own, so that its peak
memory, that of the host, is its own. The differences of forces are from the plain evaluator
in float64; with a file, from the compiled one without tables, which needs less memory.
Needs the `[oracle]` extra; symmetrix-xl (C++), of `[bench]`, and the fused kernel for GPUs,
of `[cuda]`, are said to be left out where they cannot run.
"""

import enum
import importlib.util
import itertools
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import (
    Records,
    alone,
    append,
    n_cores,
    one_of,
    peak_gib,
    provenance,
    start,
    write_start,
)

from jaxdiff.models.mace.fused import reason_not_to

SIZES = {65: 2, 217: 3, 1001: 5}
"""Atoms -> conventional cells along an edge."""

Dtype = enum.StrEnum("Dtype", ["float32", "float64"])

ENGINES = {
    "plain": None,
    "compiled, exact": 0.0,
    "compiled, tabulated to 1e-6": 1e-6,
    "compiled, tabulated to 1e-5": 1e-5,
    "fused, tabulated to 1e-6": 1e-6,
    "mace-torch": None,
    "symmetrix-xl": None,
}
REPEATS = 3


def crystal(edge: int):
    """Positions and cell, Å, and the system that they belong to."""
    from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial

    system = rock_salt_interstitial(edge)
    rng = np.random.default_rng(0)
    return system.position + rng.normal(0, 0.08, system.position.shape), system


def weights(source: str | None):
    """A model for Li and F of one head: FILE:HEAD, or MACE-MPA-0's architecture."""
    if source is None:
        return start()
    from jaxdiff.checkpoints import load

    path, _, head = source.rpartition(":")
    return load(path).of_head(head).restrict([3, 9])


def here(engine: str, edge: int, dtype: str, source: str | None) -> dict:
    """Seconds of an evaluation, of compilation, memory, forces; this program's."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", max(2, n_cores()))
    jax.config.update("jax_default_matmul_precision", "highest")
    from jaxdiff import neighbors, potential
    from jaxdiff.models.mace.fused import FUSED

    position, system = crystal(edge)
    lists = neighbors.allocate(position, system.cell, 6.0, 0.0, headroom=1.0)
    model, begin = potential.cast(weights(source), dtype), time.perf_counter()
    if engine == "plain":
        number = system.atomic_number
        function = potential.make_energy_and_force(model, number)
        params = model
    else:
        tolerance = ENGINES[engine] or None
        kernel = FUSED if engine.startswith("fused") else "compiled"
        params, function = potential.evaluator(
            model, system.atomic_number, kernel, tolerance=tolerance
        )[:2]
    folding = time.perf_counter() - begin
    given = (params, np.asarray(position), np.asarray(system.cell), lists)
    inputs = [jax.device_put(given, device) for device in jax.devices()[: n_cores()]]
    before, begin = peak_gib(), time.perf_counter()
    jitted = jax.jit(function)
    first = jax.block_until_ready(jitted(*inputs[0]))
    compilation = time.perf_counter() - begin
    one, processor = _seconds(lambda: jax.block_until_ready(jitted(*inputs[0])))
    peak = peak_gib() - before
    jax.block_until_ready([jitted(*x) for x in inputs])
    all_cores, _ = _seconds(lambda: jax.block_until_ready([jitted(*x) for x in inputs]))
    return {
        "fold_s": round(folding, 2),
        "first_call_s": round(compilation, 2),
        "one_s": one,
        "processor_s": processor,
        "per_evaluation_of_all_cores_s": [round(t / len(inputs), 4) for t in all_cores],
        "peak_gib": round(peak, 3),
        "forces": np.asarray(first[1]),
    }


def upstream(path: Path, edge: int, dtype: str, head: str) -> dict:
    """The same of mace-torch, from the same weights."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(n_cores())
    torch.serialization.add_safe_globals([slice])  # for e3nn's own constants
    torch.set_default_dtype(getattr(torch, dtype))
    from mace import data
    from mace.tools import AtomicNumberTable, torch_geometric

    from jaxdiff.system import to_ase

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = torch.load(path, weights_only=False).to(device, getattr(torch, dtype))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    position, system = crystal(edge)
    atoms = to_ase(system)
    atoms.positions = position
    graph = data.AtomicData.from_config(
        data.config_from_atoms(atoms, head_name=head),
        z_table=AtomicNumberTable(model.atomic_numbers.tolist()),
        cutoff=6.0,
        heads=model.heads,
    )
    batch = torch_geometric.batch.Batch.from_data_list([graph]).to(device).to_dict()

    def evaluate():
        return model(batch)["forces"].detach().cpu().numpy()  # which waits for a GPU

    before, begin = peak_gib(), time.perf_counter()
    forces = evaluate()
    first_call = time.perf_counter() - begin
    one, processor = _seconds(evaluate)
    return {
        "first_call_s": round(first_call, 2),
        "one_s": one,
        "processor_s": processor,
        "peak_gib": round(peak_gib() - before, 3),
        "forces": forces,
    }


def symmetrix(path: Path, edge: int, dtype: str, head: str) -> dict:
    """The same of symmetrix-xl, with all cores for one configuration."""
    os.environ.update(OMP_NUM_THREADS=str(n_cores()), OMP_PROC_BIND="false")
    warnings.simplefilter("ignore")
    import torch
    from ase.calculators.calculator import all_changes
    from symmetrix import Symmetrix

    from jaxdiff.system import to_ase

    torch.serialization.add_safe_globals([slice])
    position, system = crystal(edge)
    atoms = to_ase(system)
    atoms.positions = position
    before, begin = peak_gib(), time.perf_counter()
    options = {} if head == "default" else {"head": head}
    engine = Symmetrix(str(path), dtype=dtype, execution_profile="speed", **options)

    def evaluate():
        engine.calculate(atoms, ["energy", "forces"], all_changes)

    evaluate()
    first_call = time.perf_counter() - begin
    one, processor = _seconds(evaluate)
    return {
        "first_call_s": round(first_call, 2),
        "one_s": one,
        "processor_s": processor,
        "peak_gib": round(peak_gib() - before, 3),
        "forces": np.array(engine.results["forces"]),
    }


def _seconds(function) -> tuple[list[float], list[float]]:
    """Of calls, by the clock and of all threads together."""
    times, processor = [], []
    for _ in range(REPEATS):
        begin = time.perf_counter(), time.process_time()
        function()
        times.append(round(time.perf_counter() - begin[0], 4))
        processor.append(round(time.process_time() - begin[1], 4))
    return times, processor


PEERS = {"mace-torch": upstream, "symmetrix-xl": symmetrix}


def measured(path: Path, engine: str, n_atoms: int, dtype: str, source: str | None) -> dict:
    """One case; `not_run` with the reason where there is no result."""
    if engine == "symmetrix-xl" and importlib.util.find_spec("symmetrix") is None:
        return {"not_run": "symmetrix-xl is not installed"}
    if engine.startswith("fused") and (reason := alone(reason_not_to)):
        return {"not_run": reason}
    try:
        if engine in PEERS:
            head = source.rpartition(":")[2] if source else "default"
            return alone(PEERS[engine], path, SIZES[n_atoms], dtype, head)
        return alone(here, engine, SIZES[n_atoms], dtype, source)
    except EOFError:
        return {"not_run": "its process ended without a result"}


def line(record: dict) -> str:
    """A case in words."""
    case = f"{record['atoms']} atoms, {record['dtype']}, {record['engine']}: "
    if "not_run" in record:
        return f"{case}not run, {record['not_run']}"
    best = record.get("per_evaluation_of_all_cores_s", record["one_s"])
    return (
        f"{case}one alone {statistics.median(record['one_s']):.3f} s, on all cores "
        f"{statistics.median(best):.3f} s, of processor time "
        f"{statistics.median(record['processor_s']):.3f} s, {record['peak_gib']} GiB, "
        f"forces differ by "
        f"{record['largest_difference_of_forces']:.1e} eV/Å"
    )


def known(engines: list[str]) -> list[str]:
    """A callback of typer that refuses engines which there are not."""
    for engine in engines:
        if engine not in ENGINES:
            raise typer.BadParameter(f"{engine} is none of {'; '.join(ENGINES)}.")
    return engines


def main(
    records: Records = None,
    atoms: Annotated[
        list[int],
        typer.Option(help="65, 217 or 1001; again for another.", callback=one_of(SIZES)),
    ] = (217, 1001),
    dtype: Annotated[
        list[Dtype], typer.Option(help="Precision; again for the other.")
    ] = tuple(Dtype),
    model: Annotated[
        str | None, typer.Option(help="FILE:HEAD of mace-torch, in place of ours.")
    ] = None,
    engine: Annotated[
        list[str],
        typer.Option(help="An engine by its name; again for another.", callback=known),
    ] = tuple(ENGINES),
) -> None:
    """Time energy and forces by each engine; all sizes and precisions, or those given."""
    packages = ["jax", "jaxlib", "mace-torch", "torch"]
    if importlib.util.find_spec("symmetrix") is not None:
        packages.append("symmetrix-xl")
    common = provenance(*packages)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.model"
        if model is None:
            alone(write_start, path)
        else:
            path = Path(model.rpartition(":")[0])
            common["model"] = f"{path.name}:{model.rpartition(':')[2]}"
        exact = "plain" if model is None else "compiled, exact"
        reference = {
            n_atoms: measured(path, exact, n_atoms, "float64", model)["forces"]
            for n_atoms in atoms
        }
        for kind, n_atoms, own in itertools.product(dtype, atoms, engine):
            found = measured(path, own, n_atoms, kind.value, model)
            if "forces" in found:
                error = np.abs(found.pop("forces") - reference[n_atoms]).max()
                found["largest_difference_of_forces"] = float(f"{error:.1e}")
            case = {"engine": own, "atoms": n_atoms, "dtype": kind.value}
            record = {"benchmark": "evaluators", **case, **found, **common}
            print(line(record), flush=True)
            if records is not None:
                append(records, record)


if __name__ == "__main__":
    typer.run(main)
