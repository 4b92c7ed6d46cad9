"""The first minutes on a GPU or TPU: is it right, how fast, how much memory, same bits?

python benchmarks/device.py RESULTS.jsonl [--minutes 9] [--tiny]
python benchmarks/device.py --store

Needs what jaxdiff itself needs, and no data: LiF with one interstitial lithium, the
embedded model, and MACE-MPA-0's architecture with random weights. The most important comes
first. Each result is a line as soon as it is there; the same command goes on where it was
cut off, and makes nothing twice for one device and release of JAX. What could not be done
is said with its reason, and what there was no time for.

"correct": 65 atoms by each evaluator, against energy, forces and stress of the plain one in
float64, kept in results/device_reference.json (`--store` writes it, on a CPU). "evaluator":
energy and forces of so many replicas at once, each route. "chunk": steps as `jaxdiff
simulate` makes them, and whether the same ones again have the same bits. Memory is what the
compiler says a program needs beside its arguments; replicas are halved until it fits.
"resume": a run killed and gone on with, against one that was not. "training": steps as
`training_step.py` makes them. "mace-torch", where it is installed: one configuration.
"""

import collections
import contextlib
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from harness import Tiny, append, architecture, provenance, start, write_start

REFERENCE = Path(__file__).parent / "results" / "device_reference.json"
FORCE = {"float32": 2e-5, "float64": 1e-8}
"""Largest difference of forces from the reference, eV/Å."""
TOLERANCE = {"float32": 1e-6, "float64": None}
"""Of tabulated radial functions."""
EDGES = {65: 2, 217: 3, 1001: 5}
"""Atoms -> conventional cells along an edge."""
ROUTES = [
    ("compiled", "float32"), ("plain", "float32"), ("plain", "float64"),
    ("compiled", "float64"), ("fused", "float32"),
]  # fmt: skip
USABLE = 0.85  # of the memory that is free
STEPS, STRIDE = 16, 8

RUN = """
[model]
name_or_path = "{model}"
precision = "float32"
evaluator = "{kind}"
[system]
supercell = {edge}
lattice_constant_angstrom = 4.083428
[ensemble]
temperatures_kelvin = [500]
replicas_per_temperature = {replicas}
timestep_fs = 0.5
seed = 0
[equilibration]
duration_ps = {ps}
[production]
duration_ps = {ps}
[neighbors]
skin_angstrom = 0.3
[hops]
stride_fs = 4.0
[output]
directory = "{directory}"
chunk_ps = {chunk_ps}
checkpoint_minutes = 0
"""


def tiny():
    """A model that compiles quickly."""
    changes: dict[str, Any] = {"max_ell": 1, "hidden": ((0,), (0,)), "correlation": (2, 1)}
    changes |= {"channels": 8, "cutoff": 4.0, "radial_mlp": (8,)}
    return start(replace(architecture(), **changes))


def embedded():
    """The model that comes with jaxdiff."""
    from jaxdiff.checkpoints import load_default

    return load_default()


MODELS = {"tiny": tiny, "embedded": embedded, "mpa": start}


def model_of(name: str):
    """Weights of the host, so that no device draws other random numbers."""
    import jax

    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return jax.tree.map(np.asarray, MODELS[name]())


def crystal(n_atoms: int, replicas: int = 1):
    """The system, and positions [R, N, 3], Å, of thermal replicas of it."""
    from jaxdiff.lattice.lithium_fluoride import rock_salt_interstitial

    system = rock_salt_interstitial(EDGES[n_atoms])
    shape = (replicas, *system.position.shape)
    return system, system.position + np.random.default_rng(0).normal(0, 0.08, shape)


