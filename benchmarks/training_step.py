"""Time and memory of one training step: MACE-MPA-0's architecture, here and in mace-torch.

python benchmarks/training_step.py [RECORD.json] [--tiny]

The architecture of MACE-MPA-0 (medium) for Li and F alone, with the same random weights in
both programs, float32, the universal loss of energy, forces and stress, AMSGrad with
clipping and an average of the weights, on the same cores. A step is forward, backward and
update; frames are thermal LiF cells, their neighbours are made beforehand in both. Each
program and size has a process of its own, so that its peak memory is its own; the programs
take turns, twice. Needs the `[oracle]` extra.
"""

import json
import platform
import statistics
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import typer
from harness import Record, Tiny, alone, n_cores, peak_gib, start, write, write_start

FRAMES = {
    "64 atoms, batch of 1": (2, 1),
    "64 atoms, batch of 4": (2, 4),
    "216 atoms": (3, 1),
}
"""Name -> (repeats of the cubic cell, frames of a batch)."""

TINY_FRAMES = {"8 atoms, batch of 1": (1, 1)}
WEIGHTS, DELTA, RATE = (1.0, 10.0, 10.0), 0.01, 1e-4


def labelled_frames(repeats: int, count: int) -> list:
    """Thermal LiF cells; what the labels are does not matter to the time."""
    from ase.build import bulk

    frames = []
    for seed in range(count):
        atoms = bulk("LiF", "rocksalt", a=4.08, cubic=True) * repeats
        rng = np.random.default_rng(seed)
        atoms.positions += rng.normal(0, 0.1, (len(atoms), 3))
        force = rng.normal(0, 1, (len(atoms), 3))
        atoms.arrays["REF_forces"] = force - force.mean(axis=0)
        atoms.info |= {"REF_energy": -4.8 * len(atoms), "REF_stress": np.zeros(9)}
        frames.append(atoms)
    return frames


def step_here(path: Path, repeats: int, count: int):
    """Our step, and its arguments: adapted model, state, batch, weights of the loss."""
    import ase.io

    from jaxdiff.finetune import adaptation, optimizer, read_frames
    from jaxdiff.finetune.adaptation import Adaptation
    from jaxdiff.finetune.batches import join, make_graph, make_plan
    from jaxdiff.finetune.loop import make_step
    from jaxdiff.finetune.loss import Loss

    model = start()
    file = path.with_suffix(".extxyz")
    ase.io.write(file, labelled_frames(repeats, count))
    graphs = [make_graph(f, (3, 9), np.zeros(2), 6.0) for f in read_frames([file])]
    batch = join(graphs, make_plan(graphs, batch_size=count))
    settings = optimizer.Settings(
        kind="amsgrad",
        beta1=0.9,
        clip_norm=10.0,
        weight_decay=5e-7,
        decays=adaptation.decays,
        rate_factor=lambda name: 1.0,
        average_decay=0.99,
    )
    transform = optimizer.transformation(settings)
    weights = adaptation.initial_weights(model, (), None, 0)
    state = optimizer.initial_state(weights, transform, RATE)
    step = make_step(Loss("universal", DELTA), transform, settings)
    return step, (Adaptation(model, None), state, batch, WEIGHTS)


def here(path: Path, repeats: int, count: int, steps: int) -> dict:
    """Seconds of the first step and of later ones, losses, memory; this program's."""
    import jax

    jax.config.update("jax_enable_x64", True)
    step, (adapted, state, batch, _) = step_here(path, repeats, count)
    before, times, losses = peak_gib(), [], []
    for _ in range(steps + 1):
        begin, total = time.perf_counter(), float(state.loss_sum)
        state = jax.block_until_ready(step(adapted, state, batch, WEIGHTS))
        times.append(time.perf_counter() - begin)
        losses.append(float(state.loss_sum) - total)
    return _measured(times, losses, before, count)


def upstream(path: Path, repeats: int, count: int, steps: int) -> dict:
    """The same of mace-torch, from the same weights."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(n_cores())
    torch.serialization.add_safe_globals([slice])  # for e3nn's own constants
    from mace import data
    from mace.modules.loss import UniversalLoss
    from mace.tools import AtomicNumberTable, torch_geometric

    model = torch.load(path, weights_only=False).float()
    keys = data.KeySpecification(
        info_keys={"energy": "REF_energy", "stress": "REF_stress"},
        arrays_keys={"forces": "REF_forces"},
    )
    table = AtomicNumberTable([3, 9])
    graphs = [
        data.AtomicData.from_config(
            data.config_from_atoms(atoms, keys, head_name="default"),
            z_table=table,
            cutoff=6.0,
            heads=["default"],
        )
        for atoms in labelled_frames(repeats, count)
    ]
    batch = torch_geometric.batch.Batch.from_data_list(graphs)
    loss = UniversalLoss(*WEIGHTS, huber_delta=DELTA)
    parameters = [p for n, p in model.named_parameters() if "bessel" not in n]
    optimizer = torch.optim.Adam(parameters, lr=RATE, amsgrad=True)
    average = [p.detach().clone() for p in parameters]
    before, times, losses = peak_gib(), [], []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        out = model(batch.to_dict(), training=True, compute_stress=True)
        value = loss(pred=out, ref=batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        for mean, parameter in zip(average, parameters, strict=True):
            mean.lerp_(parameter.detach(), 0.01)
        times.append(time.perf_counter() - begin)
        losses.append(float(value))
    return _measured(times, losses, before, count)


def _measured(times, losses, before: float, count: int) -> dict:
    return {
        "first_step_s": round(times[0], 2),
        "step_s": [round(t, 3) for t in times[1:]],
        "losses": losses,
        "peak_gib_per_frame": round((peak_gib() - before) / count, 3),
    }


def compared(path: Path, repeats: int, count: int, rounds: int, steps: int) -> dict:
    """Both programs in turn; frames per second, their ratio, memory."""
    runs = {"jaxdiff": [], "mace_torch": []}
    for _ in range(rounds):
        runs["jaxdiff"].append(alone(here, path, repeats, count, steps))
        runs["mace_torch"].append(alone(upstream, path, repeats, count, steps))
    first = {name: found[0]["losses"][0] for name, found in runs.items()}
    assert np.isclose(first["jaxdiff"], first["mace_torch"], rtol=1e-3), first
    median = {
        name: statistics.median(t for run in found for t in run["step_s"])
        for name, found in runs.items()
    }
    return {
        "frames_per_s": {name: round(count / t, 3) for name, t in median.items()},
        "ratio": round(median["mace_torch"] / median["jaxdiff"], 2),
        "first_loss": first,
        "runs": runs,
    }


def main(record: Record = None, tiny: Tiny = False) -> None:
    """Time training steps here and in mace-torch."""
    rounds, steps = (1, 1) if tiny else (2, 3)
    found = {
        "cores": n_cores(),
        "machine": platform.machine(),
        "versions": {n: version(n) for n in ("jax", "jaxlib", "mace-torch", "torch")},
        "sizes": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.model"
        alone(write_start, path)
        for name, (repeats, count) in (TINY_FRAMES if tiny else FRAMES).items():
            found["sizes"][name] = compared(path, repeats, count, rounds, steps)
            print(name, json.dumps(found["sizes"][name], indent=1), flush=True)
    if record is not None:
        write(record, found)


if __name__ == "__main__":
    typer.run(main)