def prepared(name: str, n_atoms: int, replicas: int, kind: str, dtype: str):
    """The evaluator of replicas at once, and its arguments."""
    import jax

    from jaxdiff import neighbors, potential

    model, (system, position) = model_of(name), crystal(n_atoms, replicas)
    found = potential.evaluator(
        model,
        system.atomic_number,
        kind,
        tolerance=TOLERANCE[dtype],
        dtype=dtype,
        replicas=replicas,
    )
    cell = np.broadcast_to(system.cell, (replicas, 3, 3))
    rows = (neighbors.neighbor_rows(p, system.cell, found.cutoff)[0] for p in position)
    step = neighbors.places_multiple()
    capacity = step * math.ceil(max(row.shape[1] for row in rows) / step)
    lists = neighbors.allocate(position, cell, found.cutoff, 0.0, capacity=capacity)
    function = jax.vmap(found.energy_and_force, (None, 0, 0, 0))
    return function, (found.params, position, np.array(cell), lists)


def correct(name: str, kind: str, dtype: str) -> dict:
    """Differences from the stored values."""
    import jax

    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))[name]
    if not math.isclose(reference["weights"], size_of_weights(name), rel_tol=1e-5):
        return {"not_run": "the random weights are not those of the reference"}
    function, given = prepared(name, 65, 1, kind, dtype)
    energy, force, strain = (np.asarray(x[0]) for x in jax.jit(function)(*given))
    error = np.abs(force - reference["forces"]).max()
    return {
        "energy_ev_per_atom": shown(abs(energy - reference["energy"]) / len(force)),
        "force_ev_per_angstrom": shown(error),
        "strain_ev_per_atom": shown(
            np.abs(strain - reference["strain"]).max() / len(force)
        ),
        "allowed_ev_per_angstrom": FORCE[dtype],
        "right": bool(error <= FORCE[dtype]),
    }


def size_of_weights(name: str) -> float:
    """A number that tells other random weights."""
    import jax

    leaves = jax.tree.leaves(model_of(name).weights)
    return float(sum(np.abs(np.asarray(x, np.float64)).sum() for x in leaves))


def evaluator(name: str, n_atoms: int, replicas: int, kind: str) -> dict:
    """Time and memory of energy and forces."""
    import jax

    for many in halves(replicas):
        function, given = prepared(name, n_atoms, many, kind, "float32")
        given = jax.device_put(given, jax.devices()[0])
        begin = time.perf_counter()
        program = jax.jit(function).lower(*given).compile()
        compilation, bytes_ = time.perf_counter() - begin, needed(program)
        if many > 1 and bytes_ > USABLE * free_bytes():
            continue
        seconds = timed(lambda p=program, g=given: jax.block_until_ready(p(*g)))
        return {
            "replicas_at_once": many,
            "us_per_atom": shown(1e6 * seconds / (many * n_atoms)),
            "compile_s": shown(compilation),
            "program_gb": shown(bytes_ / 1e9),
            "mb_per_atom": shown(bytes_ / 1e6 / (many * n_atoms)),
        }
    raise AssertionError  # one replica is always tried


def halves(number: int) -> Iterator[int]:
    """The number, its half, and so on to one."""
    while number:
        yield number
        number //= 2


def needed(program) -> int:
    """Bytes of a compiled program beside its arguments."""
    analysis = program.memory_analysis()
    return int(getattr(analysis, "temp_size_in_bytes", 0) or 0)


def free_bytes() -> float:
    """Of the first device; without limit where it does not say."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", math.inf) - stats.get("bytes_in_use", 0)


def timed(call: Callable[[], Any]) -> float:
    """Median of seconds: of one call first thrown away, then five, or fewer if slow."""
    call()
    seconds, begin = [], time.perf_counter()
    while len(seconds) < 5 and (not seconds or time.perf_counter() - begin < 5):
        now = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - now)
    return statistics.median(seconds)


def chunk(name: str, n_atoms: int, replicas: int, kind: str) -> dict:
    """Time of a step, memory, and whether the same steps again have the same bits."""
    import jax
    import jax.numpy as jnp

    from jaxdiff import md
    from jaxdiff.runs import build

    with tempfile.TemporaryDirectory() as folder:
        run = run_file(Path(folder), name, n_atoms, replicas, kind, steps=STEPS)
        ensemble = build.build(run)
    conditions = ensemble.conditions(build.EQUILIBRATION)
    params, run_chunk = ensemble.potential.params, ensemble.run_chunk
    begin = time.perf_counter()
    state = md.evaluate(run_chunk, params, conditions, ensemble.first_state())
    first = time.perf_counter() - begin
    number = ensemble.plan.number(run.integrator(build.EQUILIBRATION))
    given = params, conditions, state, jnp.asarray(STEPS, jnp.int32), number
    results: list[Any] = []

    def call():
        results[:] = [*results[-1:], jax.block_until_ready(run_chunk(*given))]

    seconds = timed(call)
    one, other = (jax.tree.leaves(measured(*result)) for result in results)
    new = results[0][0]
    return {
        "replicas_at_once": ensemble.plan.group_size,
        "us_per_atom_and_step": shown(1e6 * seconds / STEPS / (replicas * n_atoms)),
        "first_call_s": shown(first),
        "working_gb": shown(ensemble.memory.working / 1e9),
        "same_bits": all(map(np.array_equal, one, other)),
        "whole": not bool(np.any(new.neighbors.overflow) or np.any(new.bad_step >= 0)),
    }


def measured(state, series):
    """What a chunk leaves: positions, momenta, energies, forces, and its frames."""
    return state.motion, state.energy, state.force, series.potential_energy


def run_file(
    folder: Path, name: str, n_atoms: int, replicas: int, kind: str, steps: int, ps=1.0
):
    """The run of a case, with weak forces of random models, and so many steps a chunk."""
    import tomllib

    from jaxdiff.checkpoints import save_native
    from jaxdiff.io import runfile

    model = model_of(name)
    if name != "embedded":  # so that atoms stay about where they are
        scale = 1e-3 * np.asarray(model.constants["scale"])
        model = replace(model, constants={**model.constants, "scale": scale})
    save_native(folder / "model.safetensors", model)
    text = RUN.format(
        model=folder / "model.safetensors",
        kind=kind,
        edge=EDGES[n_atoms],
        replicas=replicas,
        ps=ps,
        chunk_ps=5e-4 * steps,
        directory=folder / "run",
    )
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return runfile.parse(tomllib.loads(text))


def resume(platforms: str | None) -> dict:
    """Two runs in processes of their own, of which one is killed on its way.

    - `platforms`: of JAX in these; the present one keeps away from their device.
    """
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        run_file(folder, "embedded", 65, 2, "auto", steps=80, ps=0.1)
        environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
        environment |= {"JAX_PLATFORMS": platforms} if platforms else {}
        command = [sys.executable, "-m", "jaxdiff", "simulate", str(folder / "run.toml")]

        def begun(where: str):
            to = ["--set", f"output.directory={folder / where}"]
            return subprocess.Popen(
                [*command, *to], env=environment, stdout=subprocess.DEVNULL
            )

        if (code := begun("whole").wait()) != 0:
            return {"not_run": f"a run ended with exit status {code}"}
        process = begun("killed")
        killed_ps = killed(process, folder / "killed")
        if killed_ps is None:
            return {"not_run": "the run was done before it could be killed"}
        if (code := begun("killed").wait()) != 0:
            return {"not_run": f"the run that went on ended with exit status {code}"}
        one, other = (energies(folder / where) for where in ("whole", "killed"))
        return {"killed_after_ps": killed_ps, "same_bits": np.array_equal(one, other)}


def killed(process: subprocess.Popen, folder: Path) -> float | None:
    """The time of the production at which it was killed, ps; None: it ended before."""
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
            if progress["phase"] == "production" and progress["done_ps"] > 0:
                process.kill()
                process.wait()
                return progress["done_ps"]
        time.sleep(0.02)
    return None


def energies(folder: Path) -> np.ndarray:
    """Of all frames of a run, eV."""
    import h5py

    with h5py.File(folder / "series.h5") as file:
        return np.asarray(file["thermo/potential_energy_ev"])


def training(repeats: int, frames: int) -> dict:
    """Seconds of training steps of MACE-MPA-0's architecture."""
    import training_step

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames"
        found = training_step.here(path, repeats, frames, 3)
    step = statistics.median(found["step_s"])
    return {
        "frames_per_s": shown(frames / step),
        "first_step_s": found["first_step_s"],
        "finite": bool(np.isfinite(found["losses"]).all()),
    }


def mace_torch(n_atoms: int) -> dict:
    """One configuration by mace-torch, on its own device."""
    if importlib.util.find_spec("mace") is None:
        return {"not_run": "mace-torch is not installed"}
    import torch
    from evaluators import upstream

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.model"
        write_start(path)
        found = upstream(path, EDGES[n_atoms], "float32")
    seconds = statistics.median(found["one_s"])
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"us_per_atom": shown(1e6 * seconds / n_atoms), "torch_device": device}


@dataclass(frozen=True)
class Case:
    """One result; those of a `part` share a process. `seconds`: begun only with so many."""

    part: str
    name: str
    function: Callable[..., dict]
    arguments: tuple
    seconds: float = 20.0


def cases(is_tiny: bool) -> list[Case]:
    """All of them, the most important first."""
    models = ["tiny"] if is_tiny else ["embedded", "mpa"]
    found = [
        Case("correct", f"correct {model} {kind} {dtype}", correct, (model, kind, dtype))
        for model in models
        for kind, dtype in ROUTES
    ]
    for n_atoms in [65] if is_tiny else [217, 1001]:
        replicas = 2 if is_tiny else 64
        size = f"{replicas} x {n_atoms}"
        for model, kind in itertools.product(models, ("compiled", "plain", "fused")):
            arguments = (model, n_atoms, replicas, kind)
            name = f"evaluator {model} {kind} {size}"
            found.append(Case(f"evaluator {size}", name, evaluator, arguments))
        for model, kind in itertools.product(models, ("compiled", "plain")):
            arguments = (model, n_atoms, replicas, kind)
            name = f"chunk {model} {kind} {size}"
            found.append(Case(f"chunk {size}", name, chunk, arguments, 40.0))
    found.append(Case("resume", "resume", resume, (os.environ.get("JAX_PLATFORMS"),), 60.0))
    if not is_tiny:
        found.append(Case("training", "training 4 x 64", training, (2, 4), 60.0))
        found += [
            Case("mace-torch", f"mace-torch {n}", mace_torch, (n,)) for n in (217, 1001)
        ]
    return found


def lead(*given: Any) -> None:
    """`work` as the head of a group of processes, which can be ended together."""
    os.setsid()
    work(*given)


def work(part: str, results: Path, is_tiny: bool, deadline: float) -> None:
    """The cases of a part that are not there yet, in this process."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # others compute, too
    every = [case for case in cases(is_tiny) if case.part == part]
    if part == "resume":  # a TPU is one process's alone
        os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxdiff import devices

    devices.use_every_core()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        devices.keep_programs(results.absolute().parent / "device_programs")
    device = "its own processes'" if part == "resume" else jax.devices()[0].device_kind
    about = {"device": device, "tiny": is_tiny, **provenance("jaxdiff", "jax", "jaxlib")}
    mine = [row for row in rows(results) if is_same(row, about)]
    done = {row["case"] for row in mine if "begun" not in row}
    begun = collections.Counter(row["case"] for row in mine if "begun" in row)
    for case in every:
        needed_s = 0.0 if is_tiny else case.seconds
        if case.name in done or time.time() + needed_s > deadline:
            continue
        row = {"benchmark": "device", "case": case.name, **about}
        found = {"not_run": "it was cut off twice"}
        if begun[case.name] < 2:
            append(results, row | {"begun": True})
            found = result_of(case)
        append(results, row | found)
        print(line(row | found), flush=True)


def result_of(case: Case) -> dict:
    """What a case finds, or why it finds nothing."""
    try:
        return case.function(*case.arguments)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return {"not_run": f"{type(error).__name__}: {first}"}


def rows(results: Path) -> list[dict]:
    """Those of a file that has begun; the last of each case counts."""
    if not results.exists():
        return []
    lines = results.read_text(encoding="utf-8").splitlines()
    return [json.loads(text) for text in lines if text.strip()]


def is_same(row: dict, about: dict) -> bool:
    """Whether a row is of this device, release of JAX and size."""
    same_jax = row["versions"]["jax"] == about["versions"]["jax"]
    return same_jax and all(row[key] == about[key] for key in ("device", "tiny"))


def line(row: dict) -> str:
    """A result as a row of a table."""
    if "not_run" in row:
        return f"| {row['case']} | not run: {row['not_run']} |"
    names = list(row)
    found = names[names.index("versions") + 1 :]  # what it was made with comes before
    return f"| {row['case']} | {', '.join(f'{k} {row[k]}' for k in found)} |"


def shown(value: float) -> float:
    """Three digits."""
    return float(f"{value:.3g}")


def store() -> None:
    """The reference: the plain evaluator in float64, on a CPU."""
    import jax

    jax.config.update("jax_enable_x64", True)
    found = {}
    for name in MODELS:
        function, given = prepared(name, 65, 1, "plain", "float64")
        energy, force, strain = (np.asarray(x[0]) for x in jax.jit(function)(*given))
        found[name] = {
            "weights": size_of_weights(name),
            "energy": float(energy),
            "forces": np.round(force, 10).tolist(),
            "strain": np.round(strain, 9).tolist(),
        }
    REFERENCE.write_text(json.dumps(found) + "\n", encoding="utf-8")


def main(
    results: Annotated[
        Path | None, typer.Argument(help="File of results, one a line, to go on with.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="Begin nothing that would not end within so many.", min=0)
    ] = 9.0,
    tiny: Tiny = False,
    store_reference: Annotated[
        bool, typer.Option("--store", help="Write the reference anew, on a CPU; only that.")
    ] = False,
) -> None:
    """Everything that is to be known of a device, the most important first."""
    if store_reference:
        store()
        return
    if results is None:
        raise typer.BadParameter("give the file of results, such as device.jsonl.")
    deadline, every = time.time() + 60 * minutes, cases(tiny)
    for part in dict.fromkeys(case.part for case in every):
        while time.time() < deadline and not ended(part, results, tiny, deadline):
            pass
    latest = {row["case"]: row for row in rows(results) if "begun" not in row}
    print("\n| case | result |\n| --- | --- |")
    for case in every:
        if case.name in latest:
            print(line(latest[case.name]))
    if missing := [case.name for case in every if case.name not in latest]:
        print(f"\nNo time for: {'; '.join(missing)}. The same command goes on.")


def ended(part: str, results: Path, is_tiny: bool, deadline: float) -> bool:
    """Whether the process of a part came to its end; False: it died in one of its cases."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=lead, args=(part, results, is_tiny, deadline))
    process.start()
    process.join(max(0.0, deadline - time.time()))
    if process.exitcode is None:
        with contextlib.suppress(ProcessLookupError):  # where it has just begun
            os.killpg(process.pid, signal.SIGKILL)  # with the runs that it has started
        process.kill()
        process.join()
        return True
    last = (rows(results) or [{}])[-1]
    if process.exitcode == 0 or "begun" not in last:
        if process.exitcode:
            print(f"{part}: its process ended with {process.exitcode}", flush=True)
        return True
    del last["begun"]
    append(results, last | {"not_run": f"its process ended with {process.exitcode}"})
    return False


if __name__ == "__main__":
    typer.run(main)
